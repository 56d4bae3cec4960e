"""Admission at the door, and turns behind it.

A replica takes in a bounded number of items and bytes; beyond that a request is refused at once with `Overloaded` and an estimate of
when to come back. What is taken in is never dropped. Between those taken in, turns go round by fairness key, so that one request of
256 items does not keep a single image waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from candor.errors import Overloaded


class Admission:
    """Counts what a replica holds, waiting and running."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._since = time.monotonic()
        self._finished = 0
        self.items = 0
        self.bytes = 0

    @contextmanager
    def admit(self, items: int, size: int) -> Iterator[None]:
        """Hold room for a whole request.

        Raises:
            Overloaded: there is no room; `retry_after` estimates when there is.
        """
        if self.items and (self.items + items > self._max_items or self.bytes + size > self._max_bytes):
            raise Overloaded(
                f"{self.items} items are waiting or running here and {self._max_items} may; come back later or send fewer",
                retry_after=self._estimate(items),
            )
        if not self.items:
            self._since, self._finished = time.monotonic(), 0
        self.items += items
        self.bytes += size
        try:
            yield
        finally:
            self.items -= items
            self.bytes -= size
            self._finished += items

    def _estimate(self, items: int) -> float:
        """Seconds until `items` fit, at the pace since the replica was last idle; between 1 and 60."""
        pace = self._finished / max(time.monotonic() - self._since, 1e-3)
        excess = self.items + items - self._max_items
        return min(60.0, max(1.0, excess / pace)) if pace > 0 else 5.0


class FairGate:
    """A semaphore whose waiters take turns by key, in order of arrival within a key."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def acquire(self, key: str) -> None:
        """Wait for a slot; whoever gets one calls `release` once."""
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was given just as the caller left
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back, to whoever's turn it is."""
        self._free += 1
        self._wake()

    def _wake(self) -> None:
        while self._free > 0 and self._waiting:
            key, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[key] = turns  # to the back: the next turn is another key's
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
