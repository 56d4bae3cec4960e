"""What the outputs of exported detectors mean.

A decoder takes one image's outputs and returns its candidates, with exact log-odds where the file gives logits (`activation` is
`sigmoid` or `softmax`). Where the file holds the sigmoid itself (`none`), log-odds are as exact as single precision is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from candor.predictions import Floats, Ints
from models.families._image_boxes import SLACK, Candidates, product_logit

_LAST = float(np.nextafter(np.float32(1), np.float32(0)))  # the largest score below one
_TINIEST = 1e-38
STRIDES = (8, 16, 32)  # of the grids of YOLOX and most others
Activation: TypeAlias = Literal["none", "sigmoid", "softmax"]
Row: TypeAlias = NDArray[np.float32]


def ultralytics(row: Row, size: tuple[int, int], floor: float, activation: Activation = "none") -> Candidates:
    """`[4 + classes, anchors]`: center, width and height in pixels of the input, then a score per class."""
    kept, best, logit = _chosen(row[4:].T, floor, activation)
    return Candidates(_corners(row[:4, kept].T), best, logit)


def transposed(row: Row, size: tuple[int, int], floor: float, activation: Activation = "none") -> Candidates:
    """`[anchors, 4 + classes]`: the same, a row for each anchor."""
    return ultralytics(row.T, size, floor, activation)


def end_to_end(row: Row, size: tuple[int, int], floor: float, activation: Activation = "none") -> Candidates:
    """`[boxes, 6]`: corners in pixels of the input, score, class; duplicates are gone already."""
    kept, _, logit = _chosen(row[:, 4:5], floor, activation)
    return Candidates(row[kept, :4].astype(np.float64), row[kept, 5].astype(np.int64), logit)


def yolox(row: Row, size: tuple[int, int], floor: float, activation: Activation = "none") -> Candidates:
    """`[anchors, 5 + classes]` as YOLOX exports it: offsets in its grids, then objectness and class probabilities."""
    kept, best, logit = _with_objectness(row, floor, activation)
    cells, strides = grid(size)
    figures = row[kept].astype(np.float64)
    center = (figures[:, :2] + cells[kept]) * strides[kept]
    return Candidates(_corners(np.concatenate([center, np.exp(figures[:, 2:4]) * strides[kept]], 1)), best, logit)


def yolov5(row: Row, size: tuple[int, int], floor: float, activation: Activation = "none") -> Candidates:
    """`[anchors, 5 + classes]`: center, width and height in pixels of the input, objectness, class probabilities."""
    kept, best, logit = _with_objectness(row, floor, activation)
    return Candidates(_corners(row[kept, :4]), best, logit)


def detr(logits: Row, boxes: Row, size: tuple[int, int], floor: float, activation: Activation = "sigmoid") -> Candidates:
    """`[queries, classes]`, with softmax `[queries, classes + 1]`, and `[queries, 4]`: center, width and height. Each query is one box."""
    kept, best, logit = _chosen(logits, floor, activation)
    return Candidates(_corners(boxes[kept]), best, logit)


DETECTORS: Mapping[str, Callable[..., Candidates]] = {
    "ultralytics": ultralytics,
    "ultralytics-transposed": transposed,
    "ultralytics-end2end": end_to_end,
    "yolox": yolox,
    "yolov5": yolov5,
    "detr": detr,
}
CLASSIFIERS = ("logits", "probabilities")


def grid(size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Cells (anchors, 2) and strides (anchors, 1) of YOLOX's three grids over an input of `size` (width, height)."""
    cells, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[0 : size[1] // stride, 0 : size[0] // stride]
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float64), np.concatenate(strides).astype(np.float64)


def log_odds(probability: NDArray[np.floating]) -> Floats:
    """Log-odds of single-precision probabilities; one that was rounded to 1 counts as the largest number below it."""
    p = np.clip(probability.astype(np.float64), _TINIEST, _LAST)
    return np.asarray(np.log(p) - np.log1p(-p))


def _chosen(figures: Row, floor: float, activation: Activation) -> tuple[NDArray[np.intp], Ints, Floats]:
    """Return which rows of class figures (n, classes) score about `floor` or more, their best class, and its log-odds."""
    classes = figures[:, :-1] if activation == "softmax" else figures
    best = classes.argmax(1)
    value = classes[np.arange(len(classes)), best].astype(np.float64)
    if activation == "none":
        logit = log_odds(value)
    elif activation == "sigmoid":
        logit = value
    else:  # log p - log (1 - p) is the class's figure less the logarithm of the sum of the others' exponentials
        others = figures.astype(np.float64)
        others[np.arange(len(others)), best] = -np.inf
        top = others.max(1)
        logit = value - (top + np.log(np.exp(others - top[:, None]).sum(1)))
    kept = np.flatnonzero(logit >= _least(floor))
    return kept, best[kept], logit[kept]


def _with_objectness(row: Row, floor: float, activation: Activation) -> tuple[NDArray[np.intp], Ints, Floats]:
    best = row[:, 5:].argmax(1)
    one = row[:, 4].astype(np.float64)
    other = row[:, 5:].max(1).astype(np.float64)
    if activation == "sigmoid":
        logit = product_logit(one, other)
    else:
        log_score = np.minimum(np.log(np.maximum(one, _TINIEST)) + np.log(np.maximum(other, _TINIEST)), np.log(_LAST))
        logit = log_score - np.log(-np.expm1(log_score))
    kept = np.flatnonzero(logit >= _least(floor))
    return kept, best[kept], logit[kept]


def _least(floor: float) -> float:
    return float(np.log(floor * SLACK) - np.log1p(-floor * SLACK))


def _corners(boxes: NDArray[np.floating]) -> Floats:
    wide = boxes.astype(np.float64)
    return np.concatenate([wide[:, :2] - wide[:, 2:] / 2, wide[:, :2] + wide[:, 2:] / 2], 1)
