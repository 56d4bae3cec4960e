"""What the outputs of exported detectors mean. Scores are probabilities there: their log-odds are as exact as single precision is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from candor.predictions import Floats
from models.families._image_boxes import Candidates

_LAST = float(np.nextafter(np.float32(1), np.float32(0)))  # the largest score below one
_TINIEST = 1e-38
_STRIDES = (8, 16, 32)  # of YOLOX's grids


def ultralytics(row: NDArray[np.float32], size: tuple[int, int], floor: float) -> Candidates:
    """`[4 + classes, anchors]`: center, width and height in pixels of the input, then a score per class."""
    best = row[4:].argmax(0)
    score = row[4:].max(0)
    kept = np.flatnonzero(score >= floor)
    return Candidates(_corners(row[:4, kept].T), best[kept], log_odds(score[kept]))


def end_to_end(row: NDArray[np.float32], size: tuple[int, int], floor: float) -> Candidates:
    """`[boxes, 6]`: corners in pixels of the input, score, class; duplicates are gone already."""
    kept = np.flatnonzero(row[:, 4] >= floor)
    return Candidates(row[kept, :4].astype(np.float64), row[kept, 5].astype(np.int64), log_odds(row[kept, 4]))


def yolox(row: NDArray[np.float32], size: tuple[int, int], floor: float) -> Candidates:
    """`[anchors, 5 + classes]` as YOLOX exports it: offsets in its grids, then objectness and class probabilities."""
    best = row[:, 5:].argmax(1)
    classes = row[:, 5:].max(1)
    kept = np.flatnonzero(row[:, 4] * classes >= floor * 0.99)
    cells, strides = grid(size)
    figures = row[kept].astype(np.float64)
    center = (figures[:, :2] + cells[kept]) * strides[kept]
    boxes = np.concatenate([center, np.exp(figures[:, 2:4]) * strides[kept]], 1)
    log_score = np.log(np.maximum(figures[:, 4], _TINIEST)) + np.log(np.maximum(classes[kept].astype(np.float64), _TINIEST))
    log_score = np.minimum(log_score, np.log(_LAST))
    return Candidates(_corners(boxes), best[kept], log_score - np.log(-np.expm1(log_score)))


Decoder = Callable[[NDArray[np.float32], tuple[int, int], float], Candidates]
DETECTORS: Mapping[str, Decoder] = {"ultralytics": ultralytics, "ultralytics-end2end": end_to_end, "yolox": yolox}
CLASSIFIERS = ("logits", "probabilities")


def grid(size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Cells (anchors, 2) and strides (anchors, 1) of YOLOX's three grids over an input of `size` (width, height)."""
    cells, strides = [], []
    for stride in _STRIDES:
        y, x = np.mgrid[0 : size[1] // stride, 0 : size[0] // stride]
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float64), np.concatenate(strides).astype(np.float64)


def log_odds(probability: NDArray[np.floating]) -> Floats:
    """Log-odds of single-precision probabilities; one that was rounded to 1 counts as the largest number below it."""
    p = np.clip(probability.astype(np.float64), _TINIEST, _LAST)
    return np.asarray(np.log(p) - np.log1p(-p))


def _corners(boxes: NDArray[np.floating]) -> Floats:
    wide = boxes.astype(np.float64)
    return np.concatenate([wide[:, :2] - wide[:, 2:] / 2, wide[:, :2] + wide[:, 2:] / 2], 1)
