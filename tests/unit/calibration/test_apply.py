from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.special import expit

from calibration.apply import apply, misfit
from candor.confidences import UNCALIBRATED
from candor.predictions import Classification, Detections, Segment, Transcript, Word
from tests.unit.calibration.records import VERSION, record


def detections(logit: list[float]) -> Detections:
    n = len(logit)
    return Detections((10, 10), np.zeros((n, 4)), np.zeros(n, np.int64), expit(np.array(logit)), np.array(logit))


def segment(*logits: float) -> Segment:
    words = tuple(Word("w", 0, 1, float(expit(x)), x, 0.5) for x in logits)
    return Segment("w", 0, 1, words, -0.1, 0.0, 1.0)


def test_a_box() -> None:
    found = apply(record(), detections([4.0, 0.0, -2.0]), VERSION, 0.25)
    assert found.labels is not None
    # temperature 2, bias 0.5: a logit of 4 becomes 2.5. Multiplying by 2 would make it 8.5.
    assert found.labels.tolist() == pytest.approx([1 / (1 + np.exp(-x)) for x in (2.5, 0.5, -0.5)])
    assert (found.status, found.calibration) == ("unverified", record().id)


def test_words_of_all_segments_in_order() -> None:
    prediction = Transcript(10, "en", (segment(4.0), segment(), segment(0.0, -2.0)))
    found = apply(record("transcription", status="calibrated"), prediction, VERSION, None)
    assert found.labels is not None
    assert found.labels.tolist() == pytest.approx([1 / (1 + np.exp(-x)) for x in (2.5, 0.5, -0.5)])
    assert found.status == "calibrated"


def test_classes() -> None:
    found = apply(record("classification"), Classification((1, 1), np.array([2.0, 0.0])), VERSION)
    assert found.labels is not None
    assert found.labels.tolist() == pytest.approx([np.e / (np.e + 1), 1 / (np.e + 1)])
    far = apply(record("classification"), Classification((1, 1), np.array([4000.0, 0.0, -4000.0])), VERSION)
    assert far.labels is not None
    assert far.labels.tolist() == [1.0, 0.0, 0.0]


def test_nothing_found_has_no_confidence_and_a_status() -> None:
    for found in (apply(record(), detections([]), VERSION, 0.25), apply(record("transcription"), Transcript(1, "en", ()), VERSION)):
        assert found.labels is not None
        assert found.labels.shape == (0,)
        assert found.status == "unverified"


def test_what_does_not_belong_to_it_stays_uncalibrated() -> None:
    box = detections([1.0])
    other = "m@sha256:" + "b" * 64
    assert apply(None, box, VERSION, 0.25) is UNCALIBRATED
    assert apply(record(), box, other, 0.25) is UNCALIBRATED
    assert apply(record(), box, VERSION, 0.3) is UNCALIBRATED
    assert apply(record(), box, VERSION, None) is UNCALIBRATED
    assert apply(record("classification"), box, VERSION, 0.25) is UNCALIBRATED
    assert "0.25" in misfit(record(), VERSION, 0.3)
    assert other in misfit(record(), other, 0.25)
    assert misfit(record(), VERSION, 0.25) == ""


def test_order_never_changes() -> None:
    logit = np.linspace(30, -30, 200)
    found = apply(record(), detections(logit.tolist()), VERSION, 0.25)
    assert found.labels is not None
    assert (np.diff(found.labels) <= 0).all()


def test_it_costs_next_to_nothing() -> None:
    box, one = detections(np.linspace(3, -3, 100).tolist()), record()
    taken = []
    for _ in range(200):
        start = time.perf_counter()
        apply(one, box, VERSION, 0.25)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 50e-6
