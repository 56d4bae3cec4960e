from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.errors import StorageUnavailable, Unauthenticated
from serving.access import KNOWN_SECONDS, Access, Principal, credentials_in
from store.teams import ApiKey, Found, secret_hash

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID, SECRET = "01J00000000000000000000000", "s" * 43
TEXT = f"cdr_{ID}_{SECRET}"


class Keys:
    """Stands for the store."""

    def __init__(self, **changes: Any) -> None:
        values = {"scopes": ("draft",), "created_by": "operator", "created_at": NOW, "expires_at": None, "revoked_at": None, **changes}
        self.found: Found | None = Found(ApiKey(f"key_{ID}", "streets", "mine", **values), secret_hash(SECRET), {"items_per_minute": 9})
        self.asked: list[str] = []
        self.failing = False

    async def find(self, key_id: str) -> Found | None:
        self.asked.append(key_id)
        await asyncio.sleep(0)
        if self.failing:
            raise StorageUnavailable("gone")
        return self.found if key_id == f"key_{ID}" else None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def access(keys: Keys, ticks: Clock | None = None, now: datetime = NOW) -> Access:
    return Access(keys, lambda: now, ticks or Clock())  # type: ignore[arg-type]


async def refused(door: Access, *credentials: str) -> str:
    with pytest.raises(Unauthenticated) as error:
        await door.principal(credentials)
    return error.value.detail


async def test_a_key_tells_who_asks() -> None:
    assert await access(Keys()).principal([TEXT]) == Principal("streets", f"key_{ID}", frozenset({"draft"}), {"items_per_minute": 9})


async def test_whatever_is_wrong_is_answered_alike_after_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    compare = hmac.compare_digest

    def spy(one: str, other: str) -> bool:
        compared.append(len(one) + len(other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    wrong: list[tuple[Keys, Sequence[str]]] = [
        (Keys(), ()),
        (Keys(), ("",)),
        (Keys(), ("garbage",)),
        (Keys(), ("x" * 10_240,)),
        (Keys(), (f"{TEXT}é",)),
        (Keys(), (f"{TEXT}\n",)),
        (Keys(), (TEXT, TEXT)),
        (Keys(), (f"cdr_{ID[::-1]}_{SECRET}",)),
        (Keys(), (f"cdr_{ID}_{'t' * 43}",)),
        (Keys(revoked_at=NOW), (TEXT,)),
        (Keys(expires_at=NOW), (TEXT,)),
        (Keys(expires_at=NOW - timedelta(seconds=1)), (TEXT,)),
    ]
    details = set()
    for keys, credentials in wrong:
        details.add(await refused(access(keys), *credentials))
        assert len(keys.asked) == 1
    assert len(details) == 1
    assert compared == [128] * len(wrong)
    assert (await access(Keys(expires_at=NOW + timedelta(seconds=1))).principal([TEXT])).team == "streets"


async def test_a_revocation_holds_within_two_seconds() -> None:
    keys, ticks = Keys(), Clock()
    door = access(keys, ticks)
    await door.principal([TEXT])
    keys.found = None
    ticks.now = KNOWN_SECONDS - 0.01
    await door.principal([TEXT])
    assert len(keys.asked) == 1
    ticks.now = KNOWN_SECONDS
    await refused(door, TEXT)
    keys.found = Keys().found
    await refused(door, TEXT)  # what is not there is remembered too
    door.forget()
    await door.principal([TEXT])


async def test_a_key_that_many_send_at_once_is_looked_up_once_and_nobody_leaves_with_the_answer() -> None:
    keys = Keys()
    door = access(keys)
    first = asyncio.create_task(door.principal([TEXT]))
    others = [asyncio.create_task(door.principal([TEXT])) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    assert {one.team for one in await asyncio.gather(*others)} == {"streets"}
    assert len(keys.asked) == 1


async def test_without_a_database_nobody_gets_in_and_it_heals() -> None:
    keys = Keys()
    door = access(keys)
    keys.failing = True
    with pytest.raises(StorageUnavailable):
        await door.principal([TEXT])
    keys.failing = False
    await door.principal([TEXT])


async def test_what_changes_while_it_is_looked_up_is_not_believed() -> None:
    keys = Keys()
    door = access(keys)
    asking = asyncio.create_task(door.principal([TEXT]))
    await asyncio.sleep(0)
    door.forget()
    await asking
    await door.principal([TEXT])
    assert len(keys.asked) == 2


@given(st.text(), st.text())
def test_any_header_is_a_key_or_none(one: str, other: str) -> None:
    assert credentials_in([f"Bearer {TEXT}"], []) == credentials_in([], [TEXT]) == credentials_in([f"bEARER  {TEXT}"], []) == [TEXT]
    found = credentials_in([one], [other])
    assert len(found) == 2  # two are never right
