"""When and for how long to wait before a request is tried again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST_ASKED = 120.0  # seconds; a server that asks for more is not waited for that long


@dataclass(frozen=True, slots=True)
class Retries:
    """Exponential back-off with jitter: `first`, twice that, and so on up to `longest` seconds, each shortened by up to a half.

    `attempts` counts the first try too.
    """

    attempts: int = 6
    first: float = 0.5
    longest: float = 20.0
    draw: Callable[[], float] = random.random

    def pause(self, failures: int, asked: float | None = None) -> float:
        """Return the seconds to wait after so many failures. What the server asked for (Retry-After) is never undercut."""
        backoff: float = min(self.longest, self.first * 2 ** (failures - 1))
        wait = backoff * (1 - self.draw() / 2)
        if asked is None:
            return wait
        # a little later than asked, each client at its own time: else all that were refused at once come back at once
        return max(wait, min(asked, _LONGEST_ASKED) + self.draw() * backoff / 2)


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, given as a number or as a date; None where it is absent or unreadable."""
    if not header:
        return None
    with suppress(ValueError):
        seconds = float(header)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
