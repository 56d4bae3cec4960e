from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import store as package
from candor.drafts import Timings
from candor.errors import Conflict, InvalidRequest, StorageUnavailable, UnknownDraft
from store import Store, StoredReply, dialects, open_store
from store.store import FOUND_PER_ITEM, _newest
from tests.unit.store.drafts import draft, sha

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def timed(url: str, clock: Clock) -> AsyncIterator[Store]:
    await (await open_store(url)).close()
    opened = Store(dialects.make_engine(url), clock)
    yield opened
    await opened.close()


def test_public_names() -> None:
    assert set(package.__all__) == {"Blob", "Blobs", "Store", "StoredReply", "migrate", "open_store"}


async def test_a_draft_comes_back_as_it_was(store: Store) -> None:
    stored = draft(unverified_since=NOON)
    await store.save([stored])
    found = await store.get(stored.id)
    assert found == stored
    assert found.created_at.tzinfo is UTC


async def test_what_a_draft_may_lack_comes_back_absent(store: Store) -> None:
    stored = draft(calibration=None, confidence=None, project=None, confidence_status="uncalibrated", payload={}, timings=Timings())
    await store.save([stored])
    assert await store.get(stored.id) == stored


async def test_times_of_other_zones_are_the_same_moment(store: Store) -> None:
    stored = draft(created_at=datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=5))))
    await store.save([stored])
    assert (await store.get(stored.id)).created_at == stored.created_at
    assert (await store.get(stored.id)).created_at.utcoffset() == timedelta(0)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=st.dictionaries(st.text(), values, max_size=4))
async def test_any_json_payload_comes_back_equal(store: Store, payload: dict[str, Any]) -> None:
    stored = draft(payload=payload)
    await store.save([stored])
    assert (await store.get(stored.id)).payload == payload


async def test_unknown_drafts_and_no_drafts(store: Store) -> None:
    await store.save([])
    with pytest.raises(UnknownDraft, match="drf_nothing"):
        await store.get("drf_nothing")


async def test_a_stored_id_is_a_conflict_and_stores_nothing(store: Store) -> None:
    first, second = draft(), draft()
    await store.save([first])
    with pytest.raises(Conflict):
        await store.save([second, draft(id=first.id)])
    with pytest.raises(UnknownDraft):
        await store.get(second.id)


@pytest.mark.parametrize("verb", ["UPDATE drafts SET confidence = 0.99", "DELETE FROM drafts"])
async def test_drafts_are_append_only(store: Store, url: str, verb: str) -> None:
    await refused(store, url, verb)


async def test_drafts_are_not_replaced_either(store: Store, url: str) -> None:
    await refused(store, url, "INSERT OR REPLACE INTO drafts SELECT * FROM drafts")


async def refused(store: Store, url: str, verb: str) -> None:
    stored = draft()
    await store.save([stored])
    engine = dialects.for_writing(dialects.make_engine(url))
    with pytest.raises(sa.exc.IntegrityError, match="append-only"):
        async with engine.begin() as connection:
            await connection.execute(sa.text(verb))
    await engine.dispose()
    assert await store.get(stored.id) == stored


async def test_find_returns_what_may_answer_again(store: Store) -> None:
    old = draft(created_at=NOON)
    new = draft(created_at=NOON + timedelta(seconds=1), item="img-002")
    other = draft(media_sha256=sha("other"))
    await store.save([new, old, other])
    await store.save([draft(model_version="yolo@ffff"), draft(calibration=None), draft(calibration="cal_2")])
    found = await store.find("yolo@1a2b", "cal_1", [sha("img-001"), sha("other"), sha("unseen"), sha("other")])
    assert found == {sha("img-001"): [new, old], sha("other"): [other]}
    assert await store.find("yolo@1a2b", "cal_1", []) == {}


async def test_find_tells_no_calibration_from_some(store: Store) -> None:
    without = draft(calibration=None)
    await store.save([without, draft()])
    assert await store.find("yolo@1a2b", None, [sha("img-001")]) == {sha("img-001"): [without]}


async def test_find_is_bounded_to_the_newest(store: Store) -> None:
    stored = [draft(created_at=NOON + timedelta(seconds=n)) for n in range(FOUND_PER_ITEM + 5)]
    await store.save(stored)
    found = await store.find("yolo@1a2b", "cal_1", [sha("img-001")])
    assert found[sha("img-001")] == stored[: -FOUND_PER_ITEM - 1 : -1]


async def test_find_takes_a_whole_request(store: Store) -> None:
    stored = [draft(media_sha256=sha(str(n))) for n in range(300)]
    await store.save(stored)
    found = await store.find("yolo@1a2b", "cal_1", [each.media_sha256 for each in stored])
    assert found == {each.media_sha256: [each] for each in stored}


