"""What is PostgreSQL's own: several writers at once, waiting that ends, and a server that goes and comes back."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import Conflict, InvalidRequest, StorageUnavailable
from store import Store, dialects, migrate, open_store
from store.calibrations import Calibrations
from store.jobs import Jobs
from store.outcomes import Outcomes
from store.store import _newest
from store.tables import idempotency
from tests.postgres import remove, run, start, stop
from tests.unit.store.drafts import draft, sha
from tests.unit.store.test_outcomes import of

VERSION = "namer@sha256:" + "1" * 64


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
async def stores(url: str) -> AsyncIterator[list[Store]]:
    """Four stores over one database: each has connections of its own, as a process has."""
    opened = [await open_store(url, migrate=False) for _ in range(4)]
    yield opened
    for store in opened:
        await store.close()


async def test_one_job_of_a_kind_is_claimed(stores: list[Store]) -> None:
    jobs = [Jobs(store) for store in stores]
    for _ in range(15):
        fits = [await jobs[0].add("fit", {}) for _ in jobs]
        validation = await jobs[0].add("validation", {})
        assert sum(await asyncio.gather(*(of_process.claim(job.id) for of_process, job in zip(jobs, fits, strict=True)))) == 1
        assert sum(await asyncio.gather(*(of_process.claim(validation.id) for of_process in jobs))) == 1
        assert sorted(job.kind for job in await jobs[0].running()) == ["fit", "validation"]
        for job in (*fits, validation):
            await jobs[0].cancel(job.id)


async def test_one_alarm_is_raised(stores: list[Store]) -> None:
    for number in range(15):
        raised = await asyncio.gather(*(Calibrations(store).raise_alarm(VERSION, f"cal_{number}", {}) for store in stores))
        assert len([event for event in raised if event is not None]) == 1
    assert len(await Calibrations(stores[0]).events(VERSION)) == 15


async def test_one_rollback_is_done(stores: list[Store]) -> None:
    kept = Calibrations(stores[0])
    for number in range(20):
        await kept.record_event(VERSION, f"cal_{number}", "promoted", {})
    for number in range(19, 9, -1):
        back = (Calibrations(store).roll_back(VERSION, {}, from_calibration=f"cal_{number}") for store in stores)
        done = await asyncio.gather(*back, return_exceptions=True)
        assert [one.calibration for one in done if not isinstance(one, BaseException)] == [f"cal_{number - 1}"]


async def test_an_event_that_two_are_told_of_is_stored_once(stores: list[Store]) -> None:
    for number in range(15):
        right, wrong = of(f"drf_{number}", True, False), of(f"drf_{number}", True, True, True)
        told = [right, right, right, wrong]
        answers = await asyncio.gather(*(Outcomes(store).add([group]) for store, group in zip(stores, told, strict=True)))
        said = sorted(answer for (answer,) in answers)
        assert said in (["already", "already", "conflict", "stored"], ["conflict", "conflict", "conflict", "stored"])


async def test_a_key_is_claimed_once_and_claimed_again_when_it_is_free(stores: list[Store]) -> None:
    async def claim(store: Store, key: str) -> bool:
        try:
            return await store.claim(key, "print", 60) is None
        except Conflict:
            return False

    for number in range(15):
        assert sum(await asyncio.gather(*(claim(store, f"k{number}") for store in stores))) == 1
        releasing, *claims = await asyncio.gather(stores[0].release(f"k{number}"), *(claim(store, f"k{number}") for store in stores[1:]))
        assert releasing is None
        assert claims.count(True) <= 1


async def test_a_claim_meets_a_release(stores: list[Store]) -> None:
    """A claim waits for a release that is not committed yet, and then the key is ours."""
    first, second = stores[:2]
    await first.claim("k", "print", 60)
    began, free = asyncio.Event(), asyncio.Event()

    async def release_slowly(connection: AsyncConnection) -> None:
        await connection.execute(sa.delete(idempotency).where(idempotency.c.key == "k"))
        began.set()
        await free.wait()

    releasing = asyncio.create_task(first.run(release_slowly))
    await began.wait()
    claiming = asyncio.create_task(second.claim("k", "print", 60))
    await asyncio.sleep(0.2)
    assert not claiming.done()
    free.set()
    await releasing
    assert await claiming is None


async def test_a_deadlock_is_taken_again(stores: list[Store]) -> None:
    for key in "ab":
        await stores[0].claim(key, "print", 60)
    both = asyncio.Barrier(2)
    turns: list[str] = []

    async def crosswise(store: Store, keys: str) -> None:
        async def work(connection: AsyncConnection) -> None:
            turns.append(keys)
            for key in keys:
                await connection.execute(sa.update(idempotency).where(idempotency.c.key == key).values(status=200))
                if len(turns) <= 2 and key == keys[0]:
                    await both.wait()

        await store.run(work)

    await asyncio.gather(crosswise(stores[0], "ab"), crosswise(stores[1], "ba"))
    assert len(turns) == 3


async def test_what_waits_for_a_lock_gives_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialects, "BUSY_SECONDS", 0.1)
    store = await open_store(url, migrate=False)
    other = dialects.make_engine(url)
    async with other.begin() as connection:
        await connection.execute(sa.text("LOCK TABLE drafts IN SHARE MODE"))
        with pytest.raises(StorageUnavailable) as caught:
            await store.save([draft()])
        assert caught.value.retryable
        await store.ping()  # reading goes on
    await store.save([draft()])
    await other.dispose()
    await store.close()


async def test_a_migration_waits_for_another_process(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dialects.make_engine(url)
    async with other.begin() as connection:
        await connection.run_sync(dialects.lock_schema)
        monkeypatch.setattr(dialects, "BUSY_SECONDS", 0.1)
        with pytest.raises(StorageUnavailable, match="lock timeout"):
            await asyncio.to_thread(migrate, url)
    await asyncio.to_thread(migrate, url)
    await other.dispose()


async def test_a_statement_that_takes_too_long_is_ended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialects, "_STATEMENT_SECONDS", 0.1)
    store = await open_store(url, migrate=False)
    with pytest.raises(StorageUnavailable):
        await store.read(sa.text("SELECT pg_sleep(10)"))
    await store.ping()
    await store.close()


async def test_more_readers_than_connections_take_turns(url: str) -> None:
    store = await open_store(f"{url}?pool_size=1", migrate=False)
    await asyncio.gather(*(store.read(sa.text("SELECT pg_sleep(0.01)")) for _ in range(20)))
    assert (
        len(await store.read(sa.text("SELECT 1 FROM pg_stat_activity WHERE application_name = 'candor' AND datname = current_database()")))
        <= 2
    )
    await store.close()


@pytest.mark.parametrize("text", ["\ud800", "a\x00b"])
async def test_a_text_that_cannot_be_stored_is_the_callers(stores: list[Store], text: str) -> None:
    with pytest.raises(InvalidRequest, match="character"):
        await stores[0].save([draft(item=text)])
    kept = draft(payload={"text": text})  # JSON has a way to write it
    await stores[0].save([kept])
    assert await stores[1].get(kept.id) == kept


async def test_find_walks_the_index(stores: list[Store], url: str) -> None:
    now = datetime.now(UTC)
    await stores[0].save([draft(media_sha256=sha(str(n % 50)), created_at=now + timedelta(seconds=n)) for n in range(5_000)])
    run(url, "ANALYZE drafts")
    engine = dialects.make_engine(url)
    values: dict[str, Any] = {"team": "default", "model_version": "yolo@1a2b", "calibration": "cal_1", "sha_0": sha("1"), "sha_1": sha("2")}
    query = str(_newest(2, True).params(values).compile(engine.sync_engine, compile_kwargs={"literal_binds": True}))
    await engine.dispose()
    plan = [str(step) for (step,) in run(url, "EXPLAIN " + query)[0]]
    assert sum("ix_drafts_find" in step for step in plan) == 2, plan
    assert not any("Sort" in step for step in plan), plan


@pytest.fixture
def server() -> Iterator[Path]:
    """The folder of a server that may be stopped."""
    folder = Path(tempfile.mkdtemp(prefix="candor-postgres-"))
    yield folder
    remove(folder)


async def test_a_server_that_goes_is_storage_and_comes_back(server: Path) -> None:
    url = await asyncio.to_thread(start, server)
    store = await open_store(url)
    before = [draft() for _ in range(8)]
    await asyncio.gather(*(store.save([one]) for one in before), *(store.ping() for _ in before))  # so that many connections are open
    await asyncio.to_thread(stop, server)
    answers = await asyncio.gather(
        *(store.save([draft()]) for _ in range(8)), store.ping(), store.claim("k", "p", 60), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {StorageUnavailable}
    assert all(answer.retry_after for answer in answers if isinstance(answer, StorageUnavailable))
    with pytest.raises(StorageUnavailable):
        await open_store(url)
    assert await asyncio.to_thread(start, server) == url
    after = [draft() for _ in range(8)]
    await asyncio.gather(*(store.save([one]) for one in after))
    assert [await store.get(one.id) for one in before + after] == before + after
    await store.close()


async def test_connections_that_the_server_ended_are_not_noticed(url: str) -> None:
    store = await open_store(url, migrate=False)
    await store.save([draft()])
    run(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    await store.save([draft()])
    await store.ping()
    await store.close()
