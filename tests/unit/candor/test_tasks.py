"""How a prediction becomes the labels of a draft."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from candor.confidences import UNCALIBRATED, Confidences
from candor.predictions import TASKS, Classification, Detections, Segment, Transcript, Word
from candor.tasks import SPECS, Rendering, render, softmax, without_raw


def confident(*values: float) -> Confidences:
    return Confidences("calibrated", "cal_1", np.array(values))


def detections(*scores: float) -> Detections:
    n = len(scores)
    score = np.array(scores, np.float64)
    boxes = np.arange(4.0 * n).reshape(n, 4) + 0.12345
    return Detections((640, 480), boxes, np.arange(n) % 2, score, np.log(score / (1 - score)))


def test_boxes_are_rendered_in_order_with_their_ids() -> None:
    payload = render("detection", detections(0.9, 0.4), confident(0.8, 0.3), Rendering("drf_1", ("cat", "dog")))
    assert payload["image_size"] == [640, 480]
    assert payload["labels"] == [
        {
            "id": "drf_1.0",
            "label": "cat",
            "xyxy": [0.123, 1.123, 2.123, 3.123],
            "confidence": 0.8,
            "raw": {"score": 0.9, "logit": 2.197225},
        },
        {
            "id": "drf_1.1",
            "label": "dog",
            "xyxy": [4.123, 5.123, 6.123, 7.123],
            "confidence": 0.3,
            "raw": {"score": 0.4, "logit": -0.405465},
        },
    ]
    assert SPECS["detection"].confidence(payload) is None


def test_boxes_below_the_threshold_are_not_shown_and_do_not_shift_the_others() -> None:
    payload = render("detection", detections(0.9, 0.5, 0.4), confident(0.1, 0.2, 0.3), Rendering("d", ("cat", "dog"), 0.5))
    assert [(label["id"], label["confidence"]) for label in payload["labels"]] == [("d.0", 0.1), ("d.1", 0.2)]


def test_boxes_say_what_is_known_of_them_and_no_more() -> None:
    known = Confidences("calibrated", "cal_1", np.array([0.9, 0.2, 0.8]), np.array([True, False, True]), no_edit=np.array([0.6, 0.1, 0.7]))
    payload = render("detection", detections(0.9, 0.6, 0.3), known, Rendering("d", ("cat", "dog"), 0.5))
    first, second = payload["labels"]
    assert (first["confidence"], first["no_edit"], first["badge"]) == (0.9, 0.6, "high")
    assert (second["confidence"], second["no_edit"]) == (0.2, 0.1)
    assert "badge" not in second  # and the third has one, but is not shown
    assert "badge" not in payload
    assert SPECS["detection"].judged(payload) == [first, second]
    plain = render("detection", detections(0.9), confident(0.9), Rendering("d", ("cat",)))["labels"][0]
    assert {"badge", "no_edit"}.isdisjoint(plain)


def test_no_boxes_are_no_labels() -> None:
    assert render("detection", detections(), UNCALIBRATED, Rendering("d", ("cat",)))["labels"] == []


def test_the_best_classes_are_shown_with_the_confidences_of_their_own_classes() -> None:
    prediction = Classification((2, 1), np.array([0.0, 3.0, 1.0, 2.0]))
    payload = render("classification", prediction, confident(0.1, 0.5, 0.15, 0.25), Rendering("d", ("a", "b", "c", "e"), top_k=3))
    assert [(label["id"], label["label"], label["confidence"]) for label in payload["labels"]] == [
        ("d.0", "b", 0.5),
        ("d.1", "e", 0.25),
        ("d.2", "c", 0.15),
    ]
    assert payload["labels"][0]["raw"] == {"score": pytest.approx(0.643914), "logit": 3.0}
    assert SPECS["classification"].confidence(payload) == 0.5


def test_the_badge_is_the_first_labels_alone_and_the_drafts() -> None:
    prediction = Classification((2, 1), np.array([0.0, 3.0, 2.0]))
    marked = Confidences("calibrated", "cal_1", np.array([0.2, 0.5, 0.3]), np.array([True, True, True]))
    payload = render("classification", prediction, marked, Rendering("d", ("a", "b", "c")))
    assert payload["badge"] == "high"
    assert [label.get("badge") for label in payload["labels"]] == ["high", None, None]
    assert SPECS["classification"].judged(payload) == payload["labels"][:1]
    unmarked = Confidences("calibrated", "cal_1", np.array([0.2, 0.5, 0.3]), np.array([True, False, True]))
    assert "badge" not in json.dumps(render("classification", prediction, unmarked, Rendering("d", ("a", "b", "c"))))


def test_classes_that_tie_keep_their_order() -> None:
    payload = render("classification", Classification((1, 1), np.zeros(8)), UNCALIBRATED, Rendering("d", tuple("abcdefgh")))
    assert [label["label"] for label in payload["labels"]] == list("abcde")
    assert SPECS["classification"].confidence(payload) is None


def word(text: str, start: float) -> Word:
    return Word(text, start, start + 0.25, 0.5, 0.0, 0.6)


def test_words_take_their_confidences_over_all_segments_in_order() -> None:
    first = Segment(" Hello you. ", 0.0, 1.0, (word(" Hello", 0.0), word(" you.", 0.5)), -0.1, 0.01, 1.2)
    second = Segment("Bye.", 2.0, 3.0, (word("Bye.", 2.0),), -0.2, 0.02, 1.0)
    payload = render("transcription", Transcript(3.0, "en", (first, second)), confident(0.1, 0.2, 0.3), Rendering("d", ()))
    assert (payload["text"], payload["language"], payload["duration"], payload["no_speech"]) == ("Hello you. Bye.", "en", 3.0, False)
    assert [segment["id"] for segment in payload["segments"]] == ["d.0", "d.1"]
    words = [one for segment in payload["segments"] for one in segment["words"]]
    assert [(one["text"], one["confidence"]) for one in words] == [("Hello", 0.1), ("you.", 0.2), ("Bye.", 0.3)]
    assert payload["segments"][0]["raw"] == {"avg_logprob": -0.1, "no_speech_prob": 0.01, "compression_ratio": 1.2}
    assert {segment["confidence"] for segment in payload["segments"]} == {None}
    assert SPECS["transcription"].confidence(payload) is None


def test_segments_have_a_confidence_of_their_own_and_words_their_badges() -> None:
    first = Segment("Hello you.", 0.0, 1.0, (word("Hello", 0.0), word("you.", 0.5)), -0.1, 0.01, 1.2)
    second = Segment("Bye.", 2.0, 3.0, (word("Bye.", 2.0),), -0.2, 0.02, 1.0)
    marks = np.array([False, True, True])
    known = Confidences("calibrated", "cal_1", np.array([0.1, 0.9, 0.8]), marks, segments=np.array([0.3, 0.7]))
    payload = render("transcription", Transcript(3.0, "en", (first, second)), known, Rendering("d", ()))
    assert [segment["confidence"] for segment in payload["segments"]] == [0.3, 0.7]
    assert [one.get("badge") for one in SPECS["transcription"].judged(payload)] == [None, "high", "high"]
    assert all("badge" not in segment for segment in payload["segments"])


def test_no_speech_is_said() -> None:
    payload = render("transcription", Transcript(5.0, "en", ()), UNCALIBRATED, Rendering("d", ()))
    assert (payload["text"], payload["segments"], payload["no_speech"]) == ("", [], True)


@pytest.mark.parametrize("task", TASKS)
def test_payloads_are_json_without_raw_scores_when_stripped(task: Any) -> None:
    predictions: dict[str, Any] = {
        "detection": detections(0.9),
        "classification": Classification((1, 1), np.array([1.0, 2.0])),
        "transcription": Transcript(1.0, "en", (Segment("a", 0.0, 1.0, (word("a", 0.0),), -0.1, 0.0, 1.0),)),
    }
    payload = render(task, predictions[task], UNCALIBRATED, Rendering("d", ("cat", "dog")))
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload
    shown = json.dumps(without_raw(payload))
    for name in ("raw", "logit", "score", "logprob", "no_speech_prob"):
        assert name not in shown
    assert "raw" in json.dumps(payload)  # the payload itself is left whole


def test_softmax_does_not_overflow() -> None:
    assert softmax(np.array([1e4, 1e4])) == pytest.approx([0.5, 0.5])
    assert softmax(np.array([[0.0, np.log(3)], [-1e9, 0.0]])) == pytest.approx(np.array([[0.25, 0.75], [0.0, 1.0]]))


def test_arrays_of_detections_agree() -> None:
    with pytest.raises(ValueError, match="arrays disagree"):
        Detections((1, 1), np.zeros((2, 4)), np.zeros(2, np.int64), np.zeros(1), np.zeros(1))
