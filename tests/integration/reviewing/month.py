"""A month of work of simulated people: what they are asked, what they answer, and the platform that keeps its own record of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

LABELS = ["cat", "dog", "cow", "hen"]
DAYS, PER_DAY = 16, 8
WRONG = 0.15  # of the model's drafts
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS + 2)


@dataclass(frozen=True)
class Person:
    """How somebody works: the share of wrong drafts that they put right, and of right ones that they spoil, by day."""

    name: str
    catch: Callable[[int], float]
    spoil: float = 0.01


PEOPLE = (
    *(Person(f"honest-{number}", lambda _: 0.96) for number in range(8)),
    Person("stamper", lambda _: 0.03),
    Person("from-mid-month", lambda day: 0.96 if day < DAYS // 2 - 2 else 0.02),
    Person("weak", lambda _: 0.86),
    Person("over-corrector", lambda _: 1.0, spoil=0.25),
)


def top_label(item: str) -> str:
    """What the fake model says first of an item whose bytes are its id."""
    seed = int.from_bytes(hashlib.sha256(item.encode()).digest()[:4], "big")
    return LABELS[int(np.argmax(np.random.default_rng(seed).normal(size=len(LABELS))))]


def truth_of(item: str) -> str:
    """What is right for an item: mostly what the model says."""
    rng = np.random.default_rng(list(item.encode()))
    said = top_label(item)
    return said if rng.random() >= WRONG else str(rng.choice([label for label in LABELS if label != said]))


def items_of(person: Person, day: int) -> list[str]:
    """What somebody does on a day."""
    return [f"{person.name}-{day}-{number}" for number in range(PER_DAY)]


@dataclass
class Platform:
    """Where people work: it keeps what they did, and tells of it as often as it likes."""

    events: dict[str, dict[str, Any]] = field(default_factory=dict)

    def work(self, person: Person, day: int, drafts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Let somebody do a day's items, and return the events of it."""
        rng = np.random.default_rng([day, *person.name.encode()])
        done = []
        for number, draft in enumerate(drafts):
            shown = draft["labels"][0]["label"] if draft["labels"] else None
            at = START + timedelta(days=day, minutes=10 * number)
            event = {
                "event_id": f"ev-{draft['item']}",
                "draft": draft["id"],
                "reviewer": person.name,
                "seconds": float((10 if shown is None else 6) * rng.lognormal(0, 0.3)),
                "finished_at": at.isoformat(),
                "guideline_version": "1" if day < DAYS // 2 else "2",
                "labels": [{"label": _label(person, day, shown, truth_of(draft["item"]), rng)}],
            }
            done.append(event)
            self.events[event["event_id"]] = event
        return done


def _label(person: Person, day: int, shown: str | None, truth: str, rng: np.random.Generator) -> str:
    other = str(rng.choice([label for label in LABELS if label != truth]))
    if shown is None:
        return other if rng.random() < 0.03 else truth
    if shown == truth:
        return other if rng.random() < person.spoil else truth
    return truth if rng.random() < person.catch(day) else shown
