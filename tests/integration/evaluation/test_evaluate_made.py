from __future__ import annotations

import json
from dataclasses import replace

import pytest

from calibration.record import CalibrationRecord
from candor.errors import InvalidRequest, UnreadableItem
from serving.evaluation.calibrate import calibrate
from serving.evaluation.evaluate import Run, evaluate
from serving.evaluation.examples import Example
from serving.evaluation.rows import Outcome, side
from tests.unit.serving.evaluation.made import boxes, drawn_boxes, drawn_words, example, image_class, run, spoken, true_boxes

A = [0.0, 0, 10, 10]


@pytest.fixture(scope="module")
def words() -> Run:
    return run(drawn_words(260, 20, temperature=3.0, bias=0.4), "transcription")


@pytest.fixture(scope="module")
def record(words: Run) -> CalibrationRecord:
    return calibrate(words)


def test_a_calibration_is_shown_on_rows_that_it_has_not_seen(words: Run, record: CalibrationRecord) -> None:
    report = evaluate(words, record)
    calibration = report["calibration"]
    assert (calibration["rows"], calibration["left_out_items"]) == ("held out", len(record.fitted_items))
    assert calibration["raw"] == record.figures["before"]
    assert calibration["confidence"] == record.figures["after"]
    assert (calibration["id"], calibration["status"], calibration["here"]["status"]) == (record.id, record.status, "calibrated")
    assert report["quality"]["wer"]["recordings"] == 260  # quality is of all
    json.dumps(report, allow_nan=False)


def test_a_temperature_that_was_doubled_shows(words: Run, record: CalibrationRecord) -> None:
    wrong = replace(record, parameters={**record.parameters, "temperature": 2 * record.parameters["temperature"]})
    right, found = (evaluate(words, one)["calibration"] for one in (record, wrong))
    assert found["here"]["status"] == "unverified"
    assert "smECE" in found["here"]["reason"]
    assert found["confidence"]["smece"]["value"] > 2 * right["confidence"]["smece"]["value"]
    assert found["confidence"]["nll"]["value"] > right["confidence"]["nll"]["value"]
    assert found["confidence"]["auroc"] == right["confidence"]["auroc"]


def test_figures_on_other_data_are_judged_there(record: CalibrationRecord) -> None:
    # Where the same scores are right less often, the record keeps its status and the report says that it fails here.
    elsewhere = run(drawn_words(100, 20, temperature=3.0, bias=-1.2, seed=9), "transcription")
    elsewhere = replace(
        elsewhere, folder=replace(elsewhere.folder, examples=tuple(replace(e, sha256=e.sha256[::-1]) for e in elsewhere.folder.examples))
    )
    found = evaluate(elsewhere, record)["calibration"]
    assert (found["rows"], found["left_out_items"]) == ("all", 0)
    assert (found["status"], found["here"]["status"]) == ("calibrated", "unverified")


def test_another_normaliser_takes_the_claim_away(words: Run, record: CalibrationRecord) -> None:
    assert record.normaliser is not None
    other = replace(record, normaliser={**record.normaliser, "version": "0.0.1"})
    found = evaluate(words, other)["calibration"]
    assert (other.status, found["status"]) == ("calibrated", "unverified")
    assert "0.0.1" in found["reason"]


def test_a_calibration_for_another_version_or_threshold_is_not_applied() -> None:
    pairs = drawn_boxes(120, temperature=2.0, bias=-0.6)
    made = calibrate(run(pairs, "detection"))
    for other in (run(pairs, "detection", display_threshold=0.3), run(pairs, "detection", name="other")):
        found = evaluate(other, made)["calibration"]
        assert (found["status"], found["id"], found["confidence"]) == ("uncalibrated", None, None)
        assert "it was made for" in found["reason"]
        assert found["raw"]["n"] > 0


def test_boxes_below_the_threshold_make_no_claim() -> None:
    pairs = [(example("a", true_boxes((A, 0, False))), boxes((A, 0, 0.9), (A, 0, 0.2)))]
    assert evaluate(run(pairs, "detection"), None)["calibration"]["raw"]["n"] == 1


def test_what_failed_is_named_and_the_rest_measured() -> None:
    pairs: list[tuple[Example, Outcome]] = [
        (example("a.jpg", 1), image_class(0, 1, 0)),
        (example("b.jpg", 2), UnreadableItem("it is no picture")),
    ]
    report = evaluate(run(pairs, "classification"), None, "nobody made one")
    assert report["items"]["failed"] == [{"file": "b.jpg", "code": "unreadable_item", "detail": "it is no picture"}]
    assert (report["items"]["drafted"], report["quality"]["images"]) == (1, 1)
    assert (report["calibration"]["status"], report["calibration"]["reason"]) == ("uncalibrated", "nobody made one")
    with pytest.raises(InvalidRequest, match="all 1 items failed; the first one: it is no picture"):
        evaluate(run(pairs[1:], "classification"), None)


def test_sources_are_told_apart_and_few_of_them_doubted() -> None:
    pairs = [(example(f"{i}.flac", "one", f"s{i % 2}", "radio" if i < 6 else "phone"), spoken("one" if i < 6 else "two")) for i in range(8)]
    report = evaluate(run(pairs, "transcription"), None)
    by_source = report["calibration"]["by_source"]
    assert [(name, found["n"], found["accuracy"]) for name, found in by_source.items()] == [("phone", 2, 0.0), ("radio", 6, 1.0)]
    assert report["data"]["sources"] == ["phone", "radio"]
    assert any(note.startswith("2 independent sources") for note in report["data"]["notes"])


def test_images_that_are_turned_are_told() -> None:
    pairs = [
        (example(f"{i}.jpg", true_boxes((A, 0, False)), size=size), boxes((A, 0, 0.9)))
        for i, size in enumerate([(100, 80), (80, 100), None])
    ]
    notes = evaluate(run(pairs, "detection"), None)["data"]["notes"]
    assert [note for note in notes if "EXIF" in note] == [
        "1 images are not of the size that their labels were made for (EXIF rotation, perhaps)"
    ]


def test_nothing_said_is_nothing_to_measure() -> None:
    report = evaluate(run([(example("a.flac", "hello"), spoken(""))], "transcription"), None)
    assert (report["quality"]["wer"]["value"], report["calibration"]["raw"]) == (1.0, None)


def test_the_fitted_side_is_by_cluster(words: Run, record: CalibrationRecord) -> None:
    held_out = [i for i, e in enumerate(words.folder.examples) if side(e.cluster) == "test"]
    only = Run(
        replace(words.folder, examples=tuple(words.folder.examples[i] for i in held_out)),
        words.manifest,
        [words.outcomes[i] for i in held_out],
        1.0,
    )
    assert evaluate(only, record)["calibration"]["confidence"] == record.figures["after"]
