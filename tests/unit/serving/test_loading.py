"""From settings to what runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from candor.errors import CandorError, InvalidRequest, UnsafeArtifact
from candor.families import Device
from serving import loading
from serving.config import EngineSettings, Settings
from serving.loading import build_catalog, cores, device_for, engine_options, engine_settings, install_all, load_version, media_limits
from tests.unit.serving.served import model, settings_in


def engine(**values: Any) -> EngineSettings:
    return EngineSettings.model_validate(values)


def test_limits_reach_the_families(folder: Path) -> None:
    limits = media_limits(settings_in(folder, limits={"pixels": 7, "audio_seconds": 9.0}))
    assert (limits.pixels, limits.seconds) == (7, 9.0)
    options = engine_options(engine(max_batch=3, prepare_threads=5, cache_bytes=11), limits)
    assert (options.limits, options.max_batch, options.prepare_threads, options.cache_bytes) == (limits, 3, 5, 11)
    assert engine_options(engine(), limits).prepare_threads == cores() >= 1


def test_a_task_may_override_the_engine(folder: Path) -> None:
    tasks: dict[str, Any] = {"detection": {"model": "finder", "engine": {"max_batch": 5}}}
    settings = settings_in(folder, tasks=tasks, engine={"max_batch": 9, "device": "cpu"})
    assert engine_settings(settings, "detection").max_batch == 5
    assert engine_settings(settings, "classification").max_batch == 9


def test_a_device_is_what_the_settings_say() -> None:
    chosen = engine(device="cuda:1", dtype="float16", threads=3, max_batch=7, channels_last=False, compile=True, memory_fraction=0.5)
    assert device_for(chosen) == Device("cuda:1", "float16", 3, 7, False, True, 0.5)
    assert device_for(engine(device="cpu")).threads == cores()
    assert "torch" not in sys.modules


def test_every_model_is_installed_once(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with structlog.testing.capture_logs() as logged:
        install_all(settings)
    assert {entry["model"] for entry in logged} == {"finder", "listener", "namer"}
    catalog = build_catalog(settings)
    for name in settings.models:
        installed = catalog.installed(name)
        assert installed is not None
        assert load_version(installed, settings.engine).memory() > 0
    with structlog.testing.capture_logs() as again:
        install_all(settings)
    assert again == []


def test_a_model_that_can_not_be_installed_keeps_no_other_back(tmp_path: Path) -> None:
    models = {"missing": model("detection", source="file:none.pt"), **settings_in(tmp_path).models}
    with structlog.testing.capture_logs() as logged:
        install_all(settings_in(tmp_path, models=models))
    (error,) = [entry for entry in logged if entry["log_level"] == "error"]
    assert (error["event"], error["model"]) == ("model_unavailable", "missing")
    assert "none.pt, which is not there" in error["detail"]
    assert build_catalog(settings_in(tmp_path)).installed("namer") is not None


@pytest.mark.parametrize(
    "wrong",
    [{"source": "http://x"}, {"source": "builtin:nothing"}, {"family": "nothing"}, {"options": {"a": object()}}],
    ids=["source", "builtin", "family", "options"],
)
def test_a_wrong_configuration_stops_the_start(tmp_path: Path, wrong: dict[str, Any]) -> None:
    models = {**settings_in(tmp_path).models, "wrong": model("detection", **wrong)}
    with pytest.raises(CandorError) as raised:
        install_all(settings_in(tmp_path, models=models))
    assert raised.value.detail


def test_a_model_file_with_a_wrong_hash_is_not_loaded(settings: Settings) -> None:
    installed = build_catalog(settings).installed("finder")
    assert installed is not None
    (installed.folder / "model.json").write_bytes((installed.folder / "model.json").read_bytes()[::-1])
    with pytest.raises(UnsafeArtifact, match=r"model\.json"):
        load_version(installed, settings.engine)


def test_a_family_that_is_not_installed_is_named(tmp_path: Path) -> None:
    models = {**settings_in(tmp_path).models, "wrong": model("detection", family="nothing")}
    with pytest.raises(InvalidRequest, match=r"no family 'nothing' is installed: one of .*fake"):
        build_catalog(settings_in(tmp_path, models=models)).install("wrong")


def test_long_installations_tell_of_themselves_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    steps = loading._Steps("m")
    with structlog.testing.capture_logs() as logged:
        for seconds, what in ((0, "fetching"), (5, "fetching"), (11, "fetching"), (12, "unpacking"), (13, "unpacking")):
            clock[0] = 100.0 + seconds
            steps(what, seconds, 20)
    assert [(entry["step"], entry["done_bytes"]) for entry in logged] == [("fetching", 0), ("fetching", 11), ("unpacking", 12)]
