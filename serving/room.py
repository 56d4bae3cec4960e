"""Room for what is fetched: how many bytes nobody knows before it is there."""

from __future__ import annotations

import asyncio
from collections import deque

_AT_ONCE = 32  # fetches that an empty room starts at once


class Room:
    """Bytes of fetched items that one drafter holds. A fetch begins with a share of the room, then holds what it got.

    What it got may be more: the room is then overdrawn, by at most the fetches that had begun, and the next ones wait. In order.
    """

    def __init__(self, size: int) -> None:
        self._share = max(1, size // _AT_ONCE)
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, most: int) -> int:
        """Wait for a share of the room, at most `most` bytes, and return how many are held."""
        share = min(self._share, most)
        if self._waiting or share > self._free:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((share, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # room was made just as the caller left
                    self.change(-share)
                raise
        else:
            self._free -= share
        return share

    def change(self, more: int) -> int:
        """Hold so many bytes more, or fewer where that is negative, and return it."""
        self._free -= more
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            share, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= share
                turn.set_result(None)
        return more
