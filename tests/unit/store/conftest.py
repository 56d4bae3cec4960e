from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store import Store, migrate, open_store


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, to copy: making them takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "candor.db"
    migrate(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/folder/candor.db"


@pytest.fixture
async def store(url: str, migrated: Path, tmp_path: Path) -> AsyncIterator[Store]:
    (tmp_path / "folder").mkdir()
    shutil.copy(migrated, tmp_path / "folder")
    opened = await open_store(url, migrate=False)
    yield opened
    await opened.close()
