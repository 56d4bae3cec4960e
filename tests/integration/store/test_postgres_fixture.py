"""The fixture itself: each test has a database of its own."""

from __future__ import annotations

import pytest

from candor.errors import UnknownDraft
from store import open_store
from tests.postgres import run
from tests.unit.store.drafts import draft


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_a_database_of_its_own(postgres_url: str, turn: int) -> None:
    store = await open_store(postgres_url)
    stored = draft(id="drf_same")
    with pytest.raises(UnknownDraft):
        await store.get(stored.id)
    await store.save([stored])
    assert await store.get(stored.id) == stored
    await store.close()
    assert run(postgres_url, "SELECT name FROM teams") == [[("default",)]]
