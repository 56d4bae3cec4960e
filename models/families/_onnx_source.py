"""ONNX files that people have: checked, measured, and described for a manifest."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from candor.errors import InvalidRequest, ModelUnavailable, UnsafeArtifact
from candor.families import Adopted, Device
from models.families._image_labels import labels_of
from models.families._onnx_heads import CLASSIFIERS, DETECTORS, grid
from models.families._onnx_run import Session

WEIGHTS = "model.onnx"
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_INPUT = ("size", "layout", "channels", "scale", "mean", "std", "crop_pct", "crop_mode", "interpolation")
_OUTPUT = ("score_floor", "nms_iou", "max_boxes")


def take_in(source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
    """Copy an ONNX file into `folder` and describe it. Options, each with a default or read off the file where it can be:

    - `head`: `ultralytics`, `ultralytics-end2end` or `yolox` (detection), `logits` or `probabilities` (classification).
    - `labels`: `coco`, `imagenet1k`, a text file or a list.
    - `display_threshold`, and the keys of `manifest.input` and `manifest.output` that the family `onnx` documents.

    Raises:
        ModelUnavailable: there is no such file.
        UnsafeArtifact: it is no plain ONNX file.
        InvalidRequest: an option is wrong, or is needed.
    """
    if unknown := sorted(set(options) - {"head", "labels", "display_threshold", *_INPUT, *_OUTPUT}):
        raise InvalidRequest(f"unknown options {', '.join(unknown)} of the family onnx")
    path = Path(source).expanduser()
    if not path.is_file():
        raise ModelUnavailable(f"{source!r} is no file: the family onnx takes a local .onnx file (source `file:PATH`)")
    check(path)
    shutil.copyfile(path, folder / WEIGHTS)
    session = Session(folder / WEIGHTS, Device(threads=1))
    size = _size(session, options)
    rows = session.run([np.random.default_rng(0).random((size[1], size[0], 3), dtype=np.float32)])
    head = _head(rows, size, session.metadata, options)
    return Adopted(
        labels=labels_of(options.get("labels"), _classes(head, rows), _names(session.metadata)),
        input={"size": list(size), **_defaults(head), **{key: options[key] for key in _INPUT if key in options and key != "size"}},
        output={"head": head, **_post(head), **{key: options[key] for key in _OUTPUT if key in options}},
        display_threshold=options.get("display_threshold", 0.25 if head in DETECTORS else None),
        licence=session.metadata.get("license", "unknown"),
    )


def check(path: Path) -> None:
    """Refuse what is no plain ONNX file, or keeps tensors in other files.

    Raises:
        UnsafeArtifact: so it is.
    """
    import onnx  # noqa: PLC0415 - seconds to import, and only taking a model in needs it
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # noqa: PLC0415

    try:
        model = onnx.load(str(path), load_external_data=False)
        for tensor in _tensors(model.graph):
            if onnx.external_data_helper.uses_external_data(tensor):
                raise UnsafeArtifact(
                    f"{path.name} keeps the tensor {tensor.name!r} in another file: save the model as one file "
                    "(onnx.save(model, path, save_as_external_data=False))"
                )
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise UnsafeArtifact(f"{path.name} is no valid ONNX file: {' '.join(str(error).split())[:300]}") from error


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph and of the graphs inside it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _tensors(inner)


def _size(session: Session, options: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of the input: the file's, the operator's, or what Ultralytics wrote into the file."""
    given = options.get("size")
    if session.size is not None:
        if given is not None and tuple(given) != session.size:
            raise InvalidRequest(f"options.size is {given} and the file takes only {list(session.size)}")
        return session.size
    if given is None and "imgsz" in session.metadata:
        given = list(reversed(json.loads(session.metadata["imgsz"])))  # height, width
    if given is None:
        raise InvalidRequest("the file takes images of any size: set options.size to [width, height]")
    return int(given[0]), int(given[1])


def _head(rows: Any, size: tuple[int, int], metadata: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """Tell what the output means, from its shape and what Ultralytics writes into its files."""
    known = (*DETECTORS, *CLASSIFIERS)
    given = options.get("head")
    if given is not None and given not in known:
        raise InvalidRequest(f"options.head {given!r} is not known: one of {', '.join(known)}")
    head: str | None = given or _guess(rows, size, metadata)
    if head is None:
        raise InvalidRequest(
            f"what the output of shape {list(rows.shape)} means can't be told: set options.head to one of {', '.join(known)}"
        )
    if rows.ndim != (3 if head in DETECTORS else 2):
        raise InvalidRequest(f"the output has the shape {list(rows.shape)}, which is not that of the head {head}")
    return head


def _guess(rows: Any, size: tuple[int, int], metadata: Mapping[str, str]) -> str | None:
    if rows.ndim == 2:
        return "probabilities" if rows.min() >= 0 and np.allclose(rows.sum(1), 1, atol=1e-3) else "logits"
    if rows.ndim != 3 or metadata.get("task", "detect") != "detect":
        return None
    if rows.shape[2] == 6 and "names" in metadata:
        return "ultralytics-end2end"
    if rows.shape[1] == len(grid(size)[0]) and rows.shape[2] > 5:
        return "yolox"
    return "ultralytics" if 4 < rows.shape[1] < rows.shape[2] else None


def _names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Class names as Ultralytics writes them into a file: a dict from index to name."""
    try:
        names = ast.literal_eval(metadata.get("names", "{}"))
        return tuple(str(names[key]) for key in sorted(names))
    except (ValueError, SyntaxError, TypeError):
        return ()


def _classes(head: str, rows: Any) -> int | None:
    """How many classes the output tells apart; the end-to-end one does not say."""
    counts: dict[str, int | None] = {"ultralytics": rows.shape[1] - 4, "yolox": rows.shape[-1] - 5, "ultralytics-end2end": None}
    return counts[head] if head in counts else int(rows.shape[-1])


def _defaults(head: str) -> dict[str, Any]:
    if head == "yolox":
        return {"layout": "letterbox-corner", "channels": "bgr", "scale": 1.0}
    if head in DETECTORS:
        return {"layout": "letterbox", "channels": "rgb", "scale": 255.0}
    crop = {"layout": "crop", "crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic"}
    return {**crop, "channels": "rgb", "scale": 255.0, **_IMAGENET}


def _post(head: str) -> dict[str, Any]:
    if head not in DETECTORS:
        return {}
    return {"score_floor": 0.01, "nms_iou": None if head == "ultralytics-end2end" else 0.6, "max_boxes": 300}
