from __future__ import annotations

import asyncio
import math

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import Conflict, InvalidRequest, StorageUnavailable, UnknownDraft
from store import Store, dialects, open_store
from tests.unit.store.drafts import draft


async def test_concurrent_saves_share_transactions(store: Store) -> None:
    stored = [draft() for _ in range(64)]
    await asyncio.gather(*(store.save([each]) for each in stored))
    assert store._writer.transactions == 1
    assert [await store.get(each.id) for each in stored] == stored


async def test_what_arrives_during_a_commit_goes_into_the_next(store: Store) -> None:
    entered, may_go_on = asyncio.Event(), asyncio.Event()

    async def hold(_connection: AsyncConnection) -> None:
        entered.set()
        await may_go_on.wait()

    first = asyncio.create_task(store._writer.run(hold))
    await entered.wait()
    later = [asyncio.create_task(store.save([draft()])) for _ in range(5)]
    await asyncio.sleep(0)
    may_go_on.set()
    await asyncio.gather(first, *later)
    assert store._writer.transactions == 2


async def test_one_callers_fault_is_its_own(store: Store) -> None:
    taken = draft()
    await store.save([taken])
    good = [draft() for _ in range(3)]
    naive = draft().created_at.replace(tzinfo=None)
    bad = [draft(id=taken.id), draft(item="\ud800"), draft(payload={"score": math.nan}), draft(created_at=naive)]
    calls = [store.save([each]) for each in (good[0], bad[0], good[1], bad[1], bad[2], bad[3], good[2])]
    claim = store.claim("k", "print", 60)
    results = await asyncio.gather(*calls, claim, return_exceptions=True)
    assert [type(results[n]) for n in (1, 3)] == [Conflict, InvalidRequest]
    assert all(isinstance(results[n], Exception) for n in (4, 5))  # ours to mend, so not a caller's error
    assert [results[n] for n in (0, 2, 6, 7)] == [None] * 4
    assert [await store.get(each.id) for each in good] == good
    with pytest.raises(Conflict):  # the claim held, though its first transaction was undone
        await store.claim("k", "print", 60)


async def test_a_caller_who_left_does_not_hold_up_the_rest(store: Store) -> None:
    leaves, stays = draft(), draft()
    left = asyncio.create_task(store.save([leaves]))
    kept = asyncio.create_task(store.save([stays]))
    await asyncio.sleep(0)
    left.cancel()
    await kept
    assert await store.get(stays.id) == stays
    await store.save([draft()])


async def test_a_full_disk_is_storage_and_ends_with_room(url: str) -> None:
    engine = dialects.make_engine(url)
    await (await open_store(url)).close()
    limit = [1]

    def limit_pages(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit[0]}")

    sa.event.listen(engine.sync_engine, "begin", limit_pages)
    store = Store(engine)
    big = draft(payload={"text": "x" * 100_000})
    results = await asyncio.gather(store.save([big]), store.save([draft()]), return_exceptions=True)
    assert all(isinstance(result, StorageUnavailable) and "full" in result.detail for result in results)
    limit[0] = 1_000_000
    with pytest.raises(UnknownDraft):
        await store.get(big.id)
    await store.save([big])
    assert await store.get(big.id) == big
    await store.close()


async def test_a_locked_database_is_storage_and_ends_with_the_lock(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialects, "BUSY_SECONDS", 0.01)
    store = await open_store(url)
    other = dialects.for_writing(dialects.make_engine(url))
    async with other.begin() as connection:
        await connection.execute(sa.text("SELECT 1"))
        with pytest.raises(StorageUnavailable, match="locked") as caught:
            await store.save([draft()])
        assert caught.value.retryable
        await store.ping()  # reading goes on
    await store.save([draft()])
    await other.dispose()
    await store.close()


async def test_closing_writes_what_waits_and_takes_no_more(url: str) -> None:
    store = await open_store(url)
    stored = draft()
    saving = asyncio.create_task(store.save([stored]))
    await asyncio.sleep(0)
    await store.close()
    await saving
    with pytest.raises(StorageUnavailable, match="closed"):
        await store.save([draft()])
    again = await open_store(url)
    assert await again.get(stored.id) == stored
    await again.close()
