"""The protocol must pass what is honest and catch each way in which a calibration can be wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibration.correctness import judge_boxes
from calibration.record import Badge, CalibrationRecord
from serving.evaluation.acceptance import Acceptance, accept
from serving.evaluation.calibrate import calibrate
from serving.evaluation.evaluate import Run
from tests.unit.serving.evaluation.made import drawn_boxes, drawn_classes, drawn_words, run, true_boxes

Pairs = list[tuple[Any, Any]]


@pytest.fixture(scope="module")
def boxes() -> Run:
    return run(drawn_boxes(500, temperature=2.0, bias=-0.6), "detection")


@pytest.fixture(scope="module")
def of_boxes(boxes: Run) -> CalibrationRecord:
    return calibrate(boxes)


@pytest.fixture(scope="module")
def images() -> Run:
    return run(drawn_classes(1500, 2.0), "classification")


@pytest.fixture(scope="module")
def of_images(images: Run) -> CalibrationRecord:
    return calibrate(images)


def failed(found: Acceptance) -> set[str]:
    return {criterion.name for criterion in found.criteria if criterion.verdict == "fail"}


def test_an_honest_calibration_of_boxes_fails_nothing(boxes: Run, of_boxes: CalibrationRecord) -> None:
    found = accept(boxes, of_boxes)
    assert not failed(found), found
    passed = {criterion.name for criterion in found.criteria if criterion.verdict == "pass"}
    assert {"matching agrees with COCO", "average precision kept", "nll no worse than the raw score's"} <= passed


def test_an_honest_calibration_of_images_fails_nothing(images: Run, of_images: CalibrationRecord) -> None:
    found = accept(images, of_images)
    assert not failed(found), found


def test_few_rows_are_not_verified() -> None:
    few = run(drawn_words(60, 10, temperature=3.0, bias=0.4), "transcription")
    found = accept(few, calibrate(few))
    assert found.verdict == "not verified"
    assert ("enough data", "not verified") in {(criterion.name, criterion.verdict) for criterion in found.criteria}


def test_a_doubled_temperature_fails(images: Run, of_images: CalibrationRecord) -> None:
    doubled = replace(of_images, parameters={"temperature": 2 * of_images.parameters["temperature"]})
    assert {"smECE", "ECE against its noise"} & failed(accept(images, doubled))


def test_a_constant_fails(boxes: Run, of_boxes: CalibrationRecord) -> None:
    share = 0.55
    classes = len(of_boxes.parameters["slope"])
    flat = {"slope": [1e-9] * classes, "bias": [float(np.log(share / (1 - share)))] * classes}
    assert failed(accept(boxes, replace(of_boxes, parameters=flat))) & {"ranking kept", "brier better than one number for all"}


def test_a_fit_on_the_test_rows_fails(images: Run, of_images: CalibrationRecord) -> None:
    everything = tuple(sorted(example.sha256[:16] for example in images.folder.examples))
    assert failed(accept(images, replace(of_images, fitted_items=everything))) == {"test rows never fitted on"}


def test_a_moved_threshold_fails(boxes: Run, of_boxes: CalibrationRecord) -> None:
    assert failed(accept(boxes, replace(of_boxes, display_threshold=0.3))) == {"made for this version and threshold"}


def test_crowds_that_are_counted_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs: Pairs = drawn_boxes(160, temperature=2.0, bias=0.0)
    crowded = [(replace(one, truth=true_boxes(((0.0, 0.0, 200.0, 200.0), 0, True))), found) for one, found in pairs[:40]]
    mixed = run([*crowded, *pairs[40:]], "detection")
    assert "matching agrees with COCO" not in failed(accept(mixed, calibrate(mixed)))

    def counting(*given: Any) -> Any:
        found = judge_boxes(*given)
        return replace(found, counted=np.ones_like(found.counted))

    monkeypatch.setattr("serving.evaluation.rows.judge_boxes", counting)
    assert "matching agrees with COCO" in failed(accept(mixed, calibrate(mixed)))


@pytest.mark.parametrize("stream", ["honeypot", "review"])
def test_labels_that_are_not_permitted_fail(stream: str, images: Run, of_images: CalibrationRecord) -> None:
    leaked = replace(of_images, data={**of_images.data, "streams": ["gold", stream]})
    assert failed(accept(images, leaked)) == {"fitted on permitted labels"}


def test_shuffled_labels_fail() -> None:
    pairs: Pairs = drawn_boxes(400, temperature=1.0, bias=0.0)
    turned = np.random.default_rng(1).permutation(len(pairs))
    honest = calibrate(run(pairs, "detection"))
    shuffled = run([(replace(one, truth=pairs[j][0].truth), found) for (one, found), j in zip(pairs, turned, strict=True)], "detection")
    assert failed(accept(shuffled, honest))


def test_another_normaliser_fails() -> None:
    words = run(drawn_words(60, 10, temperature=3.0, bias=0.4), "transcription")
    other = replace(calibrate(words), normaliser={"name": "other", "version": "1"})
    assert failed(accept(words, other)) == {"words judged by one normaliser"}


def test_a_badge_that_breaks_its_promise_fails(images: Run, of_images: CalibrationRecord) -> None:
    generous = replace(of_images, badge=Badge(0.4, 0.02, 0.05, "label", {}, {}))
    assert "badge keeps its promise" in failed(accept(images, generous))
