"""Reviews in a store, with the gold items, draws and drafts that they are about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from candor.ids import new_id
from store import Store
from store.audit import Actor
from store.draws import DrawRow, Draws
from store.gold import Gold
from store.reviews import ReviewRow, Reviews
from tests.unit.store.drafts import draft

NOW = datetime.now(UTC)
LEAD = Actor("red", "key_1", "req_1")
OF = ("red", "street")


async def reviewed(store: Store, *caught: str | None, reviewer: str = "sam", start: int = 0, **changes: Any) -> list[ReviewRow]:
    """Store items with their gold, draws and reviews, a minute apart: honeypots by what became of them, others where it is None."""
    names = [f"{reviewer}{start + at}" for at in range(len(caught))]
    await Gold(store).put(LEAD, "street", {name: {"label": "cat"} for name in names})
    shown, draws, rows = [], [], []
    for at, (name, what) in enumerate(zip(names, caught, strict=True)):
        own = draft(item=name, task="classification", team="red", project="street", payload={"labels": [{"id": "x.0", "label": "cat"}]})
        arm = "assisted" if what is None else "honeypot"
        other = draft(item=name, task="classification", team="red", project="street", arm=arm)
        shown += [own, other]
        rates = {"withheld": 0.1, "honeypot": 0.02}
        planted = {"kind": "class_swap", "shown": {"label": "dog"}, "truth": {"label": "cat"}}
        draws.append(
            DrawRow(new_id("drw"), *OF, name, reviewer, "1", arm, 0.5, rates, other.id, own.id, planted, gold=True, at=datetime.now(UTC))
        )
        verdict = "accepted" if what in (None, "missed") else "corrected"
        at_minute = {"finished_at": NOW + timedelta(minutes=start + at)}
        told = {"arm": arm, "verdict": verdict, "caught": what, "final": {"label": "cat"}, "seconds": 5.0, **at_minute, **changes}
        rows.append(ReviewRow(*OF, f"e-{name}", other.id, name, reviewer, fingerprint=new_id("f"), **told))
    await Draws(store).add(draws, shown)
    await Reviews(store).add(rows)
    return rows
