"""A connection is not looked up for each request; health believes longer than anything that does something."""

from __future__ import annotations

from serving.protocols.label_studio.connected import HEALTH_SECONDS, KNOWN_SECONDS, TOOL, Known
from store import Store
from store.audit import Actor
from store.connections import Connections
from tests.unit.store.conftest import migrated, store, url

__all__ = ["migrated", "store", "url"]


async def test_health_asks_no_database_of_a_connection_that_was_there_a_moment_ago(store: Store) -> None:
    now = 0.0
    connections = Connections(store)
    actor = Actor("default", "key_1")
    made, secret = await connections.add(actor, "ponds", TOOL, url=None, token=None, remote_project=None, settings={})
    known = Known(connections, lambda: now)
    assert await known.by_secret("another") is None
    assert await known.by_secret(secret) == made
    await connections.end(actor, made.id)
    now = KNOWN_SECONDS + 0.1
    assert await known.by_secret(secret, HEALTH_SECONDS) == made
    assert await known.by_secret(secret) is None
    assert await known.by_secret(secret, HEALTH_SECONDS) is None
