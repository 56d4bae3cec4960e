"""What the outputs of exported detectors mean, on outputs made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.families._onnx_heads import detr, end_to_end, grid, log_odds, transposed, ultralytics, yolov5, yolox

SIZE = (64, 32)


def test_ultralytics_rows_are_center_size_and_class_scores() -> None:
    row = np.zeros((4 + 3, 5), np.float32)
    row[:, 2] = (20, 10, 8, 4, 0.1, 0.7, 0.2)
    row[:, 4] = (20, 10, 8, 4, 0.001, 0.002, 0.003)
    found = ultralytics(row, SIZE, 0.01)
    assert found.xyxy.tolist() == [[16, 8, 24, 12]]
    assert found.class_index.tolist() == [1]
    assert found.logit.tolist() == pytest.approx([np.log(0.7 / 0.3)], rel=1e-6)


def test_a_transposed_output_and_logits_give_the_same_boxes() -> None:
    row = np.zeros((5, 4 + 3), np.float32)
    row[:, 4:] = -9
    row[2] = (20, 10, 8, 4, -2.0, 0.75, -1.5)
    found = transposed(row, SIZE, 0.01, "sigmoid")
    assert found.xyxy.tolist() == [[16, 8, 24, 12]]
    assert (found.class_index.tolist(), found.logit.tolist()) == ([1], [0.75])  # exact: nothing was rounded


def test_end_to_end_rows_are_corners_score_and_class() -> None:
    row = np.array([[1, 2, 3, 4, 0.5, 6], [1, 2, 3, 4, 0.001, 5]], np.float32)
    found = end_to_end(row, SIZE, 0.01)
    assert found.xyxy.tolist() == [[1, 2, 3, 4]]
    assert found.class_index.tolist() == [6]
    assert found.logit.tolist() == [0]


def yolox_row(place: int, objectness: float, classes: list[float]) -> NDArray[np.float32]:
    row = np.zeros((len(grid(SIZE)[0]), 5 + len(classes)), np.float32)
    row[place] = (0.5, 0.25, np.log(2), 0, objectness, *classes)
    return row


def test_yolox_rows_are_offsets_in_three_grids() -> None:
    cells, strides = grid(SIZE)
    assert len(cells) == 8 * 4 + 4 * 2 + 2 * 1
    place = 32 + 5  # the second row of the grid of 16 pixels, its second cell
    assert (cells[place].tolist(), strides[place].tolist()) == ([1, 1], [16])
    found = yolox(yolox_row(place, 0.5, [0.1, 0.8]), SIZE, 0.01)
    assert found.xyxy[0].tolist() == pytest.approx([24 - 16, 20 - 8, 24 + 16, 20 + 8])
    assert found.class_index.tolist() == [1]
    assert found.logit.tolist() == pytest.approx([np.log(0.4 / 0.6)], rel=1e-6)


def test_yolov5_rows_are_boxes_in_pixels_with_objectness() -> None:
    row = np.array([[20, 10, 8, 4, 0.5, 0.1, 0.8], [20, 10, 8, 4, 0.01, 0.1, 0.8]], np.float32)
    found = yolov5(row, SIZE, 0.01)
    assert found.xyxy.tolist() == [[16, 8, 24, 12]]
    assert found.logit.tolist() == pytest.approx([np.log(0.4 / 0.6)], rel=1e-6)
    row[:, 4:] = np.log(row[:, 4:] / (1 - row[:, 4:]))
    assert yolov5(row, SIZE, 0.01, "sigmoid").logit.tolist() == pytest.approx(found.logit.tolist(), rel=1e-6)


def test_detr_queries_have_sigmoids_or_a_softmax_with_no_object() -> None:
    boxes = np.array([[0.5, 0.5, 0.25, 0.5], [0.1, 0.1, 0.1, 0.1]], np.float32)
    logits = np.array([[-3.0, 40.0, -5.0], [-9.0, -9.0, -9.0]], np.float32)
    found = detr(logits, boxes, SIZE, 0.01, "sigmoid")
    assert found.xyxy.tolist() == [[0.375, 0.25, 0.625, 0.75]]
    assert (found.class_index.tolist(), found.logit.tolist()) == ([1], [40.0])
    logits = np.array([[1.0, 50.0, 3.0, 2.0], [0.0, 0.0, 0.0, 30.0]], np.float32)  # the last one: nothing is there
    found = detr(logits, boxes, SIZE, 0.01, "softmax")
    # the odds of a class against all others, far beyond where 1 - p is zero in any precision
    assert found.logit.tolist() == pytest.approx([50 - np.log(np.exp(1) + np.exp(3) + np.exp(2))], rel=1e-12)
    assert found.class_index.tolist() == [1]


def test_scores_that_were_rounded_to_0_or_1_have_finite_logits() -> None:
    assert np.isfinite(log_odds(np.array([0, 1], np.float32))).all()
    certain = yolox(yolox_row(0, 1, [1, 0]), SIZE, 0.01)
    assert np.isfinite(certain.logit).all()
    assert certain.logit[0] > 15
