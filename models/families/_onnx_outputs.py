"""Tells what the outputs of an ONNX file mean, from their shapes and figures, or says what has to be told. Nothing is guessed.

A head fits where the shape is its own for the number of labels, or for the anchors that an input of this size has. Where several heads
fit, or none, the operator is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from candor.errors import InvalidRequest
from models.families._onnx_heads import CLASSIFIERS, DETECTORS, STRIDES, Activation, Row

_GRIDS = (STRIDES, (8, 16, 32, 64), (4, 8, 16, 32), (16, 32), (32,))
_SHAPES = {
    "ultralytics": "[n, 4 + classes, anchors]",
    "ultralytics-transposed": "[n, anchors, 4 + classes]",
    "ultralytics-end2end": "[n, boxes, 6]",
    "yolox": "[n, anchors, 5 + classes], offsets in grids",
    "yolov5": "[n, anchors, 5 + classes], boxes in pixels",
    "detr": "two outputs, [n, queries, classes] or [n, queries, classes + 1] and [n, queries, 4]",
    "logits": "[n, classes]",
    "probabilities": "[n, classes]",
}
HEADS = (*DETECTORS, *CLASSIFIERS)
_SUM_SLACK = 1e-3
_OTHER_TASKS = ("segment", "pose", "obb", "semantic", "depth")


@dataclass(frozen=True, slots=True)
class Probe:
    """A file's outputs for one image, by name, and what is known before looking at them."""

    outputs: Mapping[str, Row]  # each [1, …]
    size: tuple[int, int]  # width, height
    labels: int | None  # how many are given or named
    metadata: Mapping[str, str]
    options: Mapping[str, Any]

    def shapes(self) -> str:
        """The outputs as people write them."""
        return ", ".join(f"{name} {list(row.shape)}" for name, row in self.outputs.items())

    def known(self) -> str:
        """What a message says beside the shapes."""
        labels = "the number of labels is not known" if self.labels is None else f"{self.labels} labels"
        return f"for an input of {self.size[0]} x {self.size[1]} and {labels}"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the outputs mean, as `manifest.output` says it."""

    head: str
    outputs: tuple[str, ...]
    activation: Activation = "none"
    normalised: bool = False
    classes: int | None = None  # None: the output does not say
    once: bool = False  # a transformer's queries: each object is one of them, and none is suppressed

    @property
    def scores(self) -> str:
        """Whether the log-odds of scores are exact, or made from rounded probabilities."""
        return "logits" if self.head == "logits" or self.activation != "none" else "probabilities"


def meaning(probe: Probe) -> Meaning:
    """Return what the outputs mean.

    Raises:
        InvalidRequest: it can't be told, or is not what the options say; the detail names the shapes and the option to set.
    """
    given = probe.options.get("head")
    if given is not None and given not in HEADS:
        raise InvalidRequest(f"options.head {given!r} is not known: one of {', '.join(HEADS)}")
    if (task := probe.metadata.get("task")) in _OTHER_TASKS and given is None:
        raise InvalidRequest(f"the file says that its model is for the task {task!r}: only detectors and classifiers are run here")
    fits = [fit for fit in _fits(probe) if given in (None, fit.head)]
    if given is None and len(fits) > 1:
        fits = _as_ultralytics_says(fits, probe.metadata)
    if len(fits) == 1:
        found = fits[0]
    elif given is not None:
        found = _as_told(given, fits, probe)
    else:
        raise InvalidRequest(_untold(fits, probe))
    _check_figures(found, probe)
    return found


def _fits(probe: Probe) -> Iterator[Meaning]:
    named = probe.options.get("name")
    if named is not None and named not in probe.outputs:
        raise InvalidRequest(f"options.name {named!r} is no output of the file: it has {probe.shapes()}")
    for name, row in probe.outputs.items():
        if named in (None, name):
            yield from _fits_alone(name, row, probe)
    if named is None:
        yield from _fits_pairs(probe)


def _fits_alone(name: str, row: Row, probe: Probe) -> Iterator[Meaning]:
    shape, labels = row.shape, probe.labels
    if len(shape) >= 2 and shape[1] == row.size:  # [1, k], also [1, k, 1, 1]
        yield Meaning(_classifier(row), (name,), classes=shape[1])
        return
    if len(shape) != 3:
        return
    _, a, b = shape
    plain = _plain(name, probe.options)
    anchors = _anchors(probe.size)
    if probe.metadata.get("head") == "RTDETRDecoder":  # of Ultralytics: sigmoids in the file, boxes in shares of the input
        normalised = bool(probe.options.get("normalised", True))
        yield replace(plain, head="ultralytics-transposed", classes=b - 4, normalised=normalised, once=True)
        return
    if a == 4 + labels if labels else a > 4 and b in anchors:
        yield replace(plain, head="ultralytics", classes=a - 4)
    if a in anchors and (b == 4 + labels if labels else b > 4):
        yield replace(plain, head="ultralytics-transposed", classes=b - 4)
    if b == 6 and a not in anchors:
        yield replace(plain, head="ultralytics-end2end")
    if b > 5 and (b == 5 + labels if labels else True):
        if a == _count(probe.size, STRIDES):
            yield replace(plain, head="yolox", classes=b - 5)
        elif a in {3 * count for count in anchors}:
            yield replace(plain, head="yolov5", classes=b - 5)


def _fits_pairs(probe: Probe) -> Iterator[Meaning]:
    """Two outputs with a row for each query: class figures and boxes."""
    options = probe.options
    rows = {name: row for name, row in probe.outputs.items() if row.ndim == 3}
    for boxes, row in rows.items():
        for logits, figures in rows.items():
            if boxes == logits or row.shape[:2] != figures.shape[:2] or row.shape[2] != 4:
                continue
            if options.get("boxes", boxes) != boxes or options.get("logits", logits) != logits:
                continue
            if figures.shape[2] == 4 and "boxes" not in options and "box" not in boxes.lower():
                continue
            count = figures.shape[2]
            activation: Activation = options.get("activation") or (
                "softmax" if probe.labels is not None and count == probe.labels + 1 else "sigmoid"
            )
            classes = count - 1 if activation == "softmax" else count
            yield Meaning("detr", (logits, boxes), activation, bool(options.get("normalised", True)), classes, once=True)


def _as_ultralytics_says(fits: list[Meaning], metadata: Mapping[str, str]) -> list[Meaning]:
    """Choose by what Ultralytics writes into its files, where the file is one of its."""
    if metadata.get("author") != "Ultralytics" or metadata.get("task") != "detect":
        return fits
    end2end = metadata.get("end2end") == "True" or "'nms': True" in metadata.get("args", "")
    chosen = "ultralytics-end2end" if end2end else "ultralytics"
    return [fit for fit in fits if fit.head == chosen] or fits


def _as_told(head: str, fits: list[Meaning], probe: Probe) -> Meaning:
    """The operator's head, where the shape does not say the same by itself."""
    if len(fits) > 1:
        names = "options.boxes and options.logits" if head == "detr" else "options.name"
        raise InvalidRequest(f"several outputs fit the head {head} ({probe.shapes()}): set {names}")
    named = probe.options.get("name")
    rows = {name: row for name, row in probe.outputs.items() if named in (None, name)}
    if head == "detr" or len(rows) != 1:
        raise _misfit(head, probe)
    name, row = next(iter(rows.items()))
    if head in CLASSIFIERS:
        if len(row.shape) < 2 or row.shape[1] != row.size:
            raise _misfit(head, probe)
        return Meaning(head, (name,), classes=row.shape[1])
    if row.ndim != 3 or (head == "ultralytics-end2end" and row.shape[2] != 6):
        raise _misfit(head, probe)
    if head == "yolox" and row.shape[1] != _count(probe.size, STRIDES):
        raise _misfit(head, probe)
    classes = {"ultralytics": row.shape[1] - 4, "ultralytics-transposed": row.shape[2] - 4, "ultralytics-end2end": None}
    found = classes[head] if head in classes else row.shape[2] - 5
    if found is not None and found < 1:
        raise _misfit(head, probe)
    return replace(_plain(name, probe.options), head=head, classes=found)


