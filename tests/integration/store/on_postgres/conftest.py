from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store import Store, open_store

HERE = Path(__file__).parent

# Tests of how SQLite is dealt with. What PostgreSQL does instead is in test_postgres.py beside this folder.
SQLITES_OWN = {
    "test_a_database_without_tables_is_storage",
    "test_a_folder_that_cannot_be_made_is_storage",
    "test_a_full_disk_is_storage_and_ends_with_room",
    "test_a_locked_database_is_storage_and_ends_with_the_lock",
    "test_a_migration_waits_for_another_process",
    "test_connections_are_set_up",
    "test_drafts_are_not_replaced_either",
    "test_find_walks_the_index",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if item.path.parent != HERE or item.name.partition("[")[0] not in SQLITES_OWN]


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await open_store(url, migrate=False)
    yield opened
    await opened.close()
