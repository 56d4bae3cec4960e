"""Drafts the frames of a CVAT task in batches, and writes the labels to it in one request.

Nothing is written before all frames are drafted. So what was interrupted can be run again: Candor answers from the drafts that it made,
and a label that the task has already is not added twice.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from client.api import Client
from client.cvat.described import Described, Shape, score, shown
from client.cvat.frames import Frame, downloaded, frames_of
from client.errors import BadOption
from client.files import MediaFile


@dataclass(frozen=True, slots=True)
class How:
    """How a task is annotated. `clear` replaces what is there; `unmatched` lets the task lack labels of the model.

    `batch` frames go in one request, and `jobs` requests at once.
    """

    threshold: float | None = None
    clear: bool = False
    unmatched: bool = False
    batch: int = 16
    jobs: int = 4


@dataclass(slots=True)
class Outcome:
    """What came of a task. `failures` are frames with Candor's reason; `known` labels were there before."""

    frames: int = 0
    written: int = 0
    known: int = 0
    failures: list[tuple[Frame, Mapping[str, Any]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Label:
    """A label of the task. `confidence` is the id of its text attribute of that name, where it has one."""

    id: int
    confidence: int | None


def annotate(
    task: Any,
    candor: Client,
    what: Described,
    how: How,
    heard: Callable[[Frame, Mapping[str, Any]], object] = lambda frame, draft: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Outcome:
    """Draft all frames of a task, a `cvat_sdk.core.proxies.tasks.Task`, and write the labels to it. `heard` is told of every draft.

    Raises:
        ClientError: the task lacks labels, or a request to Candor failed as a whole: then nothing is written.
        cvat_sdk.exceptions.ApiException: CVAT refuses.
    """
    labels = _labels(task, what, how)
    outcome, tags, shapes = Outcome(), list[dict[str, Any]](), list[dict[str, Any]]()
    annotations = tags if what.shape == "tag" else shapes
    with tempfile.TemporaryDirectory(prefix="candor-cvat-") as folder:
        frames = frames_of(task, task.get_meta(), Path(folder))
        with closing(_drafts(task, frames, candor, what, how)) as drafts:  # no download runs when the folder goes
            for frame, draft in drafts:
                outcome.frames += 1
                progress(outcome.frames, len(frames))
                heard(frame, draft)
                if error := draft.get("error") or _other_size(frame, draft):
                    outcome.failures.append((frame, error))
                    continue
                wanted = (one for one in shown(draft, what.shape, how.threshold) if one["label"] in labels)
                annotations += [_annotation(frame, labels[one["label"]], one, what.shape) for one in wanted]
    _write(task, tags, shapes, how, outcome)
    return outcome


def _drafts(
    task: Any, frames: list[Frame], candor: Client, what: Described, how: How
) -> Generator[tuple[Frame, Mapping[str, Any]], None, None]:
    for group in downloaded(task, frames, how.batch * how.jobs):
        files = [MediaFile(frame.path, "image", hashlib.sha256(frame.path.read_bytes()).hexdigest()) for frame in group]
        yield from zip(group, candor.draft_found(files, what.options, batch=how.batch, jobs=how.jobs), strict=True)


def _labels(task: Any, what: Described, how: How) -> dict[str, _Label]:
    """Return the task's labels that the model can propose, by name."""
    found = {label.name: label for label in task.get_labels()}
    fitting = {name: found[name] for name in what.labels if name in found and str(found[name].type) in ("any", what.shape)}
    if not fitting:
        raise BadOption(f"the task has none of the model's labels as {what.shape}: {', '.join(what.labels[:10])}")
    if len(fitting) < len(what.labels) and not how.unmatched:
        lacking = [name for name in what.labels if name not in fitting]
        raise BadOption(f"the task lacks these labels as {what.shape}: {', '.join(lacking[:10])}; --allow-unmatched-labels leaves them out")
    return {name: _Label(label.id, _attribute(label)) for name, label in fitting.items()}


def _attribute(label: Any) -> int | None:
    return next((int(one.id) for one in label.attributes if one.name == "confidence" and str(one.input_type) == "text"), None)


def _other_size(frame: Frame, draft: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Boxes on a picture of another size would lie in the wrong places."""
    if tuple(draft["image_size"]) == frame.size:
        return None
    sizes = [f"{width} x {height}" for width, height in (draft["image_size"], frame.size)]
    return {"code": "other_size", "detail": f"Candor sees {sizes[0]} pixels, and CVAT {sizes[1]}"}


def _annotation(frame: Frame, label: _Label, drafted: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    confidence = drafted["confidence"]
    told = [] if confidence is None or label.confidence is None else [{"spec_id": label.confidence, "value": f"{confidence:.4f}"}]
    found = {"frame": frame.number, "label_id": label.id, "source": "auto", "attributes": told}
    return found if shape == "tag" else {**found, "type": shape, "points": list(drafted["xyxy"]), "score": score(drafted)}


def _write(task: Any, tags: list[dict[str, Any]], shapes: list[dict[str, Any]], how: How, outcome: Outcome) -> None:
    if not how.clear:
        before = task.get_annotations()
        known = {_place(one.to_dict()) for one in (*before.tags, *before.shapes)}
        total = len(tags) + len(shapes)
        tags, shapes = ([one for one in some if _place(one) not in known] for some in (tags, shapes))
        outcome.known = total - len(tags) - len(shapes)
    outcome.written = len(tags) + len(shapes)
    models = import_module("cvat_sdk.models")
    made = {
        "tags": [_request(models.LabeledImageRequest, one, models) for one in tags],
        "shapes": [_request(models.LabeledShapeRequest, one, models) for one in shapes],
    }
    if how.clear:
        task.set_annotations(models.LabeledDataRequest(**made))
    elif outcome.written:
        create = import_module("cvat_sdk.core.proxies.annotations").AnnotationUpdateAction.CREATE
        task.update_annotations(models.PatchedLabeledDataRequest(**made), action=create)


def _request(kind: Any, values: Mapping[str, Any], models: Any) -> Any:
    return kind(**{**values, "attributes": [models.AttributeValRequest(**one) for one in values["attributes"]]})


def _place(annotation: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells a label of a frame from another: not its score, which another calibration would change."""
    points = tuple(round(float(point), 1) for point in annotation.get("points") or ())
    return annotation["frame"], annotation["label_id"], points
