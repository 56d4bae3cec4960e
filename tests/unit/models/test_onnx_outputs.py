"""What an ONNX file's outputs mean is told from shapes and figures, or asked for; it is never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from candor.errors import InvalidRequest
from models.families._onnx_outputs import Meaning, Probe, meaning

OURS = {"author": "Ultralytics", "task": "detect", "names": "{0: 'a'}"}


def told(
    shapes: Mapping[str, tuple[int, ...]] | tuple[int, ...],
    labels: int | None = None,
    *,
    side: int = 640,
    fill: float = 0.0,
    metadata: Mapping[str, str] | None = None,
    **options: Any,
) -> Meaning:
    named = shapes if isinstance(shapes, Mapping) else {"output": shapes}
    rows = {name: np.full(shape, fill, np.float32) for name, shape in named.items()}
    return meaning(Probe(rows, (side, side), labels, metadata or {}, options))


@pytest.mark.parametrize(
    ("shape", "labels", "head", "classes"),
    [
        ((1, 84, 8400), None, "ultralytics", 80),
        ((1, 84, 8400), 80, "ultralytics", 80),
        ((1, 84, 34000), 80, "ultralytics", 80),  # with a grid of 4 pixels
        ((1, 84, 1234), 80, "ultralytics", 80),  # anchors of somebody's own: the labels tell
        ((1, 8400, 84), 80, "ultralytics-transposed", 80),
        ((1, 300, 6), 80, "ultralytics-end2end", None),
        ((1, 300, 6), None, "ultralytics-end2end", None),
        ((1, 8400, 85), 80, "yolox", 80),
        ((1, 25200, 85), 80, "yolov5", 80),
        ((1, 25200, 85), None, "yolov5", 80),
        ((1, 10), None, "logits", 10),
        ((1, 10, 1, 1), None, "logits", 10),
    ],
)
def test_a_shape_that_only_one_head_has_tells_it(shape: tuple[int, ...], labels: int | None, head: str, classes: int | None) -> None:
    found = told(shape, labels)
    assert (found.head, found.classes, found.outputs) == (head, classes, ("output",))
    assert found.scores == ("logits" if head == "logits" else "probabilities")


@pytest.mark.parametrize(
    ("shapes", "labels", "options", "reason"),
    [
        ((1, 8400, 85), None, {}, "ultralytics-transposed and yolox fit. Set options.head .* or give the labels"),
        ((1, 6, 6), 2, {}, "ultralytics and ultralytics-end2end fit"),
        ((1, 8400, 84), 17, {}, r"output \[1, 8400, 84\].*17 labels: no head fits"),
        ((1, 84, 84), None, {}, "no head fits"),
        ((1, 2, 3, 4), None, {}, r"\[1, 2, 3, 4\]"),
        ({"boxes": (1, 50, 4), "scores": (1, 50), "classes": (1, 50)}, 80, {}, "several outputs fit the head logits.*options.name"),
        ((1, 84, 8400), 80, {"head": "yolox"}, "not that of the head yolox, which is"),
        ((1, 300, 7), 80, {"head": "ultralytics-end2end"}, "not that of the head"),
        ((1, 84, 8400), 80, {"head": "detr"}, "two outputs"),
        ((1, 84, 8400), 80, {"name": "other"}, "no output of the file: it has output"),
        ((1, 84, 8400), 80, {"activation": "softmax"}, "is for the head detr"),
        ((1, 1), None, {}, "one figure for an image"),
        ((1, 10), None, {"head": "probabilities"}, "these are no probabilities"),
    ],
)
def test_what_can_not_be_told_is_asked_for(shapes: Any, labels: int | None, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        told(shapes, labels, **options)


def test_the_options_decide_where_shapes_do_not() -> None:
    assert told((1, 8400, 85), head="yolox").classes == 80
    assert told((1, 8400, 85), head="ultralytics-transposed").classes == 81
    assert told((1, 8400, 84), 17, head="ultralytics-transposed").classes == 80  # and the labels are then too few
    assert told({"a": (1, 10), "b": (1, 12)}, name="b").outputs == ("b",)
    assert told((1, 300, 84), 80, head="ultralytics-transposed", normalised=True).normalised


def test_a_file_of_ultralytics_says_it_itself() -> None:
    assert told((1, 6, 6), 2, metadata=OURS).head == "ultralytics"
    assert told((1, 6, 6), 2, metadata={**OURS, "end2end": "True"}).head == "ultralytics-end2end"
    found = told((1, 300, 84), 80, metadata={**OURS, "head": "RTDETRDecoder"})
    assert (found.head, found.normalised, found.once, found.classes) == ("ultralytics-transposed", True, True, 80)
    with pytest.raises(InvalidRequest, match="task 'segment'"):
        told((1, 116, 8400), metadata={**OURS, "task": "segment"})


def test_two_outputs_are_a_detr() -> None:
    shapes = {"pred_boxes": (1, 100, 4), "logits": (1, 100, 91)}
    found = told(shapes, 91)
    assert (found.head, found.outputs, found.activation, found.normalised) == ("detr", ("logits", "pred_boxes"), "sigmoid", True)
    assert told(shapes, 90).activation == "softmax"
    assert (told(shapes, 90).classes, told(shapes, 91).classes, found.scores) == (90, 91, "logits")
    assert told({"boxes": (1, 100, 4), "logits": (1, 100, 4)}, 4).outputs == ("logits", "boxes")
    assert told({"x": (1, 100, 4), "y": (1, 100, 4)}, 4, head="detr", boxes="y").outputs == ("x", "y")
    with pytest.raises(InvalidRequest, match="no head fits"):
        told({"x": (1, 100, 4), "y": (1, 100, 4)}, 4)
    with pytest.raises(InvalidRequest, match="whether they are logits or probabilities"):
        told(shapes, 91, fill=0.3)
    assert told(shapes, 91, fill=0.3, activation="none").scores == "probabilities"
    with pytest.raises(InvalidRequest, match=r"set options\.normalised to false"):
        told(shapes, 91, fill=20.0)


def test_figures_that_are_something_else_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no probabilities"):
        told((1, 84, 8400), 80, fill=3.0)
    assert told((1, 84, 8400), 80, fill=3.0, activation="sigmoid").scores == "logits"
    with pytest.raises(InvalidRequest, match="in pixels already"):
        told((1, 8400, 85), 80, fill=400.0)
    with pytest.raises(InvalidRequest, match="NaN"):
        told((1, 10), fill=float("nan"))
    with pytest.raises(InvalidRequest, match="lie between 0 and 1"):
        told((1, 10), fill=0.3)
    assert told((1, 10), fill=0.1).head == "probabilities"
    assert told((1, 10), fill=0.3, head="logits").head == "logits"
