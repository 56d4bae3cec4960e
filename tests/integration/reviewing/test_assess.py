"""Does a task fit drafts: the checklist on made-up samples, and both commands from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from candor.errors import UndecodableImage
from review import scorecard
from serving.evaluation.calibrate import calibrate
from serving.evaluation.commands import assess as command
from serving.evaluation.examples import Example
from serving.evaluation.rows import Outcome
from serving.reviewing.assess import assess, edits_of
from serving.reviewing.commands import simulate_review
from tests.integration.evaluation.test_commands import logs_as_before, place
from tests.integration.evaluation.test_commands import run as commanded
from tests.unit.serving.evaluation.made import boxes, drawn_classes, example, run, spoken, true_boxes

__all__ = ["logs_as_before", "place"]

HERE, THERE = [0, 0, 10, 10], [40, 40, 60, 60]


def _conditions(found: dict[str, Any]) -> dict[str, bool | None]:
    return {one["name"]: one["holds"] for one in found["conditions"]}


def test_edits_are_counted_by_task() -> None:
    found = boxes((HERE, 0, 0.9), (THERE, 1, 0.8), (THERE, 2, 0.1))  # the last one is not shown
    pairs: list[tuple[Example, Outcome]] = [
        (example("a", true_boxes((HERE, 0, False))), found),  # one too many
        (example("b", true_boxes((HERE, 0, False), (THERE, 1, False), ([70, 0, 80, 10], 0, False))), found),  # one missing
        (example("c", true_boxes()), UndecodableImage("broken")),
    ]
    assert edits_of(run(pairs, "detection")).tolist() == [[1, 1], [1, 3]]
    words: list[tuple[Example, Outcome]] = [(example("a", "the cat sat"), spoken("the rat sat")), (example("b", "dogs"), spoken("dogs"))]
    assert edits_of(run(words, "transcription")).tolist() == [[1, 3], [0, 1]]
    images = drawn_classes(50, 1.0)
    edits = edits_of(run(images, "classification"))
    wrong = [int(np.argmax(outcome.logits)) != one.truth for one, outcome in images]  # type: ignore[union-attr]
    assert edits.tolist() == [[float(is_wrong), 1.0] for is_wrong in wrong]


def test_a_good_and_calibrated_model_fits_and_a_poor_one_does_not() -> None:
    good = run(drawn_classes(4000, 2.0, strength=40.0), "classification")
    record = calibrate(good)
    found = assess(good, record, "")
    conditions = _conditions(found)
    assert conditions["drafts leave less to do than an empty item"]
    assert conditions["errors that slip through stay rare"]
    assert found["fits"] in ("fits", "not sure")
    assert json.loads(json.dumps(found)) == found
    poor = assess(run(drawn_classes(400, 1.0, strength=0.2), "classification"), None, "there is none")
    assert poor["fits"] == "does not fit"
    assert _conditions(poor)["drafts leave less to do than an empty item"] is False
    assert _conditions(poor)["confidence means what it says"] is False


def test_high_stakes_ask_for_more_and_few_items_tell_nothing() -> None:
    middling = run(drawn_classes(2000, 1.0, strength=4.0), "classification")
    normal, high = (_conditions(assess(middling, None, "none", stakes)) for stakes in ("normal", "high"))
    name = "errors that slip through stay rare"
    assert (normal[name], high[name]) != (True, True)
    few = _conditions(assess(run(drawn_classes(12, 1.0), "classification"), None, "none"))
    assert few["the sample tells enough"] is None


def test_the_command_answers_by_its_exit_code(place: Path, tmp_path: Path) -> None:
    told = commanded(command, place, "--json", str(tmp_path / "answer.json"))
    assert told.exit_code == 1, told.output
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["fits"] == "does not fit"  # nothing says what its confidence means
    assert answer["items_without_edit"]["n"] == 120
    assert "does not fit" in told.output
    assert commanded(command, place, "--stakes", "huge").exit_code == 2


def test_simulated_reviewers_go_through_the_same_alarms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "adaptive, catch 0.27"
    monkeypatch.setattr(scorecard, "WORLDS", {name: scorecard.WORLDS[name]})
    monkeypatch.setattr(scorecard, "stakes", lambda: iter(()))
    app = typer.Typer()
    app.command()(simulate_review)
    told = CliRunner().invoke(app, ["--programmes", "10", "--replicates", "20", "--json", str(tmp_path / "card.json")])
    assert told.exit_code in (0, 1), told.output  # of 20 studies, chance alone breaks a limit
    lines = {one["what"]: one for one in json.loads((tmp_path / "card.json").read_text())["lines"]}
    assert lines[f"{name}: an attentive reviewer accused, per programme"]["reached"]
    assert lines[f"{name}: stampers accused within 500 items"]["reached"]
    assert CliRunner().invoke(app, ["--json", str(tmp_path / "no" / "card.json")]).exit_code == 2
