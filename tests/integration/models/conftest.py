"""The built-in models, installed once per machine and loaded once per session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from candor.families import Device, LoadedModel, get_family
from models import builtin
from models.catalog import Catalog, Installed, ModelEntry
from models.samples import samples
from serving.config import Settings, cache_home

# The package ultralytics reads these when it is imported.
os.environ.update(YOLO_OFFLINE="1", YOLO_VERBOSE="False", YOLO_AUTOINSTALL="False")


def _cache() -> Path:
    return cache_home(Settings())


@pytest.fixture(scope="session")
def installed() -> Callable[[str], Installed]:
    """Give a built-in model by name, installed in a folder that outlives the session, so that it is converted once per machine."""

    @cache
    def install(name: str) -> Installed:
        recipe = builtin.get_recipe(name)
        entry = ModelEntry(name, recipe.task, recipe.family, f"builtin:{name}")
        return Catalog([entry], _cache() / "test-models", _cache()).install(name)

    return install


@pytest.fixture(scope="session")
def loaded(installed: Callable[[str], Installed]) -> Iterator[Callable[[str], LoadedModel]]:
    """Give a built-in model by name, verified and loaded on the CPU in float32 with one thread, once per session."""
    models: dict[str, LoadedModel] = {}

    def load(name: str) -> LoadedModel:
        if name not in models:
            found = installed(name)
            models[name] = get_family(found.manifest.family).load(found.manifest, found.verify(), Device(threads=1))
        return models[name]

    yield load
    for model in models.values():
        model.close()


@pytest.fixture(scope="session")
def named_pictures() -> dict[str, bytes]:
    """Real pictures from packages, as encoded bytes by file name."""
    return {sample.path.name: sample.path.read_bytes() for sample in samples(_cache()) if sample.kind == "image"}


@pytest.fixture(scope="session")
def pictures(named_pictures: dict[str, bytes]) -> list[bytes]:
    """The same without their names."""
    return list(named_pictures.values())
