from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from calibration.record import CalibrationRecord, load
from candor.errors import InvalidRequest
from tests.unit.calibration.records import record


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value, indent=2))
    return path


@pytest.mark.parametrize("task", ["detection", "classification", "transcription"])
def test_a_record_survives_its_file(task: Any, tmp_path: Path) -> None:
    one = record(task, fitted_items=("ab", "cd"))
    read = load(written(tmp_path / "r.json", one.as_json()))
    assert read == one
    assert read.id == one.id
    assert read.id.startswith("cal_")
    assert len(read.id) == 30
    assert read.id == read.id.lower()
    assert pickle.loads(pickle.dumps(read)) == one  # noqa: S301 - it travels to workers so; on disk it is JSON


def test_the_id_is_of_the_content() -> None:
    assert record().id == record().id
    assert record().id != record(reason="another").id
    with pytest.raises(FrozenInstanceError):
        record().status = "calibrated"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("status",), "calibrated"),
        (("parameters", "temperature"), 1.0),
        (("display_threshold",), 0.1),
        (("created_at",), "2027-01-01T00:00:00+00:00"),
        (("data", "sha256"), "1" * 64),
        (("id",), "cal_" + "a" * 26),
    ],
)
def test_an_edited_record_is_refused(path: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    edited = json.loads(json.dumps(record().as_json()))
    inner = edited
    for key in path[:-1]:
        inner = inner[key]
    assert inner[path[-1]] != value
    inner[path[-1]] = value
    with pytest.raises(InvalidRequest, match="changed after it was made"):
        load(written(tmp_path / "r.json", edited))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schema": 3}, "schema 3"),
        ({"task": "detection", "method": "temperature"}, "method"),
        ({"status": "uncalibrated"}, "status"),
        ({"model_version": "yolo"}, "model_version"),
        ({"parameters": {"temperature": 2.0}}, "parameters"),
        ({"parameters": {"temperature": 0.0, "bias": 0.0}}, "not above 0"),
        ({"parameters": {"temperature": 1.0, "bias": float("nan")}}, "bias is nan"),
        ({"parameters": {"temperature": "1", "bias": 0.0}}, "temperature is '1'"),
        ({"display_threshold": None}, "display_threshold"),
        ({"display_threshold": 1.5}, "display_threshold"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        replace(record(), **changed)


def test_task_fields() -> None:
    with pytest.raises(InvalidRequest, match="normaliser"):
        record("transcription", normaliser=None)
    with pytest.raises(InvalidRequest, match="display_threshold"):
        record("classification", display_threshold=0.5)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "cal_x"}', '{"schema": NaN}', "1", '{"extra": 1}'])
def test_other_files_are_refused_with_their_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=r"r\.json"):
        load(path)


def test_a_missing_or_unknown_field_is_refused(tmp_path: Path) -> None:
    value = record().as_json()
    for edited in ({**value, "more": 1}, {key: inner for key, inner in value.items() if key != "event"}, {**value, "parameters": 3}):
        with pytest.raises(InvalidRequest, match="not valid"):
            CalibrationRecord.from_json(edited)
    with pytest.raises(InvalidRequest, match="can't be read"):
        load(tmp_path / "absent.json")
