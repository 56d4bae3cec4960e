"""Admission at the door, and turns behind it.

A replica takes in a bounded number of items and bytes; beyond that a request is refused at once with `Overloaded` and an estimate of
when to come back. What is taken in is never dropped. Between those taken in, turns go round the teams, and within a team round its
requests, so that one request of 256 items does not keep a single image waiting, and a hundred requests of one team not another team.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from candor.errors import Overloaded

_LATE = 5.0  # seconds by which a team that was told when to come back may be late


@dataclass(slots=True)
class _Held:
    items: int = 0
    bytes: int = 0
    requests: int = 0


class Admission:
    """Counts what a replica holds, waiting and running, of each team.

    A team that is alone may fill the replica. While another one has something in it, or was refused and is expected back, a team may
    hold at most `share` of its items and bytes; but one that holds nothing is let in wherever there is room.
    """

    def __init__(self, max_items: int, max_bytes: int, share: float = 1.0, ticks: Callable[[], float] = time.monotonic) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._share = share
        self._ticks = ticks
        self._since = ticks()
        self._finished = 0
        self._held: dict[str, _Held] = {}
        self._expected: dict[str, float] = {}  # teams that were refused, and until when they are looked out for
        self.items = 0
        self.bytes = 0

    @contextmanager
    def admit(self, items: int, size: int, team: str = "") -> Iterator[None]:
        """Hold room for a whole request.

        Raises:
            Overloaded: there is no room; `retry_after` estimates when there is.
        """
        if refused := self._refusal(items, size, team):
            reason, excess = refused
            retry_after = self._estimate(excess)
            self._expected[team] = self._ticks() + retry_after + _LATE
            raise Overloaded(f"{reason}; come back later or send fewer", retry_after=retry_after)
        self._expected.pop(team, None)
        if not self.items:
            self._since, self._finished = self._ticks(), 0
        self._hold(team, items, size, 1)
        try:
            yield
        finally:
            self._hold(team, -items, -size, -1)
            self._finished += items

    def _refusal(self, items: int, size: int, team: str) -> tuple[str, float] | None:
        """Why a request is not let in, and how many items are too many; None where it is."""
        if self.items and (self.items + items > self._max_items or self.bytes + size > self._max_bytes):
            return f"{self.items} items are waiting or running here and {self._max_items} may", self.items + items - self._max_items
        own = self._held.get(team)
        if own is None or not self._others(team):
            return None
        most = self._max_items * self._share
        if own.items + items > most or own.bytes + size > self._max_bytes * self._share:
            return f"{own.items} items of your team are waiting or running here, and other teams want their turn", own.items + items - most
        return None

    def _others(self, team: str) -> bool:
        now = self._ticks()
        for late in [one for one, until in self._expected.items() if until <= now]:
            del self._expected[late]
        return any(one != team for one in (*self._held, *self._expected))

    def _hold(self, team: str, items: int, size: int, requests: int) -> None:
        own = self._held.setdefault(team, _Held())
        own.items += items
        own.bytes += size
        own.requests += requests
        if not own.requests:
            del self._held[team]
        self.items += items
        self.bytes += size

    def _estimate(self, excess: float) -> float:
        """Seconds until so many items are done, at the pace since the replica was last idle; between 1 and 60."""
        pace = self._finished / max(self._ticks() - self._since, 1e-3)
        return min(60.0, max(1.0, excess / pace)) if pace > 0 else 5.0


class FairGate:
    """A semaphore whose waiters take turns: the teams by turns, within a team its requests, within a request in order of arrival.

    A key is `team/request`, or the team alone.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: OrderedDict[str, OrderedDict[str, deque[asyncio.Future[None]]]] = OrderedDict()

    async def acquire(self, key: str) -> None:
        """Wait for a slot; whoever gets one calls `release` once."""
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        team, _, request = key.partition("/")
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(team, OrderedDict()).setdefault(request, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was given just as the caller left
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back, to whoever's turn it is."""
        self._free += 1
        while self._free > 0 and (turn := self._next()) is not None:
            self._free -= 1
            turn.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        """Take the next turn out of the queue. Those who have left are passed over, and cost their team nothing."""
        while self._waiting:
            team, requests = next(iter(self._waiting.items()))
            request, turns = next(iter(requests.items()))
            turn = turns.popleft()
            if not turns:
                del requests[request]
            if not requests:
                del self._waiting[team]
            if turn.done():
                continue
            if turns:
                requests.move_to_end(request)
            if requests:
                self._waiting.move_to_end(team)
            return turn
        return None
