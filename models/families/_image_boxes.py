"""From a detector's raw figures for one image to its boxes, in double precision and without clipping scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candor.predictions import Detections, Floats, Ints
from models.families._image_letterbox import Letterbox

SLACK = 0.99  # a device looks for candidates at this share of the floor, so that its rounding loses none; `boxes` is exact


@dataclass(frozen=True, slots=True)
class Candidates:
    """What one image's anchors say, before suppression. Each anchor has its best class only."""

    xyxy: Floats  # (n, 4) pixels of the frame
    class_index: Ints  # (n,)
    logit: Floats  # (n,) log-odds of the score


@dataclass(frozen=True, slots=True)
class Head:
    """Post-processing, from `manifest.output`."""

    score_floor: float = 0.01
    nms_iou: float | None = 0.7  # None: the model suppresses duplicates itself
    max_boxes: int = 300

    @classmethod
    def of(cls, output: Mapping[str, Any]) -> Head:
        """Read a manifest's `score_floor`, `nms_iou` and `max_boxes`."""
        known = {key: output[key] for key in ("score_floor", "nms_iou", "max_boxes") if key in output}
        return cls(**known)


def log_sigmoid(x: Floats) -> Floats:
    """The logarithm of the sigmoid, exact for any x."""
    return -np.logaddexp(0.0, -x)


def sigmoid(x: Floats) -> Floats:
    """The sigmoid, without overflow."""
    return np.exp(log_sigmoid(x))


def product_logit(one: Floats, other: Floats) -> Floats:
    """Return the log-odds of sigmoid(one) x sigmoid(other), which is never rounded to 0 or 1 on the way."""
    # log p = a + b and log(1 - p) = log(1 - e^(a + b)), with a, b the logarithms of the two sigmoids
    log_p = log_sigmoid(one) + log_sigmoid(other)
    # 1 - p = (1 - p1) + p1 (1 - p2): sums of positive terms lose no digits where p is close to 1
    log_rest = np.logaddexp(log_sigmoid(-one), log_sigmoid(one) + log_sigmoid(-other))
    return log_p - log_rest


def detections(candidates: Candidates, frame: Letterbox, head: Head) -> Detections:
    """Suppress duplicates and return the boxes of the image, in descending score."""
    score = sigmoid(candidates.logit)
    chosen = np.flatnonzero(score >= head.score_floor)
    chosen = chosen[np.argsort(-candidates.logit[chosen], kind="stable")]
    if head.nms_iou is not None:
        chosen = chosen[suppress(candidates.xyxy[chosen], candidates.class_index[chosen], head.nms_iou, head.max_boxes)]
    chosen = chosen[: head.max_boxes]
    xyxy = frame.restore(candidates.xyxy[chosen])
    inside = ((xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])).nonzero()[0]  # the others lie in the gray around the image
    chosen = chosen[inside]
    return Detections(frame.image_size, xyxy[inside], candidates.class_index[chosen], score[chosen], candidates.logit[chosen])


def suppress(boxes: Floats, classes: Ints, iou: float, most: int) -> NDArray[np.intp]:
    """Return the indices of at most `most` boxes, none of which overlaps a better one of its class by more than `iou`.

    Args:
        boxes: (n, 4) xyxy, the best first.
        classes: (n,)
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    rest = np.arange(len(boxes))
    while len(rest) and len(kept) < most:
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = np.maximum(np.minimum(boxes[best, 2:], boxes[rest, 2:]) - corner, 0.0)
        shared = sides[:, 0] * sides[:, 1]
        rest = rest[(shared <= iou * (areas[best] + areas[rest] - shared)) | (classes[rest] != classes[best])]
    return np.array(kept, np.intp)
