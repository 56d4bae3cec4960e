"""The records that are shipped: whole, justified, and claiming no more than their data can carry."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from calibration.intervals import Figure, Figures
from calibration.record import CalibrationRecord, load
from calibration.verdict import LEAST_ROWS, verdict
from models.builtin import RECIPES

ROOT = Path(__file__).parents[3]
PATHS = sorted((ROOT / "configs" / "calibrations").glob("*.json"))
FIGURES = ("nll", "brier", "ece", "ece_equal_mass", "smece", "auroc")


def figures(found: dict[str, Any]) -> Figures:
    values: dict[str, Any] = {name: Figure(**value) if isinstance(value, dict) else value for name, value in found.items()}
    return Figures(**values)


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def record(request: pytest.FixtureRequest) -> CalibrationRecord:
    return load(request.param)


def test_every_built_in_model_has_the_record_that_the_configuration_names() -> None:
    models = yaml.safe_load((ROOT / "configs" / "default.yaml").read_text())["models"]
    assert {name: Path(model["calibration"]).name for name, model in models.items()} == {name: f"{name}.json" for name in RECIPES}
    assert [path.stem for path in PATHS] == sorted(RECIPES)
    for path in PATHS:
        one = load(path)
        assert one.model_version.startswith(f"{path.stem}@sha256:")
        assert one.task == RECIPES[path.stem].task


def test_it_says_which_data_it_was_made_from(record: CalibrationRecord) -> None:
    data = record.data
    assert len(data["sha256"]) == 64
    assert data["name"]
    assert "CC BY" in data["caveat"]  # the licence, and what is known against the data
    assert len(data["caveat"]) > 100
    for part in ("fit", "select", "test"):
        assert min(data[part][name] for name in ("rows", "items", "clusters")) > 0
    assert data["failed_items"] == 0
    assert len(record.fitted_items) == data["fit"]["items"] + data["select"]["items"]
    assert record.libraries["candor"]


def test_it_has_figures_before_and_after_with_intervals_and_floors(record: CalibrationRecord) -> None:
    for side in ("before", "after"):
        found = record.figures[side]
        assert found["n"] == record.data["test"]["rows"]
        assert set(found) == {field.name for field in fields(Figures)}
        for name in FIGURES:
            assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
            assert name == "auroc" or 0 < found[name]["floor_mean"] < found[name]["floor_95"]
    assert record.figures["before"]["accuracy"] == record.figures["after"]["accuracy"]
    temperature = record.fit["temperature"] if record.task == "detection" else record.parameters["temperature"]
    assert record.fit["low"] < temperature < record.fit["high"]
    assert not record.fit["at_bound"]


def test_it_helps_where_it_was_not_fitted(record: CalibrationRecord) -> None:
    before, after = record.figures["before"], record.figures["after"]
    assert record.figures["difference"]["nll"]["value"] < 0
    assert record.figures["difference"]["brier"]["value"] < 0
    assert after["smece"]["value"] < before["smece"]["value"]
    assert record.figures["against_constant"]["brier"]["value"] < 0


def test_its_status_is_what_its_figures_allow(record: CalibrationRecord) -> None:
    held = record.figures
    differences, against = ({name: Figure(**one) for name, one in held[key].items()} for key in ("difference", "against_constant"))
    found = verdict(record.fit["n"], figures(held["before"]), figures(held["after"]), differences, against)
    assert found == (record.status, record.reason)
    assert record.data["test"]["rows"] >= LEAST_ROWS or record.status == "unverified"