def _plain(name: str, options: Mapping[str, Any]) -> Meaning:
    """What the options say of an output that a detector's head takes alone."""
    return Meaning("", (name,), options.get("activation", "none"), bool(options.get("normalised", False)))


def _misfit(head: str, probe: Probe) -> InvalidRequest:
    return InvalidRequest(
        f"the outputs are {probe.shapes()}, {probe.known()}: that is not that of the head {head}, which is {_SHAPES[head]}"
    )


def _untold(fits: list[Meaning], probe: Probe) -> str:
    shapes = "; ".join(f"{head}: {shape}" for head, shape in _SHAPES.items())
    if not fits:
        return (
            f"what the outputs {probe.shapes()} mean can't be told, {probe.known()}: no head fits. Set options.head to one of "
            f"{', '.join(HEADS)} if it is one, and check that the labels are as many as the model's classes. Tried: {shapes}"
        )
    heads = list(dict.fromkeys(fit.head for fit in fits))
    if len(heads) == 1:
        return f"several outputs fit the head {heads[0]} ({probe.shapes()}): set options.name to the one that counts"
    more = ", or give the labels" if probe.labels is None else ""
    return (
        f"what the outputs {probe.shapes()} mean can't be told, {probe.known()}: {' and '.join(heads)} fit. Set options.head to "
        f"one of {', '.join(heads)}{more}"
    )


