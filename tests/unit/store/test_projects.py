"""Projects: revisions without gaps, a history that outlives them, nothing of other teams."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from candor.errors import Conflict, UnknownProject
from store import Store
from store.audit import Actor
from store.projects import Projects
from store.tables import audit

ME, OTHER = Actor("birds", "key_1", "req_1"), Actor("fish", "key_2")
BODY = {"labels": ["duck"], "model": "finder"}


async def test_a_project_is_made_changed_and_deleted_and_all_of_it_is_remembered(store: Store) -> None:
    projects = Projects(store)
    made = await projects.put(ME, "ponds", BODY, expected=0)
    assert (made.revision, made.body, await projects.get("birds", "ponds")) == (1, BODY, made)
    changed = await projects.put(ME, "ponds", {**BODY, "model": "other"}, expected=1)
    assert (changed.revision, changed.created_at) == (2, made.created_at)
    assert await projects.put(ME, "ponds", changed.body) == changed  # nothing is new
    await projects.delete(ME, "ponds", expected=2)
    with pytest.raises(UnknownProject, match="no project 'ponds'"):
        await projects.get("birds", "ponds")
    again = await projects.put(ME, "ponds", BODY)
    assert again.revision == 4
    history = await projects.history("birds", "ponds")
    assert [(one.revision, one.body, one.by) for one in history] == [
        (4, BODY, "key_1"),
        (3, None, "key_1"),
        (2, changed.body, "key_1"),
        (1, BODY, "key_1"),
    ]
    assert await projects.changes() == 4
    rows = await store.read(sa.select(audit).order_by(audit.c.at, audit.c.id))
    assert [(row.action, row.target, row.team, row.request_id) for row in rows] == [
        (f"project.{what}", "ponds", "birds", "req_1") for what in ("created", "changed", "deleted", "created")
    ]
    assert rows[1].detail == {"revision": 2, "fields": ["model"]}


async def test_who_has_not_seen_the_newest_revision_changes_nothing(store: Store) -> None:
    projects = Projects(store)
    await projects.put(ME, "ponds", BODY)
    for work, told in (
        (projects.put(ME, "ponds", {}, expected=0), "already, revision 1"),
        (projects.put(ME, "ponds", {}, expected=2), "has revision 1, not 2"),
        (projects.delete(ME, "ponds", expected=2), "has revision 1, not 2"),
        (projects.put(ME, "lakes", {}, expected=2), "no project 'lakes' any more"),
    ):
        with pytest.raises(Conflict, match=told):
            await work
    assert (await projects.get("birds", "ponds")).body == BODY


async def test_of_many_who_change_at_once_each_has_a_revision(store: Store) -> None:
    projects = Projects(store)
    made = await asyncio.gather(*(projects.put(ME, "ponds", {"labels": [str(n)]}) for n in range(20)))
    assert sorted(one.revision for one in made) == list(range(1, 21))
    won = await asyncio.gather(*(projects.put(ME, "ponds", {"labels": [f"x{n}"]}, expected=20) for n in range(9)), return_exceptions=True)
    assert sum(not isinstance(one, Conflict) for one in won) == 1


async def test_a_team_sees_its_own(store: Store) -> None:
    projects = Projects(store)
    for name in ("b", "a", "c"):
        await projects.put(ME, name, BODY)
    assert [one.name for one in await projects.of_team("birds", limit=2)] == ["a", "b"]
    assert [one.name for one in await projects.of_team("birds", after="b")] == ["c"]
    assert await projects.of_team("fish") == []
    for work in (projects.get("fish", "a"), projects.history("fish", "a"), projects.delete(OTHER, "a")):
        with pytest.raises(UnknownProject):
            await work
    assert len(await projects.everything()) == 3
