"""What is measured of boxes alone: how a confidence agrees with overlap (LaECE), class by class, and what is found and missed (LRP).

D-ECE over the shown boxes is `ece` of `intervals.figures`: 15 bins of equal width, all classes together, an event at IoU 0.5. Precision,
recall and missed objects per image at the shown threshold are in an evaluation's quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from calibration.correctness import IOU, TrueBoxes, judge_boxes, overlaps
from calibration.intervals import RESAMPLES, SEED, Figure, cluster_numbers, draw_clusters
from calibration.measure import BINS, Bools, as_rows, equal_width_bins
from calibration.refinement import bounded, figure_json
from candor.errors import InvalidRequest
from candor.predictions import Detections, Floats, Ints

LAECE_BINS = 25
_FLOORS = 200  # simulations behind a floor
LEAST_OF_CLASS = 50  # boxes from which a class has an ECE worth a mean


@dataclass(frozen=True, slots=True, eq=False)
class ShownBoxes:
    """Boxes that are shown, of the classes that are judged. Each list is (n,); a row where an overlap is NaN is not counted."""

    confidence: Floats
    class_index: Ints
    iou: Floats  # `best_ious` of the prediction
    matched: Floats  # `best_ious` of the prediction at least IOU: above 0 where the box is right
    cluster: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """What is really there in the same images, of the judged classes, crowd regions aside. Each list is (m,)."""

    class_index: Ints
    cluster: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class DetectionFigures:
    """Figures of one set of shown boxes. None where there is nothing to measure them on."""

    n: int  # boxes
    objects: int
    clusters: int
    classes: int  # that have a box
    classes_of_ece: int  # that have 50 boxes
    laece: Figure
    class_ece: Figure
    lrp: Figure

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        counts = {name: getattr(self, name) for name in ("n", "objects", "clusters", "classes", "classes_of_ece")}
        return {**counts, **{name: figure_json(getattr(self, name)) for name in ("laece", "class_ece", "lrp")}}


def best_ious(prediction: Detections, truth: TrueBoxes, least: float = 0.0) -> Floats:
    """Return each box's IoU (n,) with the true box that it is matched with: 0 where there is none, NaN where the box is not counted.

    Boxes are matched as the correctness rule matches them (one to one within a class, in descending score, each with the best that is
    left), at any overlap above 0 and `least` or more. Which boxes count is the rule's own decision: one that stands for a crowd region
    doesn't, and takes no true box. So at `least` = 0.5 the boxes above 0 are the right ones.
    """
    counted = judge_boxes(prediction, truth).counted
    found = np.where(counted, 0.0, np.nan)
    for index in np.unique(prediction.class_index[counted]):
        mine = np.flatnonzero(counted & (prediction.class_index == index))
        mine = mine[np.argsort(-prediction.score[mine], kind="stable")]
        true: Bools = (truth.class_index == index) & ~truth.crowd
        if true.any():
            overlap = overlaps(prediction.xyxy[mine], truth.xyxy[true], np.zeros(int(true.sum()), np.bool_))
            found[mine] = _matched(overlap, least)
    return found


def _matched(overlap: Floats, least: float) -> Floats:
    """Return the IoU of each row's match, given overlaps (n, m) in descending score."""
    found, free = np.zeros(len(overlap)), np.ones(overlap.shape[1], np.bool_)
    for i, row in enumerate(overlap):
        left = np.where(free, row, -1.0)
        best = len(left) - 1 - int(np.argmax(left[::-1]))  # the last of equals, as COCO has it
        if left[best] > 0 and left[best] >= least:
            found[i], free[best] = left[best], False
    return found


def detection_figures(boxes: ShownBoxes, objects: Objects, *, resamples: int | None = None, seed: int = SEED) -> DetectionFigures:
    """Measure the shown boxes of some images; intervals are a bootstrap over clusters. The same seed, the same answer.

    - `laece`: LaECE_0, the mean over classes of sum_j |D_j|/|D| * |mean confidence - mean IoU| over 25 bins of equal width, a box
      without a match having IoU 0. Source: Kuzucu et al., "On Calibration of Object Detectors", ECCV 2024.
    - `class_ece`: the mean over the classes of 50 boxes or more of each one's ECE in 15 bins.
    - `lrp`: (FP + FN + sum over TP of (1 - IoU) / (1 - 0.5)) / (FP + FN + TP), the mean over classes that have a true box. Source: Oksuz
      et al., "Localization Recall Precision", ECCV 2018. It tells of misses, which no calibration error does.

    The errors are biased upward, so that each has its floor: what a confidence that is right on average would show of these boxes.

    Raises:
        InvalidRequest: a confidence outside 0 to 1, an overlap outside 0 to 1, a class below 0, lists of several lengths.
    """
    boxes = _checked(boxes, objects)
    resamples = resamples or RESAMPLES
    numbers, count = cluster_numbers(np.concatenate([boxes.cluster, objects.cluster]))
    of_box, of_object = numbers[: len(boxes.cluster)], numbers[len(boxes.cluster) :]
    drawn = draw_clusters(count, resamples, seed) if count > 1 else np.zeros((0, count))
    draws = np.concatenate([np.ones((1, count)), drawn])
    correct = (boxes.matched > 0).astype(np.float64)
    sizes = np.bincount(boxes.class_index, minlength=1)
    many: Bools = (sizes >= LEAST_OF_CLASS)[boxes.class_index]
    rng = np.random.default_rng(seed + 1)
    return DetectionFigures(
        n=len(correct),
        objects=len(of_object),
        clusters=count,
        classes=int(np.count_nonzero(sizes)),
        classes_of_ece=int(np.count_nonzero(sizes >= LEAST_OF_CLASS)),
        laece=_Binned(boxes, boxes.iou, LAECE_BINS).figure(of_box, draws, rng),
        class_ece=_Binned(_taken(boxes, many), correct[many], BINS).figure(of_box[many], draws, rng),
        lrp=_lrp(boxes, of_box, objects, of_object, draws),
    )


