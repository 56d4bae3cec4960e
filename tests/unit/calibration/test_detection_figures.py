from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.correctness import TrueBoxes, judge_boxes
from calibration.detection_figures import DetectionFigures, Objects, ShownBoxes, best_ious, detection_figures
from calibration.intervals import Figure, draw_clusters
from calibration.measure import ece
from candor.errors import InvalidRequest
from candor.predictions import Detections, Floats, Ints


def boxes(*found: tuple[list[float], int, float]) -> Detections:
    score = np.array([one[2] for one in found])
    corners = np.array([one[0] for one in found], np.float64).reshape(-1, 4)
    return Detections((100, 100), corners, np.array([one[1] for one in found], np.int64), score, np.log(score / (1 - score)))


def truth(*true: tuple[list[float], int, bool]) -> TrueBoxes:
    corners = np.array([one[0] for one in true], np.float64).reshape(-1, 4)
    return TrueBoxes(corners, np.array([one[1] for one in true], np.int64), np.array([one[2] for one in true], np.bool_))


A, B, FAR = [0.0, 0, 10, 10], [20.0, 20, 40, 40], [60.0, 60, 80, 80]


def test_matches_are_one_to_one_and_within_a_class() -> None:
    part = [0.0, 0, 10, 3]
    found = best_ious(boxes((part, 0, 0.9), (A, 0, 0.8), (B, 1, 0.7), (FAR, 0, 0.6)), truth((A, 0, False), (B, 0, False)))
    assert found.tolist() == pytest.approx([0.3, 0, 0, 0])  # the second one comes too late
    assert best_ious(boxes((part, 0, 0.9), (A, 0, 0.8)), truth((A, 0, False)), 0.5).tolist() == [0.0, 1.0]
    assert best_ious(boxes((FAR, 0, 0.9), (A, 0, 0.8)), truth((A, 0, False))).tolist() == [0.0, 1.0]  # no overlap is no match
    beside, across = [10.0, 0, 20, 10], [5.0, 0, 15, 10]  # of two as good the last one is taken, as COCO has it
    found = best_ious(boxes((across, 0, 0.9), (A, 0, 0.8)), truth((A, 0, False), (beside, 0, False)))
    assert found.tolist() == pytest.approx([1 / 3, 1.0])


def test_a_box_of_a_crowd_is_not_counted_and_takes_no_object() -> None:
    crowd, edge = [0.0, 0, 50, 50], [0.0, 0, 10, 40]
    found = best_ious(boxes((edge, 0, 0.9), (A, 0, 0.8), (FAR, 0, 0.7)), truth((crowd, 0, True), (A, 0, False)))
    assert np.isnan(found[0])
    assert found[1:].tolist() == [1.0, 0.0]


def test_a_box_that_only_touches_a_crowd_is_wrong() -> None:
    assert best_ious(boxes(([45.0, 0, 65, 10], 0, 0.9)), truth(([0.0, 0, 50, 50], 0, True))).tolist() == [0.0]


def test_nothing_found_and_nothing_there() -> None:
    assert best_ious(boxes(), truth((A, 0, False))).shape == (0,)
    assert best_ious(boxes((A, 0, 0.9)), truth()).tolist() == [0.0]


def scene(seed: int) -> tuple[Detections, TrueBoxes]:
    rng = np.random.default_rng(seed)

    def corners(n: int) -> Floats:
        start = rng.integers(0, 30, size=(n, 2))
        return np.concatenate([start, start + rng.integers(5, 30, size=(n, 2))], axis=1).astype(np.float64)

    score = rng.random(40)
    found = Detections((64, 64), corners(40), rng.integers(2, size=40), score, np.log(score / (1 - score)))
    return found, TrueBoxes(corners(12), rng.integers(2, size=12), rng.random(12) < 0.2)


@pytest.mark.parametrize("seed", range(12))
def test_at_half_overlap_the_matched_boxes_are_the_right_ones(seed: int) -> None:
    found, true = scene(seed)
    judged = judge_boxes(found, true)
    for least in (0.0, 0.5):
        assert np.isnan(best_ious(found, true, least)).tolist() == (~judged.counted).tolist()
    assert (best_ious(found, true, 0.5) >= 0.5).tolist() == (judged.correct & judged.counted).tolist()


