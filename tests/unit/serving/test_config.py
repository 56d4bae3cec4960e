"""Configuration: a file, then the environment; whatever is wrong is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from candor.errors import InvalidRequest
from candor.policy import Policy
from serving.config import EngineSettings, Settings, absolute, cache_home, load_settings, log_destination, metrics_folder, set_environment

GOOD = """
server: {port: 9000}
tasks:
  detection: {model: finder, engine: {max_batch: 3}}
models:
  finder: {task: detection, family: fake, source: "official:x", calibration: cal/finder.json}
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CANDOR_")]:
        monkeypatch.delenv(name)


def written(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text)
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, GOOD))
    assert (settings.server.port, settings.server.host) == (9000, "127.0.0.1")
    assert settings.engine_for("detection") == EngineSettings.model_validate({"max_batch": 3})
    assert load_settings(written(tmp_path, "")).tasks == {}


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOR_SERVER__PORT", "9001")
    monkeypatch.setenv("CANDOR_LIMITS__ITEMS", "5")
    monkeypatch.setenv("CANDOR_TASKS__DETECTION__NUM_GPUS", "0.5")
    settings = load_settings(written(tmp_path, GOOD))
    assert (settings.server.port, settings.limits.items) == (9001, 5)
    assert (settings.tasks["detection"].num_gpus, settings.tasks["detection"].model) == (0.5, "finder")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server: {prot: 1}", "server.prot: Extra inputs"),
        ("sever: {}", "sever: Extra inputs"),
        ("server: {port: 0}", "server.port"),
        ("server: {port: x}\nlimits: {items: 0}", "limits.items"),
        ("server: {topology: many}", "server.topology"),
        ("server: {host: 0.0.0.0}", "allow_remote: true if you mean it"),
        ("server: {host: 0.0.0.0, allow_remote: true, auth: none}", "server.auth is none, and server.host 0.0.0.0 is beyond loopback"),
        ("tasks: {segmentation: {model: x}}", "tasks.segmentation"),
        ("policy: {from_scratch_below: {classification: 1.5}}", "policy.from_scratch_below.classification"),
        ("policy: {from_scratch_below: {segmentation: 0.5}}", "policy.from_scratch_below.segmentation"),
        ("projects: {street: {policy: {bagde: true}}}", "projects.street.policy.bagde: Extra inputs"),
        ("projects: {street: {policy: {from_scratch_below: {detection: -1}}}}", "projects.street.policy.from_scratch_below.detection"),
        ("projects: {street: {badge: true}}", "projects.street.badge"),
        ("tasks: {detection: {model: none}}", "tasks.detection.model names 'none', which is not under `models`"),
        (GOOD.replace("detection: {model", "classification: {model"), "whose task is detection"),
        ("models: {x: {task: detection}}", "models.x.family"),
        ("media: {schemes: [file]}", "media.schemes"),
        ("engine: {memory_fraction: 2}", "engine.memory_fraction"),
        ("a: [", "is not valid YAML"),
        ("- a", "not a mapping"),
        ("text", "not a mapping"),
        (GOOD.replace("max_batch: 3", "max_batch: 0"), "tasks.detection.engine.max_batch"),
        (GOOD.replace("max_batch", "max_batsh"), "tasks.detection.engine.max_batsh"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        load_settings(written(tmp_path, text))
    assert told in raised.value.detail
    assert "c.yaml" in raised.value.detail


def test_a_wrong_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOR_SERVER__PORT", "many")
    with pytest.raises(InvalidRequest, match=r"server\.port"):
        load_settings(written(tmp_path, GOOD))


def test_a_project_may_have_a_policy_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
policy: {from_scratch_below: {transcription: 0.6, classification: 0.3}}
projects:
  street: {policy: {badge: false}}
  talks: {policy: {from_scratch_below: {transcription: null, detection: 0.1}}}
  plain: {}
"""
    settings = load_settings(written(tmp_path, text))
    general = Policy(True, {"transcription": 0.6, "classification": 0.3})
    assert settings.policy_for(None) == settings.policy_for("unknown") == settings.policy_for("plain") == general
    assert settings.policy_for("street") == Policy(False, general.from_scratch_below)
    assert settings.policy_for("talks") == Policy(True, {"classification": 0.3, "detection": 0.1})
    monkeypatch.setenv("CANDOR_POLICY__BADGE", "false")
    assert load_settings(written(tmp_path, text)).policy_for("talks").badge is False
    assert load_settings(written(tmp_path, "")).policy_for(None) == Policy(False)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="can't be read"):
        load_settings(tmp_path / "none.yaml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InvalidRequest, match=r"c\.yaml"):
        load_settings(tmp_path / "c.yaml")


def test_whoever_listens_beyond_loopback_says_so(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, "server: {host: 0.0.0.0, allow_remote: true}"))
    assert settings.server.host == "0.0.0.0"  # noqa: S104 - that it is allowed is what is tested
    for host in ("localhost", "'::1'"):
        load_settings(written(tmp_path, f"server: {{host: {host}}}"))


def test_paths_are_made_absolute_once(tmp_path: Path) -> None:
    settings = absolute(load_settings(written(tmp_path, GOOD)), Path("/base"))
    assert settings.storage.database_url == "sqlite+aiosqlite:////base/var/candor.db"
    assert (settings.storage.blobs, settings.storage.models) == ("/base/var/blobs", Path("/base/var/models"))
    assert settings.storage.downloads is None
    assert settings.models["finder"].calibration == Path("/base/cal/finder.json")
    assert absolute(settings, Path("/other")) == settings


def test_other_databases_keep_their_address(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, "storage: {database_url: 'postgresql+asyncpg://db/candor', downloads: d}"))
    moved = absolute(settings, Path("/base"))
    assert moved.storage.database_url == "postgresql+asyncpg://db/candor"
    assert cache_home(moved) == Path("/base/d")


def test_downloads_have_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_home(Settings()) == Path("/home/someone/.cache/candor")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_home(Settings()) == Path("/cache/candor")
    monkeypatch.setenv("CANDOR_CACHE", "/mine")
    assert cache_home(Settings()) == Path("/mine")


def test_variables_are_set_and_read_here_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CANDOR_LOG_TO", "PROMETHEUS_MULTIPROC_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert (log_destination(), metrics_folder()) == (None, None)
    set_environment({"CANDOR_LOG_TO": "/log", "PROMETHEUS_MULTIPROC_DIR": "/metrics"})
    assert (log_destination(), metrics_folder()) == ("/log", "/metrics")
