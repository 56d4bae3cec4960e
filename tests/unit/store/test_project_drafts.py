from __future__ import annotations

import pytest

from store import Store
from store.project_drafts import ProjectDrafts
from tests.unit.store.drafts import draft

ITEMS = ["a", "B", "b/1", "B 1", "é", "zü", "_", "10", "9"]  # which databases sort in several ways


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_pages_have_each_shown_item_once_with_its_newest_draft(store: Store, limit: int) -> None:
    made = [draft(item=item, project="p") for item in ITEMS * 2]
    hidden = [draft(item=f"{item} x", project="p", arm=arm) for item in ITEMS for arm in ("assisted", "withheld")]
    await store.save(
        [*made, *hidden, draft(item="a", project="other"), draft(item="a", project=None), draft(item="a", team="t", project="p")]
    )
    found, after = list[str](), None
    while True:
        page = await ProjectDrafts(store).page("default", "p", after, limit)
        found += [one.id for one in page.drafts]
        after = page.next
        if after is None:
            break
    assert sorted(found) == sorted(one.id for one in made[len(ITEMS) :])
