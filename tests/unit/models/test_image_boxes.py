"""Letterboxing, suppression and exact log-odds."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest

from models.families._image_boxes import Candidates, Head, detections, log_sigmoid, product_logit, sigmoid, suppress
from models.families._image_letterbox import Letterbox


def exact_logit(one: float, other: float) -> float:
    """The log-odds of the product of two sigmoids, in 60 digits."""
    getcontext().prec = 60
    p = 1 / (1 + (-Decimal(one)).exp()) / (1 + (-Decimal(other)).exp())
    return float((p / (1 - p)).ln())


@pytest.mark.parametrize("one", [-90.0, -20.0, -3.0, 0.0, 2.5, 17.0, 40.0, 90.0])
@pytest.mark.parametrize("other", [-50.0, -1.0, 0.0, 6.0, 30.0, 90.0])
def test_the_logit_of_a_product_is_exact_where_its_probability_is_not(one: float, other: float) -> None:
    found = product_logit(np.array([one]), np.array([other]))[0]
    assert found == pytest.approx(exact_logit(one, other), rel=1e-12)


def test_the_sigmoid_neither_overflows_nor_warns() -> None:
    x = np.array([-1e4, -1.0, 0.0, 1e4])
    assert sigmoid(x).tolist() == pytest.approx([0.0, 1 / (1 + math.e), 0.5, 1.0])
    assert log_sigmoid(x)[0] == -1e4


@pytest.mark.parametrize("image", [(600, 400), (400, 600), (416, 416), (5, 3000), (1, 1)])
@pytest.mark.parametrize("center", [True, False])
def test_boxes_come_back_from_the_frame(image: tuple[int, int], center: bool) -> None:
    size = (416, 320)
    frame = Letterbox.fit(image, size, center=center)
    inner = np.array([[frame.left, frame.top, frame.left + frame.inner[0], frame.top + frame.inner[1]]], np.float64)
    assert frame.restore(inner).tolist() == [[0, 0, *image]]
    assert inner.min() >= 0
    assert inner[0, 2] <= size[0]
    assert inner[0, 3] <= size[1]
    if not center:
        assert (frame.left, frame.top) == (0, 0)


def test_the_image_is_put_into_gray() -> None:
    image = np.full((10, 20, 3), 255, np.uint8)
    frame = Letterbox.fit((20, 10), (40, 40))
    pixels = frame.apply(image, (40, 40))
    assert pixels.shape == (40, 40, 3)
    assert (pixels[10:30] == 255).all()
    assert (pixels[:10] == 114).all()
    assert (pixels[30:] == 114).all()


def test_boxes_are_clipped_to_the_image() -> None:
    frame = Letterbox.fit((100, 50), (100, 100))
    assert frame.restore(np.array([[-9.0, 0.0, 120.0, 60.0]])).tolist() == [[0, 0, 100, 35]]


def test_a_box_is_dropped_for_a_better_one_of_its_class_only() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [0, 6, 10, 16]], np.float64)
    assert suppress(boxes, np.array([0, 0, 1, 0]), 0.5, 10).tolist() == [0, 2, 3]
    assert suppress(boxes, np.array([0, 0, 0, 0]), 0.3, 10).tolist() == [0, 3]
    assert suppress(boxes, np.array([0, 0, 0, 0]), 0.9, 10).tolist() == [0, 1, 3]  # equal boxes stay above the third


def test_suppression_stops_at_the_most_boxes_and_takes_none() -> None:
    boxes = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(5)], np.float64)
    assert suppress(boxes, np.zeros(5, np.int64), 0.5, 3).tolist() == [0, 1, 2]
    assert suppress(boxes[:0], np.zeros(0, np.int64), 0.5, 3).tolist() == []


def candidates(*rows: tuple[float, float, float, float, int, float]) -> Candidates:
    values = np.array(rows, np.float64).reshape(-1, 6)
    return Candidates(values[:, :4], values[:, 4].astype(np.int64), values[:, 5])


def test_detections_are_sorted_cut_at_the_floor_and_inside_the_image() -> None:
    frame = Letterbox.fit((100, 50), (100, 100))  # the image takes rows 25 to 75
    found = detections(
        candidates(
            (0, 30, 50, 60, 1, -1.0),
            (0, 0, 100, 20, 0, 5.0),  # in the gray above the image
            (10, 30, 60, 70, 2, 3.0),
            (0, 30, 50, 60, 3, -6.0),  # 0.0025
            (0, 30, 50, 60, 4, 60.0),  # whose probability is 1 in double precision
        ),
        frame,
        Head(score_floor=0.01, nms_iou=0.6),
    )
    assert found.class_index.tolist() == [4, 2, 1]
    assert found.logit.tolist() == [60.0, 3.0, -1.0]
    assert found.score.tolist() == pytest.approx([1.0, 0.9525741, 0.2689414])
    assert found.xyxy.tolist() == [[0, 5, 50, 35], [10, 5, 60, 45], [0, 5, 50, 35]]


def test_a_model_that_suppresses_by_itself_is_only_cut() -> None:
    frame = Letterbox.fit((100, 100), (100, 100))
    twice = candidates((0, 0, 50, 50, 0, 2.0), (0, 0, 50, 50, 0, 1.0), (0, 0, 50, 50, 0, 0.0))
    assert len(detections(twice, frame, Head(nms_iou=None, max_boxes=2)).score) == 2
    assert len(detections(twice, frame, Head()).score) == 1


def test_no_candidates_are_no_boxes() -> None:
    assert detections(candidates(), Letterbox.fit((9, 9), (32, 32)), Head()).xyxy.shape == (0, 4)


def test_post_processing_is_read_from_a_manifest() -> None:
    assert Head.of({"nms_iou": None, "max_boxes": 7, "head": "yolox"}) == Head(0.01, None, 7)
