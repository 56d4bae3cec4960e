from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.errors import Overloaded
from serving.admission import Admission, FairGate


def test_over_the_limit_is_refused_with_a_time_to_come_back() -> None:
    door = Admission(max_items=3, max_bytes=100)
    with door.admit(2, 10):
        with pytest.raises(Overloaded) as refused, door.admit(2, 10):
            pass
        assert refused.value.retry_after is not None
        assert 1 <= refused.value.retry_after <= 60
        with pytest.raises(Overloaded), door.admit(1, 95):
            pass
        with door.admit(1, 10):
            assert (door.items, door.bytes) == (3, 20)
    assert (door.items, door.bytes) == (0, 0)


def test_an_idle_replica_takes_even_a_request_beyond_its_bytes() -> None:
    with Admission(max_items=3, max_bytes=10).admit(1, 1_000):
        pass


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 4))
def test_gate_never_exceeds_its_slots_and_serves_everyone(keys: list[str], slots: int) -> None:
    async def run() -> int:
        gate, inside, most = FairGate(slots), 0, 0

        async def one(key: str) -> None:
            nonlocal inside, most
            await gate.acquire(key)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            gate.release()

        await asyncio.gather(*(one(key) for key in keys))
        return most

    assert asyncio.run(run()) <= slots


async def test_turns_go_round_by_key() -> None:
    gate, order = FairGate(1), list[str]()

    async def one(key: str) -> None:
        await gate.acquire(key)
        order.append(key)
        await asyncio.sleep(0)
        gate.release()

    await asyncio.gather(*(one(key) for key in ["bulk"] * 5 + ["single"]))
    assert order.index("single") <= 2  # it does not wait behind the whole of the bulk


async def test_a_cancelled_waiter_gives_its_slot_on() -> None:
    gate = FairGate(1)
    await gate.acquire("a")
    leaves, stays = asyncio.create_task(gate.acquire("b")), asyncio.create_task(gate.acquire("c"))
    await asyncio.sleep(0)
    gate.release()  # given to b, who is cancelled before it can take it
    leaves.cancel()
    async with asyncio.timeout(1):
        await stays