def population(n: int = 900, seed: int = 0) -> tuple[ShownBoxes, Objects]:
    """Boxes of three classes, the last one rare, with a confidence that is right on average of the overlap."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.3, 1, n)
    index: Ints = np.sort(np.where(np.arange(n) < 30, 2, rng.integers(2, size=n)))
    matched = np.where(rng.random(n) < confidence, rng.uniform(0.5, 1, n), 0.0)
    iou = np.where(matched > 0, matched, np.where(rng.random(n) < 0.3, rng.uniform(0, 0.5, n), 0.0))
    cluster = rng.integers(n // 6, size=n).astype(str)
    right = matched > 0
    missed = rng.integers(2, size=n // 4)
    objects = Objects(
        np.concatenate([index[right], missed]), np.concatenate([cluster[right], rng.integers(n // 6, size=n // 4).astype(str)])
    )
    return ShownBoxes(confidence, index, iou, matched, cluster), objects


def laece(found: ShownBoxes) -> float:
    """The definition, box by box."""
    errors = []
    for index in sorted(set(found.class_index.tolist())):
        mine = [(c, i) for c, i, k in zip(found.confidence, found.iou, found.class_index, strict=True) if k == index]
        bins = [[(c, i) for c, i in mine if j / 25 <= c < (j + 1) / 25 or (j == 24 and c == 1)] for j in range(25)]
        errors.append(sum(len(b) / len(mine) * abs(np.mean([c for c, _ in b]) - np.mean([i for _, i in b])) for b in bins if b))
    return float(np.mean(errors))


def lrp(found: ShownBoxes, objects: Objects) -> float:
    errors = []
    for index in set(objects.class_index.tolist()):
        matched = found.matched[found.class_index == index]
        hits, true = matched[matched > 0], int((objects.class_index == index).sum())
        false, missed = len(matched) - len(hits), true - len(hits)
        errors.append((false + missed + ((1 - hits) / 0.5).sum()) / (false + missed + len(hits)))
    return float(np.mean(errors))


def test_values_are_their_definitions() -> None:
    found, objects = population()
    figures = detection_figures(found, objects, resamples=10)
    assert (figures.n, figures.objects, figures.classes, figures.classes_of_ece) == (900, len(objects.cluster), 3, 2)
    assert figures.laece.value == pytest.approx(laece(found))
    assert figures.lrp.value == pytest.approx(lrp(found, objects))
    by_class = [ece(found.confidence[mine], found.matched[mine] > 0) for mine in (found.class_index == 0, found.class_index == 1)]
    assert figures.class_ece.value == pytest.approx(np.mean(by_class))


def test_by_hand() -> None:
    found = ShownBoxes(
        np.array([0.9, 0.7, 1.0]), np.array([0, 0, 4]), np.array([0.8, 0.2, 0.6]), np.array([0.8, 0.0, 0.6]), np.array(["a", "b", "b"])
    )
    figures = detection_figures(found, Objects(np.array([0, 0, 4]), np.array(["a", "a", "b"])))
    assert figures.laece.value == pytest.approx(((0.1 + 0.5) / 2 + 0.4) / 2)
    assert figures.lrp.value == pytest.approx(((1 + 1 + 0.4) / 3 + 0.8) / 2)
    assert figures.class_ece == Figure(None)


def test_a_class_that_is_not_there_counts_for_overlap_and_not_for_lrp() -> None:
    found, objects = population(300)
    index = np.where(found.class_index == 2, 7, found.class_index)
    there = Objects(objects.class_index[objects.class_index < 2], objects.cluster[objects.class_index < 2])
    figures = detection_figures(replace(found, class_index=index), there, resamples=5)
    assert figures.laece.value == pytest.approx(laece(found))
    assert figures.lrp.value == pytest.approx(lrp(found, there))


def test_figures_of_resamples_are_those_of_their_boxes_written_out() -> None:
    found, objects = population(240)
    figures = detection_figures(found, objects, resamples=25, seed=9)
    names, numbers = np.unique(np.concatenate([found.cluster, objects.cluster]), return_inverse=True)
    laeces, lrps = [], []
    for times in draw_clusters(len(names), 25, 9).astype(np.int64):
        at, there = (np.repeat(np.arange(len(part)), times[part]) for part in (numbers[:240], numbers[240:]))
        drawn = ShownBoxes(*(getattr(found, name)[at] for name in ShownBoxes.__slots__))
        laeces.append(laece(drawn))
        lrps.append(lrp(drawn, Objects(objects.class_index[there], objects.cluster[there])))
    low, high = np.percentile(laeces, [2.5, 97.5])
    assert (figures.laece.low, figures.laece.high) == pytest.approx((low, high))
    assert (figures.lrp.low, figures.lrp.high) == pytest.approx(tuple(np.percentile(lrps, [2.5, 97.5])))


def test_an_honest_confidence_shows_its_floor_and_a_dishonest_one_more() -> None:
    found, objects = population(6000)
    honest = detection_figures(found, objects, resamples=20)
    assert honest.class_ece.value is not None
    assert honest.class_ece.floor_95 is not None
    assert honest.class_ece.floor_mean == pytest.approx(honest.class_ece.value, rel=0.4)
    bold = detection_figures(replace(found, confidence=found.confidence**0.5), objects, resamples=20)
    assert bold.class_ece.value is not None
    assert bold.class_ece.value > 3 * honest.class_ece.floor_95
    assert bold.lrp == honest.lrp


def test_the_floor_of_overlap_is_what_an_honest_confidence_shows() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.3, 1, 400)
    shown = []
    for seed in range(40):
        iou = np.random.default_rng(seed).beta(4 * confidence, 4 * (1 - confidence))
        found = ShownBoxes(confidence, np.arange(400) % 3, iou, np.where(iou >= 0.5, iou, 0), np.arange(400).astype(str))
        shown.append(detection_figures(found, Objects(found.class_index, found.cluster), resamples=2).laece)
    assert np.mean([figure.floor_mean or 0 for figure in shown]) == pytest.approx(np.mean([figure.value or 0 for figure in shown]), rel=0.1)


def test_an_interval_holds_its_value_though_resampling_adds_noise() -> None:
    found, objects = population(2000)
    alone = np.arange(2000).astype(str)
    figure = detection_figures(replace(found, cluster=alone), objects, resamples=50).class_ece
    assert figure.low == figure.value
    assert figure.high is not None
    assert figure.high > (figure.low or 0)


def test_an_error_without_scatter_has_no_floor() -> None:
    confidence = np.linspace(0.75, 1, 300)
    found = ShownBoxes(confidence, np.arange(300) % 3, confidence - 0.2, confidence - 0.2, np.arange(300).astype(str))
    figure = detection_figures(found, Objects(found.class_index, found.cluster), resamples=2).laece
    assert figure.value == pytest.approx(0.2)
    assert figure.floor_95 == pytest.approx(0, abs=1e-12)


def test_misses_are_told_by_lrp_alone() -> None:
    found, objects = population()
    few = ShownBoxes(*(getattr(found, name)[found.confidence > 0.95] for name in ShownBoxes.__slots__))
    some, all_ = (detection_figures(part, objects, resamples=2).lrp.value for part in (few, found))
    assert some is not None
    assert all_ is not None
    assert some > all_ + 0.1


@pytest.mark.parametrize(("iou", "matched"), [(np.nan, np.nan), (np.nan, 0.0), (0.0, np.nan)])
def test_boxes_that_are_not_counted_change_nothing(iou: float, matched: float) -> None:
    found, objects = population(300)
    more = ShownBoxes(
        *(
            np.concatenate([getattr(found, name), [value]])
            for name, value in (("confidence", 1.0), ("class_index", 0), ("iou", iou), ("matched", matched), ("cluster", "0"))
        )
    )
    assert detection_figures(more, objects, resamples=5) == detection_figures(found, objects, resamples=5)


def empty() -> ShownBoxes:
    return ShownBoxes(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, np.str_))


def test_nothing_shown_and_nothing_there() -> None:
    nothing = Objects(np.zeros(0, np.int64), np.zeros(0, np.str_))
    assert detection_figures(empty(), nothing) == DetectionFigures(0, 0, 0, 0, 0, Figure(None), Figure(None), Figure(None))
    missed = detection_figures(empty(), Objects(np.array([3, 3]), np.array(["a", "b"])), resamples=5)
    assert (missed.lrp, missed.laece) == (Figure(1.0, 1.0, 1.0), Figure(None))
    false = ShownBoxes(np.array([0.5]), np.array([1]), np.array([0.0]), np.array([0.0]), np.array(["a"]))
    answer = detection_figures(false, nothing, resamples=5).as_json()
    assert (answer["n"], answer["laece"]["value"], answer["laece"]["low"], answer["lrp"]["value"]) == (1, 0.5, None, None)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("confidence", [np.nan], "NaN"),
        ("iou", [1.2], "outside 0 to 1"),
        ("matched", [0.3], "below 0.5"),
        ("cluster", ["a", "b"], "one length"),
        ("class_index", [-1], "of no class"),
    ],
)
def test_bad_boxes_are_refused(field: str, value: list[float], match: str) -> None:
    one = ShownBoxes(np.array([0.5]), np.array([1]), np.array([0.6]), np.array([0.6]), np.array(["a"]))
    with pytest.raises(InvalidRequest, match=match):
        detection_figures(replace(one, **{field: np.array(value)}), Objects(np.array([1]), np.array(["a"])))
    with pytest.raises(InvalidRequest, match="of no class"):
        detection_figures(one, Objects(np.array([1, -1]), np.array(["a", "a"])))
