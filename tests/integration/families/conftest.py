"""A package that is installed for this process and those that it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from candor import families
from tests.integration.families.packages import MOODY, install


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from which packages are imported."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(Path(__file__).parents[3])]))
    _forget()
    yield folder
    _forget()


@pytest.fixture
def moody(site: Path) -> str:
    install(site, "moody", MOODY, "MoodyFamily")
    return "moody"


def _forget() -> None:
    families.is_own.cache_clear()
    families.get_family.cache_clear()
