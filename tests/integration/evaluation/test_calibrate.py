from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibration.fit import fit_temperature
from calibration.record import CalibrationRecord
from candor.errors import InvalidRequest
from candor.predictions import Classification, Task
from serving.evaluation.calibrate import calibrate
from serving.evaluation.evaluate import Run
from serving.evaluation.rows import side
from tests.unit.serving.evaluation.made import drawn_boxes, drawn_classes, drawn_words, example, run, sides, true_boxes

Pairs = list[tuple[Any, Any]]


@pytest.fixture(scope="module")
def words() -> Run:
    """2,400 words of 120 speakers, too sure by a factor of 3."""
    return run(drawn_words(120, 20, temperature=3.0, bias=0.4), "transcription")


@pytest.fixture(scope="module")
def of_words(words: Run) -> CalibrationRecord:
    return calibrate(words, "made words", "CC0")


def test_words_that_are_too_sure_are_made_honest(of_words: CalibrationRecord) -> None:
    assert of_words.parameters["temperature"] == pytest.approx(3.0, rel=0.2)
    assert of_words.parameters["bias"] == pytest.approx(0.4, abs=0.2)
    before, after = of_words.figures["before"], of_words.figures["after"]
    assert before["smece"]["value"] > before["smece"]["floor_95"]
    assert after["smece"]["value"] < before["smece"]["value"]
    assert after["auroc"]["value"] == pytest.approx(before["auroc"]["value"], abs=1e-6)
    assert of_words.figures["difference"]["brier"]["high"] < 0
    assert of_words.figures["against_constant"]["brier"]["high"] < 0


def test_enough_rows_that_turn_out_honest_are_called_calibrated() -> None:
    record = calibrate(run(drawn_words(220, 20, temperature=3.0, bias=0.4), "transcription"))
    assert (record.status, record.reason[:17]) == ("calibrated", "smECE is at most ")
    assert record.data["test"]["rows"] > 1000


def test_the_record_says_what_it_is_made_of(of_words: CalibrationRecord, words: Run) -> None:
    data = of_words.data
    fitted, held_out = sides(list(zip(words.folder.examples, words.outcomes, strict=True)))
    assert (data["name"], data["caveat"], data["sha256"]) == ("made words", "CC0", words.folder.sha256)
    assert data["fit"] == {"rows": 20 * len(fitted), "items": len(fitted), "clusters": len(fitted)}
    assert data["test"] == {"rows": 20 * len(held_out), "items": len(held_out), "clusters": len(held_out)}
    assert data["fit"]["items"] + data["select"]["items"] + data["test"]["items"] == len(words.folder.examples)
    assert of_words.fit["n"] == data["fit"]["rows"]
    assert of_words.figures["after"]["n"] == data["test"]["rows"]
    assert of_words.model_version == words.manifest.version
    assert of_words.normaliser == {"name": "whisper_normalizer.EnglishTextNormalizer", "version": "0.1.15"}
    assert CalibrationRecord.from_json(of_words.as_json()) == of_words


def test_the_items_that_were_fitted_on_are_remembered(of_words: CalibrationRecord, words: Run) -> None:
    remembered = {e.cluster for e in words.folder.examples if e.sha256[:16] in of_words.fitted_items}
    assert remembered == {e.cluster for e in words.folder.examples if side(e.cluster) != "test"}
    assert len(of_words.fitted_items) == of_words.data["fit"]["items"] + of_words.data["select"]["items"]


def mislabelled(pairs: Pairs, which: list[int]) -> Pairs:
    """The same images with another truth on one side."""
    chosen = set(which)
    return [(replace(one, truth=(one.truth + 1) % 3) if i in chosen else one, found) for i, (one, found) in enumerate(pairs)]


