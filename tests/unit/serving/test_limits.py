from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from candor.errors import QuotaExceeded, RateLimited
from serving.access import Principal
from serving.config import TeamLimits
from serving.limits import Rates, reserve, within_quota
from store.teams import Teams


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def configured(**limits: int) -> TeamLimits:
    return TeamLimits.model_validate(limits)


def principal(team: str = "streets", **limits: int) -> Principal:
    return Principal(team, "key_1", frozenset({"draft"}), limits)


def refused(rates: Rates, who: Principal, items: int) -> float:
    with pytest.raises(RateLimited) as error:
        rates.take(who, items)
    assert error.value.retry_after is not None
    return error.value.retry_after


def test_a_team_has_its_items_a_minute_and_is_told_when_to_come_back() -> None:
    clock = Clock()
    rates, who = Rates(configured(items_per_minute=60), clock), principal()
    rates.take(who, 40)
    rates.take(who, 20)
    assert refused(rates, who, 10) == pytest.approx(10)
    rates.take(principal("others"), 60)  # each has its own
    clock.now = 9.9
    assert refused(rates, who, 10) == pytest.approx(0.1)
    clock.now = 10.0
    rates.take(who, 10)
    clock.now = 10_000.0
    rates.take(who, 60)
    assert refused(rates, who, 1) == pytest.approx(1)  # what was not used is not saved up beyond a minute


def test_a_request_for_more_than_a_minute_passes_once_and_is_paid_for() -> None:
    clock = Clock()
    rates, who = Rates(configured(), clock), principal(items_per_minute=10)
    rates.take(who, 30)
    assert refused(rates, who, 1) == pytest.approx(126)
    clock.now = 126.0
    rates.take(who, 1)


def test_without_a_limit_nothing_is_refused() -> None:
    rates = Rates(configured())
    for _ in range(100):
        rates.take(principal(), 10**6)


class FakeStore:
    """Stands for a store that a key of its own belongs to."""


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    found = {"streets": 0}

    async def stored_bytes(_self: Teams, team: str) -> int:
        return found[team]

    monkeypatch.setattr(Teams, "stored_bytes", stored_bytes)
    return found


async def passed(stored: dict[str, int], chunks: list[bytes], meanwhile: int = 0, store: Any = None, **limits: int) -> bytes:
    async def data() -> AsyncIterator[bytes]:
        for chunk in chunks:
            await asyncio.sleep(0)
            yield chunk
        stored["streets"] += meanwhile

    where: Any = store or FakeStore()
    who = Principal("streets", "key_1", frozenset(), limits)
    bounded = within_quota(data(), where, who, configured(storage_bytes=100))
    return b"".join([chunk async for chunk in bounded])


async def test_what_a_team_stores_stays_within_its_quota(stored: dict[str, int]) -> None:
    assert await passed(stored, [b"a" * 60, b"b" * 40]) == b"a" * 60 + b"b" * 40
    with pytest.raises(QuotaExceeded):
        await passed(stored, [b"a" * 60, b"b" * 41])
    with pytest.raises(QuotaExceeded):
        await passed(stored, [b"a" * 60], meanwhile=41)  # another upload was faster
    assert await passed(stored, [b"a" * 70], storage_bytes=200) == b"a" * 70
    stored["streets"] = 100
    with pytest.raises(QuotaExceeded):
        await passed(stored, [])


async def test_what_comes_in_at_once_counts_though_no_row_is_there_yet(stored: dict[str, int]) -> None:
    store: Any = FakeStore()
    ended = await asyncio.gather(*(passed(stored, [b"a" * 15, b"b" * 15], store=store) for _ in range(9)), return_exceptions=True)
    assert sum(isinstance(one, bytes) for one in ended) <= 3
    assert all(isinstance(one, bytes | QuotaExceeded) for one in ended)
    with pytest.raises(QuotaExceeded):
        await reserve(store, principal(), configured(storage_bytes=100), 101)
    fresh: Any = FakeStore()
    await reserve(fresh, principal(), configured(storage_bytes=100), 60)
    with pytest.raises(QuotaExceeded):
        await reserve(fresh, principal(), configured(storage_bytes=100), 60)
    stored["streets"] = 60  # its row is there: it does not count twice
    assert await passed(stored, [b"a" * 40], store=fresh) == b"a" * 40
    await reserve(fresh, principal(), configured(), 10**12)
