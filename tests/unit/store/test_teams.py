from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from candor.errors import Conflict, InUse, UnknownKey, UnknownTeam
from store import Blobs, Store
from store.audit import OPERATOR, Actor, entries
from store.tables import api_keys, audit
from store.teams import Teams, secret_hash

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = Actor("default", "key_1", "req_1")


async def test_of_a_key_only_the_hash_is_stored(store: Store) -> None:
    teams = Teams(store)
    await teams.add(ADMIN, "streets", {"items_per_minute": 5})
    key, text = await teams.add_key(ADMIN, "streets", "mine", ["draft"], None)
    prefix, suffix, secret = text.split("_", 2)
    assert (prefix, f"key_{suffix}", key.created_by) == ("cdr", key.id, "key_1")
    assert len(secret) == 43  # 32 bytes
    found = await teams.find(key.id)
    assert found is not None
    assert (found.key, found.secret_sha256, found.limits) == (key, secret_hash(secret), {"items_per_minute": 5})
    assert await teams.keys("streets") == [key]
    written = str([await store.read(sa.select(table)) for table in (api_keys, audit)])
    assert written.count(key.id) == 2
    assert secret not in written


async def test_a_revoked_key_is_so_for_good(store: Store) -> None:
    teams = Teams(store, clock=lambda: NOW)
    key, _ = await teams.add_key(OPERATOR, "default", "mine", ["draft"], NOW + timedelta(hours=1))
    assert key.valid(NOW)
    assert not key.valid(NOW + timedelta(hours=1))
    revoked = await teams.revoke(ADMIN, "default", key.id, keep_admin=True)
    assert revoked.revoked_at == NOW
    assert not revoked.valid(NOW)
    assert await teams.revoke(ADMIN, "default", key.id, keep_admin=True) == revoked
    assert [(row.action, row.key) for row in await entries(store, "default")] == [("key.revoked", "key_1"), ("key.created", "operator")]
    for team, key_id in (("default", "key_none"), ("streets", key.id)):
        with pytest.raises(UnknownKey if team == "default" else UnknownTeam):
            await teams.revoke(ADMIN, team, key_id, keep_admin=True)


async def test_the_last_admin_key_stays(store: Store) -> None:
    teams = Teams(store, clock=lambda: NOW)
    expired, _ = await teams.add_key(ADMIN, "default", "old", ["admin"], NOW)
    assert not await teams.administered("default")
    keys = [(await teams.add_key(ADMIN, "default", str(n), ["admin"], None))[0] for n in range(3)]
    assert await teams.administered("default")
    revoking = (teams.revoke(ADMIN, "default", key.id, keep_admin=True) for key in keys)
    ended = await asyncio.gather(*revoking, return_exceptions=True)
    assert sum(isinstance(one, InUse) for one in ended) == 1  # whoever comes last
    assert await teams.administered("default")
    await teams.revoke(ADMIN, "default", expired.id, keep_admin=False)


async def test_a_team_is_removed_only_while_it_has_nothing(store: Store, tmp_path: Path) -> None:
    teams = Teams(store)
    with pytest.raises(Conflict):
        await teams.add(ADMIN, "default", {})
    await teams.add(ADMIN, "a", {})
    key, _ = await teams.add_key(ADMIN, "a", "mine", ["draft"], None)

    async def content() -> object:
        yield b"123"

    await Blobs(tmp_path / "blobs", store).put(content(), 10, "a")  # type: ignore[arg-type]
    assert json.dumps(await teams.stored_bytes("a")) == "3"
    with pytest.raises(InUse, match="uploads"):
        await teams.remove(ADMIN, "a")
    assert [team.name for team in await teams.all()] == ["a", "default"]
    await teams.add(ADMIN, "b", {})
    gone, _ = await teams.add_key(ADMIN, "b", "mine", ["draft"], None)
    await teams.remove(ADMIN, "b")
    assert await teams.find(gone.id) is None
    assert await teams.find(key.id) is not None
    with pytest.raises(UnknownTeam):
        await teams.limit(ADMIN, "b", {})


async def test_the_audit_log_is_read_in_pages(store: Store) -> None:
    teams = Teams(store)
    for name in ("a", "b", "c"):
        await teams.add(ADMIN, name, {})
        await asyncio.sleep(0.002)  # ids sort by the millisecond
    await teams.limit(Actor("a", "key_2"), "a", {"storage_bytes": 1})
    first = await entries(store, "default", limit=2)
    assert [(row.action, row.target) for row in first] == [("team.created", "c"), ("team.created", "b")]
    assert [row.target for row in await entries(store, "default", after=first[-1].id)] == ["a"]
    assert [row.team for row in await entries(store, None, target="a")] == ["a", "default"]
    assert (await entries(store, "a", action="team.limited"))[0].detail == {"limits": {"storage_bytes": 1}, "before": {}}
