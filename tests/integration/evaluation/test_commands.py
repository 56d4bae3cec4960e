"""The commands from end to end, with the fake family in place of a model."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import typer
import yaml
from typer.testing import CliRunner, Result

from calibration.record import load
from candor.fake import FakeFamily
from candor.families import Device, MediaLimits
from candor.predictions import Classification
from serving.evaluation.commands import acceptance, calibrate, evaluate
from tests.unit.serving.evaluation.made import manifest

LABELS = ("cat", "dog", "owl")
COUNT = 120


def says(data: bytes) -> int:
    """What the fake family makes of an item."""
    model = FakeFamily().load(manifest("classification"), Path(), Device())
    item = model.prepare(data, MediaLimits())
    found = model.finish(item, model.infer(list(item.units)))
    assert isinstance(found, Classification)
    return int(np.argmax(found.logits))


@pytest.fixture(scope="module", autouse=True)
def logs_as_before() -> Iterator[None]:
    """The commands configure logs for the whole process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration and a labelled folder, of which the fake model gets every fourth wrong."""
    where = tmp_path_factory.mktemp("commands")
    (where / "weights").write_text("none")
    models = {
        "m": {"task": "classification", "family": "fake", "source": f"file:{where / 'weights'}", "options": {"labels": list(LABELS)}},
        "other": {"task": "classification", "family": "fake", "source": f"file:{where / 'weights'}", "options": {"labels": list(LABELS)}},
        "ears": {"task": "transcription", "family": "fake", "source": f"file:{where / 'weights'}", "options": {"task": "transcription"}},
    }
    values = {"storage": {"models": str(where / "models")}, "engine": {"device": "cpu", "prepare_threads": 2}, "models": models}
    (where / "config.yaml").write_text(yaml.safe_dump(values))
    (where / "data").mkdir()
    rows = []
    for i in range(COUNT):
        data = f"item {i}".encode()
        (where / "data" / f"{i}.jpg").write_bytes(data)
        rows.append([f"{i}.jpg", LABELS[(says(data) + (i % 4 == 0)) % 3], "zoo" if i % 3 else "farm"])
    (where / "data" / "broken.jpg").write_text('{"fail": "prepare"}')
    with (where / "data" / "labels.csv").open("w", newline="") as opened:
        csv.writer(opened).writerows([["file", "label", "source"], *rows, ["broken.jpg", "cat", "farm"]])
    return where


def run(command: Callable[..., None], place: Path, *arguments: str, model: str = "m") -> Result:
    app = typer.Typer()
    app.command()(command)
    fixed = ["--model", model, "--data", str(place / "data"), "--config", str(place / "config.yaml")]
    return CliRunner().invoke(app, [*fixed, *arguments])


def report(place: Path, *arguments: str) -> dict[str, Any]:
    found = run(evaluate, place, "--json", str(place / "report.json"), *arguments)
    assert found.exit_code == 0, found.output
    value: dict[str, Any] = json.loads((place / "report.json").read_text())
    return value


@pytest.fixture(scope="module")
def out(place: Path) -> Path:
    path = place / "records" / "m.json"
    found = run(calibrate, place, "--out", str(path), "--name", "a zoo", "--caveat", "CC0, and made up")
    assert found.exit_code == 0, found.output
    assert "unverified" in found.output
    return path


def test_evaluate_without_a_calibration(place: Path) -> None:
    found = report(place)
    assert found["quality"]["top1"]["value"] == 0.75
    assert [one["file"] for one in found["items"]["failed"]] == ["broken.jpg"]
    assert (found["calibration"]["status"], found["calibration"]["reason"]) == ("uncalibrated", "no calibration is configured for it")
    assert found["calibration"]["raw"]["n"] == COUNT


def test_calibrate_writes_a_record_that_evaluate_applies_to_held_out_items(place: Path, out: Path) -> None:
    record = load(out)
    assert (record.status, record.data["name"], record.data["caveat"]) == ("unverified", "a zoo", "CC0, and made up")
    assert record.data["failed_items"] == 1
    found = report(place, "--calibration", str(out))["calibration"]
    assert found["rows"] == "held out"
    assert found["left_out_items"] == len(record.fitted_items)
    assert found["confidence"] == record.figures["after"]
    assert 0 < found["confidence"]["n"] < COUNT
    assert report(place, "--calibration", "none")["calibration"]["reason"] == "it was asked for without a calibration"


def test_items_of_one_source_only(place: Path) -> None:
    found = report(place, "--source", "farm", "--limit", "20", "--batch", "3")
    assert (found["data"]["items"], found["data"]["sources"]) == (20, ["farm"])


def test_a_record_for_another_model_is_refused_by_name(place: Path, out: Path) -> None:
    found = run(evaluate, place, "--calibration", str(out), model="other")
    assert found.exit_code == 2
    assert "can't be used: it was made for m@sha256:" in found.output


@pytest.mark.parametrize(
    ("arguments", "model", "said"),
    [
        (["--source", "sea"], "m", "no source 'sea'"),
        (["--split", "dev"], "m", "no column split"),
        (["--calibration", "nowhere.json"], "m", "nowhere.json can't be read"),
        ([], "nobody", "nobody"),
        ([], "ears", "which is for classification; ears is for transcription"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(arguments: list[str], model: str, said: str, place: Path) -> None:
    found = run(evaluate, place, *arguments, model=model)
    assert found.exit_code == 2
    assert said in found.output
    assert "Traceback" not in found.output


def test_a_place_that_cannot_be_written_is_told_first(place: Path) -> None:
    found = run(evaluate, place, "--json", str(place))
    assert (found.exit_code, "can't be written" in found.output) == (2, True)


def test_too_little_to_fit_on_writes_nothing(place: Path, tmp_path: Path) -> None:
    found = run(calibrate, place, "--out", str(tmp_path / "m.json"), "--limit", "10")
    assert found.exit_code == 2
    assert "it takes at least 30" in found.output
    assert not (tmp_path / "m.json").exists()


def test_acceptance_fails_confidences_that_say_nothing(place: Path) -> None:
    """Which items the fake model gets wrong has nothing to do with its scores."""
    found = run(acceptance, place, "--json", str(place / "acceptance.json"))
    assert found.exit_code == 1, found.output
    told = json.loads((place / "acceptance.json").read_text())
    verdicts = {criterion["name"]: criterion["verdict"] for criterion in told["criteria"]}
    assert told["verdict"] == verdicts["brier better than one number for all"] == "fail"
    assert verdicts["enough data"] == "not verified"
    assert verdicts["test rows never fitted on"] == "pass"


def test_acceptance_fails_a_calibration_that_has_seen_the_test_rows(place: Path) -> None:
    path = place / "seen.json"
    assert run(calibrate, place, "--out", str(path)).exit_code == 0
    everything = tuple(sorted(hashlib.sha256(one.read_bytes()).hexdigest()[:16] for one in (place / "data").glob("*.jpg")))
    path.write_text(json.dumps(replace(load(path), fitted_items=everything).as_json()))
    assert run(acceptance, place, "--calibration", str(path), "--json", str(place / "seen-told.json")).exit_code == 1
    told = json.loads((place / "seen-told.json").read_text())
    assert ("test rows never fitted on", "fail") in {(criterion["name"], criterion["verdict"]) for criterion in told["criteria"]}
    path.write_text(path.read_text().replace(everything[0], "0" * 16))
    edited = run(acceptance, place, "--calibration", str(path))
    assert (edited.exit_code, "changed after it was made" in edited.output) == (2, True)
