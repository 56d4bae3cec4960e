"""One real server with the built-in models for the whole session, and what is sent to it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from models.samples import samples
from serving.config import Settings, cache_home
from tests.integration.serving.running import FAKES, ROOT, Server, merged, running, write_config

QUEUED = 64
LIMITS = {"items": 40, "queued_items": QUEUED, "body_bytes": 96 * 2**20, "item_bytes": 32 * 2**20}


@pytest.fixture(scope="session")
def cache() -> Path:
    return cache_home(Settings())


@pytest.fixture(scope="session")
def samples_by_name(cache: Path) -> dict[str, bytes]:
    """Real pictures and a speech clip, as encoded bytes by file name."""
    return {sample.path.name: sample.path.read_bytes() for sample in samples(cache)}


@pytest.fixture(scope="session")
def real_config(cache: Path) -> Callable[..., dict[str, Any]]:
    """Give the shipped configuration with `changes`, its models in a folder that outlives the session."""

    def make(**changes: Any) -> dict[str, Any]:
        shipped = yaml.safe_load((ROOT / "configs" / "default.yaml").read_text())
        for part in ("port", "host"):
            shipped["server"].pop(part, None)
        shipped.pop("storage", None)
        return merged(merged(shipped, {"storage": {"models": str(cache / "test-models")}}), changes)

    return make


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, real_config: Callable[..., dict[str, Any]]) -> Iterator[Server]:
    """The session's server: topology `tasks`, real models, and slow and broken ones beside them."""
    slow = {"task": "classification", "family": "fake", "source": "official:slow", "options": {"task": "classification", "base": 3.0}}
    broken = {"task": "classification", "family": "fake", "source": "official:broken", "options": {"task": "classification"}}
    config = real_config(
        limits=LIMITS,
        media={"private_hosts": ["127.0.0.1"], "timeout_seconds": 3},
        models={"slow": slow, "broken": broken},
    )
    with running(write_config(tmp_path_factory.mktemp("server"), config)) as found:
        yield found


@pytest.fixture(scope="package")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of quick fake models that asks for keys, with two replicas for classification."""
    quick = {"fake-classifier": {"options": {"base": 0.0}}}
    tasks = {"classification": {"replicas": 2}}
    config = merged(FAKES, {"server": {"auth": "keys"}, "teams": {"items_per_minute": 200}, "models": quick, "tasks": tasks})
    with running(write_config(tmp_path_factory.mktemp("keys"), config)) as found:
        yield found


@pytest.fixture(scope="package")
def first(locked: Server) -> str:
    """The key that the server printed as it started."""
    until = time.monotonic() + 60
    while not (found := re.search(r"^    (cdr_\S+)$", locked.log.read_text(), flags=re.MULTILINE)):
        assert time.monotonic() < until, "no key was printed"
        time.sleep(0.2)
    return found[1]


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as found:
        yield found
