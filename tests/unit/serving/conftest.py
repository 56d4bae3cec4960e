from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from candor.fake import FakeFamily, FakeModel
from serving.config import Settings
from serving.loading import install_all
from store import schema
from tests.unit.serving.served import Gate, Server, running, settings_in


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's folder with a migrated database and installed models, to copy: making them takes longer than a test."""
    folder = tmp_path_factory.mktemp("template")
    settings = settings_in(folder)
    schema.migrate(settings.storage.database_url)
    install_all(settings)
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "server")
    return tmp_path / "server"


@pytest.fixture
def settings(folder: Path) -> Settings:
    return settings_in(folder)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeModel]:
    """The fake models as they are loaded, by name."""
    found: dict[str, FakeModel] = {}
    load = FakeFamily.load

    def recorded(self: FakeFamily, manifest: Any, artifact: Path, device: Any) -> FakeModel:
        return found.setdefault(manifest.name, load(self, manifest, artifact, device))

    monkeypatch.setattr(FakeFamily, "load", recorded)
    return found


@pytest.fixture
async def server(settings: Settings, loaded: dict[str, FakeModel]) -> AsyncIterator[Server]:
    async with running(settings) as made:
        made.loaded = loaded
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def steady(template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One server for a whole module, whose tests mind nothing but the answer: `pytestmark = pytest.mark.asyncio(loop_scope="module")`."""
    folder = tmp_path_factory.mktemp("steady") / "server"
    shutil.copytree(template, folder)
    async with running(settings_in(folder)) as made:
        yield made


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Hold every fake device call until the gate is opened."""
    made = Gate()
    infer = FakeModel.infer

    def held(self: FakeModel, units: Any) -> Any:
        made()
        return infer(self, units)

    monkeypatch.setattr(FakeModel, "infer", held)
    yield made
    made.opened.set()