class _Binned:
    """The mean over classes of binned |confidence - target|. Only bins that hold a box are kept."""

    def __init__(self, boxes: ShownBoxes, target: Floats, bins: int) -> None:
        bin_of = equal_width_bins(boxes.confidence, bins)
        cells, self._cell_of = np.unique(boxes.class_index * bins + bin_of, return_inverse=True)
        _, class_of_cell = np.unique(cells // bins, return_inverse=True)
        self._class_of = class_of_cell[self._cell_of]
        self._classes = int(class_of_cell.max(initial=-1)) + 1
        self._of_class = csr_array((np.ones(len(cells)), (np.arange(len(cells)), class_of_cell)), shape=(len(cells), self._classes))
        self._wrong_by = boxes.confidence - target
        at_once = np.bincount(bin_of, self._wrong_by) / np.maximum(np.bincount(bin_of), 1)
        self._scatter = self._wrong_by - at_once[bin_of]

    def figure(self, clusters: Ints, draws: Floats, rng: np.random.Generator) -> Figure:
        """Return the value (first row of `draws`), its interval (the others) and its floor.

        For the floor the boxes keep their scatter about the mean error of their bin over all classes, with random signs.
        """
        if not len(clusters):
            return Figure(None)
        shape = (draws.shape[1], self._of_class.shape[0])
        errors = self._errors(draws @ csr_array((self._wrong_by, (clusters, self._cell_of)), shape=shape), self._sizes(clusters, draws))
        signs = rng.integers(0, 2, size=(_FLOORS, len(clusters))) * 2.0 - 1
        cells = csr_array((self._scatter, (np.arange(len(clusters)), self._cell_of)), shape=(len(clusters), shape[1]))
        floor = self._errors(signs @ cells, self._sizes(clusters, np.ones((1, draws.shape[1]))))
        found = bounded(float(errors[0]), errors[1:])
        return Figure(found.value, found.low, found.high, float(floor.mean()), float(np.percentile(floor, 95)))

    def _sizes(self, clusters: Ints, draws: Floats) -> Floats:
        counts = csr_array((np.ones(len(clusters)), (clusters, self._class_of)), shape=(draws.shape[1], self._classes))
        return np.asarray(draws @ counts)

    def _errors(self, sums: Floats, sizes: Floats) -> Floats:
        """Mean over the classes that have boxes, (r,), from sums of errors (r, cells) and numbers of boxes (r or 1, classes)."""
        by_class = np.abs(sums) @ self._of_class / np.maximum(sizes, 1)
        drawn = np.count_nonzero(sizes, axis=1)
        return np.asarray(np.where(drawn > 0, by_class.sum(axis=1) / np.maximum(drawn, 1), np.nan))


def _lrp(boxes: ShownBoxes, of_box: Ints, objects: Objects, of_object: Ints, draws: Floats) -> Figure:
    classes = int(max(boxes.class_index.max(initial=-1), objects.class_index.max(initial=-1))) + 1
    right = boxes.matched > 0
    lost = np.where(right, (1 - boxes.matched) / (1 - IOU) - 1, 1.0)  # a right box takes its object from those missed

    def drawn(values: Floats, clusters: Ints, class_index: Ints) -> Floats:
        return np.asarray(draws @ csr_array((values, (clusters, class_index)), shape=(draws.shape[1], classes)))

    true = drawn(np.ones(len(of_object)), of_object, objects.class_index)
    every = true + drawn((~right).astype(np.float64), of_box, boxes.class_index)
    by_class = (true + drawn(lost, of_box, boxes.class_index)) / np.maximum(every, 1)
    there = true > 0
    values = np.where(there.any(axis=1), (by_class * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1), np.nan)
    return bounded(float(values[0]), values[1:])


def _taken(boxes: ShownBoxes, mask: Bools) -> ShownBoxes:
    return ShownBoxes(*(getattr(boxes, name)[mask] for name in ShownBoxes.__slots__))


def _checked(boxes: ShownBoxes, objects: Objects) -> ShownBoxes:
    """Return the boxes that count."""
    lengths = {len(getattr(boxes, name)) for name in ShownBoxes.__slots__}
    if len(lengths) != 1 or len(objects.class_index) != len(objects.cluster):
        raise InvalidRequest("the lists of boxes, or those of objects, are not of one length")
    if min(boxes.class_index.min(initial=0), objects.class_index.min(initial=0)) < 0:
        raise InvalidRequest("a box or an object is of no class of the model: leave it out")
    taken = _taken(boxes, ~(np.isnan(boxes.iou) | np.isnan(boxes.matched)))
    if len(taken.confidence):
        as_rows(taken.confidence, taken.matched > 0)
    if not all(((values >= 0) & (values <= 1)).all() for values in (taken.iou, taken.matched)):
        raise InvalidRequest("an overlap is outside 0 to 1")
    if ((taken.matched > 0) & (taken.matched < IOU)).any():
        raise InvalidRequest(f"a matched box has an overlap below {IOU}: match at least that with `best_ious`")
    return taken
