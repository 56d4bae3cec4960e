from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from calibration.correctness import TrueBoxes, judge_boxes, judge_class
from candor.predictions import Classification, Detections


def boxes(*found: tuple[list[float], int, float]) -> Detections:
    score = np.array([one[2] for one in found])
    corners = np.array([one[0] for one in found], np.float64).reshape(-1, 4)
    return Detections((100, 100), corners, np.array([one[1] for one in found], np.int64), score, np.log(score / (1 - score)))


def truth(*true: tuple[list[float], int, bool]) -> TrueBoxes:
    corners = np.array([one[0] for one in true], np.float64).reshape(-1, 4)
    return TrueBoxes(corners, np.array([one[1] for one in true], np.int64), np.array([one[2] for one in true], np.bool_))


A, B, FAR = [0.0, 0, 10, 10], [20.0, 20, 40, 40], [60.0, 60, 80, 80]


def test_the_best_box_is_right_and_its_duplicate_wrong() -> None:
    judged = judge_boxes(boxes((A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7)), truth((A, 0, False), (B, 0, False)))
    assert judged.correct.tolist() == [True, False, True]
    assert judged.counted.all()


def test_another_class_or_half_the_overlap_is_wrong() -> None:
    half = [0.0, 0, 10, 4.9]
    judged = judge_boxes(boxes((A, 1, 0.9), (half, 0, 0.8), (FAR, 0, 0.7)), truth((A, 0, False)))
    assert judged.correct.tolist() == [False, False, False]
    assert judge_boxes(boxes(([0.0, 0, 10, 5], 0, 0.8)), truth((A, 0, False))).correct.all()


def test_a_box_takes_the_best_that_is_left() -> None:
    near = [0.0, 0, 10, 9]
    judged = judge_boxes(boxes((A, 0, 0.9), (near, 0, 0.8), (A, 0, 0.7)), truth((near, 0, False), (A, 0, False)))
    assert judged.correct.tolist() == [True, True, False]


def test_boxes_in_a_crowd_are_not_counted_unless_they_match_one_object() -> None:
    crowd = [0.0, 0, 50, 50]
    judged = judge_boxes(boxes((A, 0, 0.9), (B, 0, 0.8), (B, 0, 0.7), (FAR, 0, 0.6)), truth((crowd, 0, True), (B, 0, False)))
    assert judged.correct.tolist() == [False, True, False, False]
    assert judged.counted.tolist() == [False, True, False, True]


def test_order_is_by_score_not_by_place() -> None:
    judged = judge_boxes(boxes((A, 0, 0.3), (A, 0, 0.8)), truth((A, 0, False)))
    assert judged.correct.tolist() == [False, True]


def test_more_than_a_hundred_boxes_of_a_class_are_not_counted() -> None:
    judged = judge_boxes(boxes(*((FAR, 0, 0.9 - i / 1000) for i in range(103)), (A, 1, 0.01)), truth((A, 1, False)))
    assert judged.counted.sum() == 101
    assert judged.correct.tolist() == [False] * 103 + [True]


def test_nothing_found_and_nothing_there() -> None:
    assert judge_boxes(boxes(), truth((A, 0, False))).correct.shape == (0,)
    judged = judge_boxes(boxes((A, 0, 0.9)), truth())
    assert (judged.correct.tolist(), judged.counted.tolist()) == ([False], [True])


@pytest.mark.parametrize("seed", range(12))
def test_matching_equals_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def corners(n: int) -> np.ndarray:
        start = rng.integers(0, 30, size=(n, 2))
        return np.concatenate([start, start + rng.integers(5, 30, size=(n, 2))], axis=1).astype(np.float64)

    true = TrueBoxes(corners(12), rng.integers(2, size=12), rng.random(12) < 0.2)
    score = np.sort(rng.random(40))[::-1]
    found = Detections((64, 64), corners(40), rng.integers(2, size=40), score, np.log(score / (1 - score)))
    judged = judge_boxes(found, true)

    def wide(box: np.ndarray) -> list[float]:
        return [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]

    annotations = [
        {"id": i + 1, "image_id": 0, "category_id": int(c), "bbox": wide(b), "area": 1.0, "iscrowd": int(w)}
        for i, (b, c, w) in enumerate(zip(true.xyxy, true.class_index, true.crowd, strict=True))
    ]
    results = [
        {"image_id": 0, "category_id": int(c), "bbox": wide(b), "score": float(s)}
        for b, c, s in zip(found.xyxy, found.class_index, score, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"info": {}, "images": [{"id": 0}], "categories": [{"id": 0}, {"id": 1}], "annotations": annotations}
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), "bbox")
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.evaluate()
    for sheet in filter(None, run.evalImgs):
        at = np.array(sheet["dtIds"]) - 1
        ignored = sheet["dtIgnore"][0].astype(bool)
        assert judged.counted[at].tolist() == (~ignored).tolist()
        assert judged.correct[at].tolist() == ((sheet["dtMatches"][0] > 0) & ~ignored).tolist()


def test_a_class_is_right_where_it_is_the_most_probable() -> None:
    prediction = Classification((1, 1), np.array([0.1, 3.0, 2.0]))
    assert judge_class(prediction, 1)
    assert not judge_class(prediction, 2)
