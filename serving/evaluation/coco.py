"""Read COCO object annotations: boxes, crowd flags, categories by name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from calibration.correctness import TrueBoxes
from candor.errors import InvalidRequest
from candor.manifest import Manifest
from serving.evaluation.examples import Example, Files, LabelledFolder, Problems, nearest

_NAME = "annotations.json"


def read_coco(folder: Path, manifest: Manifest, split: str | None) -> LabelledFolder:
    """Read `annotations.json`; images lie in `images/` or beside it. See `datasets.read_folder`."""
    document = _document(folder / _NAME)
    problems = Problems(_NAME)
    images, notes = _chosen_images(document["images"], split)
    boxes = _boxes(document, images, problems)
    classes = _classes(document["categories"], boxes, manifest, problems)
    problems.check()
    files = Files(folder, "images")
    examples = []
    for image_id, image in images.items():
        try:
            name, path, sha256 = files.find(str(image.get("file_name", "")))
        except ValueError as error:
            problems.add(f"image {image_id}", str(error))
            continue
        rows = sorted([names, *box] for names, *box in _named(boxes[image_id], document["categories"]))
        truth = _true_boxes(boxes[image_id], classes)
        examples.append(Example(name, path, sha256, sha256, truth, rows, str(image.get("coco_split", "")), _size(image)))
    problems.check()
    judged = frozenset(classes.values())
    return LabelledFolder("detection", folder.resolve().name, folder, tuple(examples), split, (*notes, *_caveat(document)), judged)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidRequest(f"{path} is not JSON: {error}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise InvalidRequest(f"{path} is not a COCO file: it has no list {key!r}")
        for position, entry in enumerate(document[key]):
            references = ("image_id", "category_id") if key == "annotations" else ("id",)
            if not isinstance(entry, dict) or not all(isinstance(entry.get(name), int | str) for name in references):
                raise InvalidRequest(f"{path.name} entry {position} of {key!r}: it has no {' or no '.join(references)}")
    found: dict[str, Any] = document
    return found


def _caveat(document: Mapping[str, Any]) -> tuple[str, ...]:
    info = document.get("info")
    told = info.get("description") if isinstance(info, dict) else None
    return (str(told),) if told else ()


def _chosen_images(images: list[dict[str, Any]], split: str | None) -> tuple[dict[Any, dict[str, Any]], list[str]]:
    """Return the images of the split by id, and a note on those that were left out."""
    splits = Counter(str(image["coco_split"]) for image in images if "coco_split" in image)
    notes: list[str] = []
    kept = images
    if split not in (None, "all"):
        kept = [image for image in images if str(image.get("coco_split")) == split]
        if not kept:
            raise InvalidRequest(f"{_NAME} has no images of split {split!r}; it has {', '.join(sorted(splits)) or 'no splits'}")
    elif split is None:
        kept = [image for image in images if not str(image.get("coco_split", "")).startswith("train")]
        seen = {name: count for name, count in splits.items() if name.startswith("train")}
        notes = [f"{count} images of {name} left out, as the model may have learnt from them" for name, count in seen.items()]
    by_id = {image["id"]: image for image in kept}
    if len(by_id) != len(kept):
        twice = Counter(image["id"] for image in kept).most_common(1)[0][0]
        raise InvalidRequest(f"{_NAME}: image id {twice} is used twice")
    return by_id, notes


def _boxes(document: Mapping[str, Any], images: Mapping[Any, Any], problems: Problems) -> dict[Any, list[dict[str, Any]]]:
    """Return the annotations of each chosen image, checked."""
    known = {image["id"] for image in document["images"]}
    categories = {category["id"] for category in document["categories"]}
    boxes: dict[Any, list[dict[str, Any]]] = {image_id: [] for image_id in images}
    for position, annotation in enumerate(document["annotations"]):
        where = f"annotation {annotation.get('id', position)}"
        if annotation["image_id"] not in known:
            problems.add(where, f"there is no image {annotation['image_id']!r}")
        elif annotation["image_id"] in boxes:
            if annotation["category_id"] not in categories:
                problems.add(where, f"there is no category {annotation['category_id']!r}")
            elif wrong := _wrong_box(annotation.get("bbox")):
                problems.add(where, wrong)
            else:
                boxes[annotation["image_id"]].append(annotation)
    return boxes


def _wrong_box(box: Any) -> str:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(x, int | float) and isfinite(x) for x in box):
        return f"bbox {box!r} is not four numbers [x, y, width, height]"
    return "" if box[2] > 0 and box[3] > 0 else f"bbox {box!r} has no area"


def _classes(
    categories: list[dict[str, Any]], boxes: Mapping[Any, list[dict[str, Any]]], manifest: Manifest, problems: Problems
) -> dict[Any, int]:
    """Map category ids to the model's class indices, by name. A category that no box uses may be unknown to the model."""
    index = {label.casefold(): i for i, label in enumerate(manifest.labels)}
    used = {annotation["category_id"] for annotations in boxes.values() for annotation in annotations}
    classes = {}
    for category in categories:
        name = str(category.get("name", "")).strip()
        if name.casefold() in index:
            classes[category["id"]] = index[name.casefold()]
        elif category["id"] in used:
            problems.add(f"category {category['id']}", f"{name!r} is not a label of {manifest.name}{nearest(name, manifest.labels)}")
    return classes


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    size = image.get("width"), image.get("height")
    return size if isinstance(size[0], int) and isinstance(size[1], int) else None  # type: ignore[return-value]


def _named(annotations: list[dict[str, Any]], categories: list[dict[str, Any]]) -> list[tuple[str, list[float], bool]]:
    names = {category["id"]: str(category.get("name", "")) for category in categories}
    return [(names[a["category_id"]], [float(x) for x in a["bbox"]], bool(a.get("iscrowd", 0))) for a in annotations]


def _true_boxes(annotations: list[dict[str, Any]], classes: Mapping[Any, int]) -> TrueBoxes:
    corners = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return TrueBoxes(
        xyxy=corners,
        class_index=np.array([classes.get(a["category_id"], -1) for a in annotations], np.int64),
        crowd=np.array([bool(a.get("iscrowd", 0)) for a in annotations], np.bool_),
    )