async def test_find_walks_the_index(store: Store, url: str) -> None:
    engine = dialects.make_engine(url)
    values = {name: "x" for name in ("team", "model_version", "calibration", "sha_0", "sha_1")}
    query = str(_newest(2, True).params(values).compile(engine.sync_engine, compile_kwargs={"literal_binds": True}))
    async with engine.connect() as connection:
        plan = [row.detail for row in await connection.execute(sa.text("EXPLAIN QUERY PLAN " + query))]
    await engine.dispose()
    assert sum("USING INDEX ix_drafts_find" in step for step in plan) == 2
    assert not any("TEMP B-TREE" in step for step in plan)


async def test_a_key_is_claimed_kept_and_replayed(timed: Store, clock: Clock) -> None:
    assert await timed.claim("team:k", "print", 60) is None
    await timed.keep("team:k", 200, b'{"drafts": []}')
    clock.pass_time(hours=23)
    assert await timed.claim("team:k", "print", 60) == StoredReply(200, b'{"drafts": []}')
    assert await timed.claim("team:other", "print", 60) is None


async def test_a_key_of_another_request_is_a_conflict(timed: Store) -> None:
    await timed.claim("k", "print", 60)
    with pytest.raises(Conflict, match="another request") as running:
        await timed.claim("k", "other", 60)
    assert running.value.retry_after is None
    await timed.keep("k", 200, b"")
    with pytest.raises(Conflict, match="another request"):
        await timed.claim("k", "other", 60)


async def test_a_running_key_says_when_to_come_back(timed: Store, clock: Clock) -> None:
    await timed.claim("k", "print", 60)
    clock.pass_time(seconds=59)
    with pytest.raises(Conflict, match="still running") as caught:
        await timed.claim("k", "print", 60)
    assert caught.value.retry_after
    assert caught.value.retry_after > 0


async def test_an_abandoned_key_goes_to_the_next(timed: Store, clock: Clock) -> None:
    await timed.claim("k", "print", 60)
    clock.pass_time(seconds=60)
    assert await timed.claim("k", "print", 60) is None
    with pytest.raises(Conflict):  # claimed anew, so running anew
        await timed.claim("k", "print", 60)


async def test_a_released_key_is_free(timed: Store) -> None:
    await timed.claim("k", "print", 60)
    await timed.release("k")
    assert await timed.claim("k", "other", 60) is None


async def test_a_kept_reply_is_final(timed: Store) -> None:
    await timed.claim("k", "print", 60)
    await timed.keep("k", 200, b"first")
    await timed.keep("k", 500, b"second")
    await timed.release("k")
    assert await timed.claim("k", "print", 60) == StoredReply(200, b"first")


async def test_keys_expire_and_their_rows_go(timed: Store, clock: Clock, url: str) -> None:
    for key in ("a", "b"):
        await timed.claim(key, "print", 60)
        await timed.keep(key, 200, b"")
    clock.pass_time(hours=24)
    assert await timed.claim("a", "other", 60) is None
    engine = dialects.make_engine(url)
    async with engine.connect() as connection:
        assert (await connection.execute(sa.text("SELECT key FROM idempotency"))).scalars().all() == ["a"]
    await engine.dispose()


async def test_a_write_says_how_many_rows_it_touched(store: Store) -> None:
    for key in ("a", "b"):
        await store.claim(key, "print", 60)
    assert await store.execute(sa.text("UPDATE idempotency SET status = 200")) == 2
    assert await store.execute(sa.text("UPDATE idempotency SET status = 500 WHERE key = 'c'")) == 0
    assert [row.status for row in await store.read(sa.text("SELECT status FROM idempotency WHERE key = :key"), {"key": "a"})] == [200]


async def test_a_database_without_tables_is_storage(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="no such table"):
        await open_store(f"sqlite+aiosqlite:///{tmp_path}/empty.db", migrate=False)


@pytest.mark.parametrize("size", ["0", "many"])
def test_a_pool_is_of_some_connections(size: str) -> None:
    with pytest.raises(InvalidRequest, match="pool_size"):
        dialects.make_engine(f"postgresql+asyncpg://db/candor?pool_size={size}")


@pytest.mark.parametrize("wrong", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:", "var/candor.db"])
async def test_a_url_without_a_place_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidRequest, match="database_url"):
        await open_store(wrong)


async def test_a_folder_that_cannot_be_made_is_storage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable):
        await open_store(f"sqlite+aiosqlite:///{tmp_path}/file/candor.db")


@pytest.mark.parametrize(("setting", "pragma"), [("full", 2), ("normal", 1)])
async def test_connections_are_set_up(url: str, setting: Any, pragma: int) -> None:
    await (await open_store(url)).close()
    engine = dialects.make_engine(url, setting)
    async with engine.connect() as connection:
        found = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
            for name in ("synchronous", "journal_mode", "foreign_keys", "busy_timeout")
        }
    await engine.dispose()
    assert found == {"synchronous": pragma, "journal_mode": "wal", "foreign_keys": 1, "busy_timeout": dialects.BUSY_SECONDS * 1000}