def _classifier(row: Row) -> str:
    figures = row.reshape(-1)
    return "probabilities" if figures.min() >= 0 and abs(figures.sum() - 1) < _SUM_SLACK else "logits"


def _check_figures(found: Meaning, probe: Probe) -> None:
    """Compare the figures with what they are taken for.

    Raises:
        InvalidRequest: they are something else.
    """
    rows = [probe.outputs[name][0].astype(np.float64) for name in found.outputs]
    if not all(np.isfinite(row).all() for row in rows):
        raise InvalidRequest("the model gives NaN or infinity for a picture of noise: check the export, and its scale, mean and std")
    if found.head in CLASSIFIERS:
        _check_classifier(found, rows[0].reshape(-1), told="head" in probe.options)
        return
    if found.head == "yolox" and _decoded(rows[0], probe.size):
        raise InvalidRequest(
            f"the output {found.outputs[0]} has the shape of YOLOX's, but its centers span the image: its boxes are in pixels already. Set "
            "options.head to yolov5, and options.layout, channels and scale to how the model was trained (YOLOX: letterbox-corner, bgr, 1)"
        )
    _check_scores(found, rows, told="activation" in probe.options)
    if found.head == "detr" and found.normalised and (rows[1].min() < -0.5 or rows[1].max() > 1.5):
        raise InvalidRequest(
            f"the boxes of the output {found.outputs[1]} reach from {rows[1].min():.3g} to {rows[1].max():.3g}, and the head detr has "
            "them in shares of the image: set options.normalised to false if they are center, width and height in pixels"
        )


def _check_classifier(found: Meaning, row: Any, *, told: bool) -> None:
    if len(row) < 2:
        raise InvalidRequest("the model gives one figure for an image: a classifier has two classes or more. Export both")
    if found.head == "probabilities" and _classifier(row) != "probabilities":
        raise InvalidRequest(
            f"the output's figures reach from {row.min():.3g} to {row.max():.3g} and sum up to {row.sum():.3g}: these are no "
            "probabilities. Set options.head to logits"
        )
    if found.head == "logits" and not told and row.min() > 0 and row.max() < 1:
        raise InvalidRequest(
            f"the output's figures lie between 0 and 1 and sum up to {row.sum():.3g}: whether they are logits can't be told. Set "
            "options.head to logits if they are; a model with a sigmoid for each class is not run here: export it without that"
        )


def _check_scores(found: Meaning, rows: list[Any], *, told: bool) -> None:
    if found.activation == "softmax" and found.head != "detr":
        raise InvalidRequest(f"options.activation softmax is for the head detr, not for {found.head}: use none or sigmoid")
    row = rows[0]
    parts = {"ultralytics": row[4:], "detr": row, "ultralytics-end2end": row[:, 4:5]}
    scores = parts[found.head] if found.head in parts else row[:, 4:]
    if not scores.size:
        return
    low, high = scores.min(), scores.max()
    if found.activation == "none" and (low < -_SUM_SLACK or high > 1 + _SUM_SLACK):
        raise InvalidRequest(
            f"the class figures of the head {found.head} reach from {low:.3g} to {high:.3g}: these are no probabilities. Set "
            "options.activation to sigmoid if they are logits"
        )
    if found.activation != "none" and not told and low > 0 and high < 1:
        raise InvalidRequest(
            f"the class figures of the head {found.head} lie between 0 and 1: whether they are logits or probabilities can't be told. Set "
            "options.activation to sigmoid or softmax if they are logits, to none if they are probabilities"
        )


def _decoded(row: Any, size: tuple[int, int]) -> bool:
    """Whether centers are in pixels: they then span the image. Offsets in a grid stay near its cells."""
    return bool(np.abs(row[:, :2]).max() > max(size) / 2)


def _count(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    return sum((size[0] // stride) * (size[1] // stride) for stride in strides)


def _anchors(size: tuple[int, int]) -> set[int]:
    return {_count(size, strides) for strides in _GRIDS}