def test_the_fit_never_looks_at_the_rows_that_it_is_measured_on() -> None:
    pairs = drawn_classes(300, temperature=2.0)
    fitted, held_out = sides(pairs)
    honest = calibrate(run(pairs, "classification"))
    other_test = calibrate(run(mislabelled(pairs, held_out), "classification"))
    assert other_test.parameters == honest.parameters
    assert other_test.figures["after"]["accuracy"] < 0.5 < honest.figures["after"]["accuracy"]
    other_fit = calibrate(run(mislabelled(pairs, fitted[: len(fitted) // 3]), "classification"))
    assert other_fit.parameters["temperature"] > 1.2 * honest.parameters["temperature"]
    assert other_fit.figures["before"] == honest.figures["before"]


def test_a_speaker_is_never_on_both_sides() -> None:
    pairs = drawn_words(40, 20, temperature=2.0, bias=0.0)
    paired = [(replace(one, cluster=f"speaker {i // 4}"), found) for i, (one, found) in enumerate(pairs)]
    record = calibrate(run(paired, "transcription"))
    fitted = {one.cluster for one, _ in paired if one.sha256[:16] in record.fitted_items}
    held_out = {one.cluster for one, _ in paired if one.sha256[:16] not in record.fitted_items}
    assert fitted
    assert held_out
    assert not fitted & held_out
    assert record.data["test"]["clusters"] == len(held_out)
    assert (record.status, "independent sources" in record.reason or "held-out rows" in record.reason) == ("unverified", True)


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_images_that_are_too_sure_or_not_sure_enough(temperature: float) -> None:
    record = calibrate(run(drawn_classes(700, temperature), "classification"))
    assert record.parameters["temperature"] == pytest.approx(temperature, rel=0.25)
    assert record.method == "temperature"
    assert record.figures["class_nll"]["difference"]["high"] < 0
    assert record.figures["before"]["accuracy"] == record.figures["after"]["accuracy"]


def test_too_little_data_is_unverified_and_says_so() -> None:
    record = calibrate(run(drawn_classes(200, 2.0), "classification"))
    assert record.status == "unverified"
    assert record.reason.startswith(f"{record.data['test']['rows']} held-out rows; a claim takes at least 1,000")


@pytest.mark.parametrize("count", [4, 40])
def test_next_to_no_data_makes_no_record(count: int) -> None:
    with pytest.raises(InvalidRequest, match="rows to fit a calibration on; it takes at least 30"):
        calibrate(run(drawn_classes(count, 2.0), "classification"))


def test_boxes_are_fitted_from_a_little_below_the_threshold_and_measured_from_it() -> None:
    pairs = drawn_boxes(250, temperature=2.0, bias=-0.6)
    record = calibrate(run(pairs, "detection"))
    fitted, held_out = sides(pairs)
    scores = [np.concatenate([pairs[i][1].score for i in side]) for side in (fitted, held_out)]  # type: ignore[union-attr]
    assert record.display_threshold == 0.25
    assert record.data["fit"]["rows"] == int((scores[0] >= 0.20).sum())
    assert record.data["test"]["rows"] == int((scores[1] >= 0.25).sum())
    assert record.method == "class_temperature_bias"
    assert record.parameters["slope"][0] == pytest.approx(1 / 2.0, rel=0.35)
    assert record.parameters["bias"][0] == pytest.approx(-0.6, abs=0.35)


def test_another_display_threshold_is_another_calibration() -> None:
    pairs = drawn_boxes(120, temperature=2.0, bias=-0.6)
    low, high = (calibrate(run(pairs, "detection", display_threshold=threshold)) for threshold in (0.25, 0.5))
    assert low.parameters != high.parameters
    assert low.model_version != high.model_version
    with pytest.raises(InvalidRequest, match=r"set models\.m\.options\.display_threshold"):
        calibrate(run(pairs, "detection", display_threshold=None))


def test_crowds_are_not_fitted_on() -> None:
    pairs = drawn_boxes(120, temperature=2.0, bias=0.0)
    crowded = [(replace(one, truth=true_boxes(((0.0, 0.0, 200.0, 200.0), 0, True))), found) for one, found in pairs]
    mixed = [
        *pairs,
        *((replace(one, file=f"c{one.file}", sha256=one.sha256[::-1], cluster=one.sha256[::-1]), found) for one, found in crowded),
    ]
    assert calibrate(run(mixed, "detection")).data["fit"]["rows"] == calibrate(run(pairs, "detection")).data["fit"]["rows"]


def shuffled(pairs: Pairs, seed: int = 1) -> Pairs:
    turned = np.random.default_rng(seed).permutation(len(pairs))
    return [(replace(one, truth=pairs[j][0].truth), found) for (one, found), j in zip(pairs, turned, strict=True)]


@pytest.mark.parametrize(
    ("task", "pairs"),
    [("classification", drawn_classes(400, 1.0, strength=4.0)), ("detection", drawn_boxes(150, temperature=1.0, bias=0.0))],
)
def test_shuffled_labels_never_make_a_calibration(task: Task, pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.verdict.LEAST_ROWS", 50)  # so that it is not the count that refuses
    monkeypatch.setattr("calibration.verdict.LEAST_FITTED", 50)
    try:
        record = calibrate(run(shuffled(pairs), task))
    except InvalidRequest as error:
        assert "no calibration can be published" in error.detail  # noqa: PT017 - one of two right answers
    else:
        assert record.status == "unverified"


def test_a_constant_is_no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    # Scores without any meaning: the best confidence is the fraction right, everywhere, and its calibration error is next to none.
    rng = np.random.default_rng(4)
    pairs = [
        (example(f"{i}.jpg", int(rng.random() < 0.75)), Classification((1, 1), np.array([0.0, 0.3 + 3 * rng.random()])))
        for i in range(3000)
    ]
    monkeypatch.setattr(
        "serving.evaluation.methods.fit_temperature", lambda *rows: replace(fit_temperature(*rows), temperature=1.0, at_bound=False)
    )
    monkeypatch.setattr("calibration.methods.softmax", lambda logits: np.array([0.25, 0.75]))
    record = calibrate(run(pairs, "classification"))
    assert record.figures["after"]["smece"]["value"] < 0.03
    assert (record.status, "one number for all" in record.reason) == ("unverified", True)


def test_a_perfect_score_is_not_published() -> None:
    pairs = [(replace(one, truth=int(np.argmax(found.logits))), found) for one, found in drawn_classes(200, 1.0)]  # type: ignore[union-attr]
    with pytest.raises(InvalidRequest, match="no calibration can be published"):
        calibrate(run(pairs, "classification"))
