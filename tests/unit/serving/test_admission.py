from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.errors import Overloaded
from serving.admission import Admission, FairGate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refused(door: Admission, items: int, team: str, size: int = 1) -> None:
    with pytest.raises(Overloaded) as error, door.admit(items, size, team):
        pass
    assert error.value.retry_after is not None
    assert 1 <= error.value.retry_after <= 60


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


def test_a_team_alone_may_fill_a_replica_and_makes_room_when_others_come() -> None:
    clock = Clock()
    door = Admission(8, 800, share=0.75, ticks=clock)
    with ExitStack() as many:
        first = [many.enter_context(ExitStack()) for _ in range(8)]
        for one in first:
            one.enter_context(door.admit(1, 1, "many"))
        refused(door, 1, "few")  # and so is expected back
        first.pop().close()
        refused(door, 1, "many")  # 7 of 8: room there is, but not for whoever holds more than its share
        with door.admit(1, 1, "few"):
            first.pop().close()
            refused(door, 1, "many")
            first.pop().close()
            with door.admit(1, 1, "many"):
                assert door.items == 7
        clock.now = 1_000.0
        for _ in range(3):
            many.enter_context(door.admit(1, 1, "many"))  # nobody else is there, and nobody came back
        assert door.items == 8


def test_a_team_that_holds_nothing_is_let_in_wherever_there_is_room() -> None:
    door = Admission(10, 1_000, share=0.2, ticks=Clock())
    with door.admit(1, 1, "a"), door.admit(9, 1, "b"):
        refused(door, 1, "a")
        assert door.items == 10


def test_shares_are_of_bytes_too() -> None:
    door = Admission(10, 1_000, share=0.5, ticks=Clock())
    with door.admit(1, 10, "a"), door.admit(1, 400, "b"):
        refused(door, 1, "b", 101)
        with door.admit(1, 100, "b"):
            assert door.bytes == 510


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6), st.integers(0, 3)), max_size=60))
def test_whatever_comes_and_goes_is_counted_to_nothing(moves: list[tuple[str, int, int]]) -> None:
    clock, inside = Clock(), list[ExitStack]()
    door = Admission(8, 100, share=0.5, ticks=clock)
    for team, items, leaving in moves:
        clock.now += 1
        for _ in range(min(leaving, len(inside))):
            inside.pop(0).close()
        stack = ExitStack()
        try:
            stack.enter_context(door.admit(items, items, team))
        except Overloaded:
            assert door.items  # an empty replica refuses nobody
        else:
            inside.append(stack)
        assert door.items <= 8
    for stack in inside:
        stack.close()
    assert (door.items, door.bytes) == (0, 0)
    with door.admit(8, 100, "d"):
        pass


async def test_turns_go_round_the_teams_and_then_round_their_requests() -> None:
    gate, order = FairGate(1), list[str]()
    await gate.acquire("busy/0")

    async def one(key: str) -> None:
        await gate.acquire(key)
        order.append(key)
        gate.release()

    keys = ["a/1", "a/1", "a/2", "a/3", "b/1", "b/1", "c"]
    waiting = [asyncio.create_task(one(key)) for key in keys]
    await asyncio.sleep(0)
    gate.release()
    await asyncio.gather(*waiting)
    assert order == ["a/1", "b/1", "c", "a/2", "b/1", "a/3", "a/1"]


async def test_those_who_left_cost_their_team_no_turn() -> None:
    gate, order = FairGate(1), list[str]()
    await gate.acquire("busy/0")

    async def one(key: str) -> None:
        await gate.acquire(key)
        order.append(key)
        gate.release()

    leave = [asyncio.create_task(one("a/1")) for _ in range(3)]
    waiting = [asyncio.create_task(one(key)) for key in ("a/2", "b/1", "b/2")]
    await asyncio.sleep(0)
    for task in leave:
        task.cancel()
    await asyncio.sleep(0)
    gate.release()
    await asyncio.gather(*waiting)
    assert order == ["a/2", "b/1", "b/2"]


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from(["a/1", "a/2", "b/1", "b/2", "c/1"])),
        st.tuples(st.just("go"), st.integers(0, 20)),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.just("pause"), st.just(0)),
    ),
    max_size=60,
)


@given(_steps, st.integers(1, 3))
def test_no_slot_is_lost_whoever_is_cancelled_when(steps: list[tuple[str, Any]], slots: int) -> None:
    async def run() -> None:
        gate, running, free = FairGate(slots), list[asyncio.Task[None]](), list[asyncio.Event]()
        inside = 0

        async def one(key: str, leave: asyncio.Event) -> None:
            nonlocal inside
            await gate.acquire(key)
            inside += 1
            assert inside <= slots
            try:
                await leave.wait()
            finally:
                inside -= 1
                gate.release()

        for kind, value in steps:
            if kind == "come":
                free.append(asyncio.Event())
                running.append(asyncio.create_task(one(value, free[-1])))
            elif kind == "go" and free:
                free[value % len(free)].set()
            elif kind == "leave" and running:
                running[value % len(running)].cancel()
            else:
                await asyncio.sleep(0)
        for event in free:
            event.set()
        ended = await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 5)  # nobody starves
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ended)
        for _ in range(slots):  # all slots are there again
            await asyncio.wait_for(gate.acquire("z/1"), 1)

    asyncio.run(run())


@given(st.lists(st.sampled_from(["a/1", "a/2", "a/3", "b/1", "c/1"]), min_size=1, max_size=40))
def test_nobody_waits_longer_than_a_round_of_the_teams_before_it(keys: list[str]) -> None:
    async def run() -> list[str]:
        gate, order = FairGate(1), list[str]()
        await gate.acquire("busy/0")

        async def one(key: str) -> None:
            await gate.acquire(key)
            order.append(key)
            gate.release()

        waiting = [asyncio.create_task(one(key)) for key in keys]
        await asyncio.sleep(0)
        gate.release()
        await asyncio.gather(*waiting)
        return order

    order = asyncio.run(run())
    assert sorted(order) == sorted(keys)
    left = Counter(key[0] for key in keys)
    for place, key in enumerate(order):
        waits = [team for team in left if left[team] and team != key[0]]
        left[key[0]] -= 1
        for team in waits:  # a team that waits comes within as many turns as there are teams
            assert team in [one[0] for one in order[place : place + len(waits) + 1]]
