"""Connected tools: the secret opens one connection and is not kept, the token is shown by no representation, states merge."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from candor.errors import NotFound
from store import Store
from store.audit import Actor
from store.connections import Connections
from store.tables import audit
from store.tool_tables import connections as table

ME, OTHER = Actor("birds", "key_1", "req_1"), Actor("fish", "key_2")
OF_TOOL: dict[str, Any] = {"url": "https://labels.example", "token": "toolstoken", "remote_project": "3", "settings": {"model": "finder"}}


async def test_a_secret_opens_its_connection_until_it_is_renewed_or_ended(store: Store) -> None:
    connections = Connections(store)
    made, secret = await connections.add(ME, "ponds", "label-studio", **OF_TOOL)
    assert (made.id[:4], made.team, made.created_by, made.state, len(secret)) == ("con_", "birds", "key_1", {}, 43)
    assert (await connections.by_secret(secret), await connections.get(made.id, "birds")) == (made, made)
    assert (await connections.active("label-studio"), await connections.of_project("birds", "ponds")) == ([made], [made])
    assert await connections.of_project("fish", "ponds") == await connections.active("cvat") == []
    renewed = await connections.renew(ME, made.id)
    assert (await connections.by_secret(secret), (await connections.by_secret(renewed) or made).id) == (None, made.id)
    await connections.end(ME, made.id)
    assert await connections.by_secret(renewed) is None
    ended = await connections.get(made.id)
    assert (ended.token, ended.ended_at is None, await connections.active("label-studio")) == (None, False, [])
    with pytest.raises(NotFound, match="no connection"):
        await connections.change(ME, made.id, url=None)
    rows = await store.read(sa.select(audit).order_by(audit.c.at, audit.c.id))
    assert [row.action for row in rows] == [f"connection.{what}" for what in ("created", "renewed", "ended")]
    (kept,) = await store.read(sa.select(table))
    assert not any(hidden in f"{rows}{kept}{made!r}" for hidden in (secret, renewed, "toolstoken"))


async def test_changes_are_the_teams_own_and_states_merge(store: Store) -> None:
    connections = Connections(store)
    made, _ = await connections.add(ME, "ponds", "label-studio", **OF_TOOL)
    await connections.keep(made.id, {"polled": "then", "problem": None})
    await connections.keep(made.id, {"polled": "now"})
    changed = await connections.change(ME, made.id, token="another", url="https://labels.example", settings={})
    assert (changed.state, changed.token, changed.settings) == ({"polled": "now", "problem": None}, "another", {})
    (row,) = await store.read(sa.select(audit).where(audit.c.action == "connection.changed"))
    assert row.detail == {"fields": ["settings", "token"]}
    for work in (connections.change(OTHER, made.id, url=None), connections.renew(OTHER, made.id), connections.end(OTHER, made.id)):
        with pytest.raises(NotFound):
            await work
    with pytest.raises(NotFound):
        await connections.get(made.id, "fish")
    with pytest.raises(ValueError, match="project can't be changed"):
        await connections.change(ME, made.id, project="lakes")
