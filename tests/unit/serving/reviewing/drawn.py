"""Stored drafts under each arm, as drafting would have stored them, and reviews of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from candor.drafts import Draft
from candor.ids import new_id
from candor.manifest import Manifest
from store import Store
from store.draws import DrawRow
from store.tables import draws
from tests.unit.serving.calibrations.drafted import image_draft

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def drafted(manifest: Manifest, item: str, project: str, logit: float = 1.5, **changes: Any) -> Draft:
    """A draft of an image that says `cat`; with a log-odds below 0 too."""
    made = image_draft(manifest, item, logit, 0.8)
    labels = [{"id": f"{made.id}.{place}", **label} for place, label in enumerate(made.payload["labels"])]
    return replace(made, project=project, payload={**made.payload, "labels": labels}, **changes)


def drew(shown: Draft, arm: str = "assisted", natural: Draft | None = None, **changes: Any) -> DrawRow:
    planted = {"kind": "class_swap", "label": None, "shown": {"label": "cat"}, "truth": {"label": "dog"}, "at": None, "natural": False}
    values: dict[str, Any] = {
        "id": new_id("drw"),
        "team": shown.team,
        "project": shown.project,
        "item": shown.item,
        "reviewer": "",
        "epoch": "1",
        "arm": arm,
        "propensity": {"withheld": 0.1, "honeypot": 0.02}.get(arm, 0.88),
        "rates": {},
        "draft": shown.id,
        "natural": (natural or shown).id,
        "planted": planted if arm == "honeypot" else None,
        "gold": arm == "honeypot",
        "at": START,
    }
    return DrawRow(**{**values, **changes})


async def save(store: Store, *rows: Draft | DrawRow) -> None:
    drafts = [row for row in rows if isinstance(row, Draft)]
    arms = {row.draft: row.arm for row in rows if isinstance(row, DrawRow)}
    await store.save([replace(one, arm=arms.get(one.id, "assisted")) for one in drafts])
    for row in rows:
        if isinstance(row, DrawRow):
            await store.execute(sa.insert(draws).values(asdict(row)))


def reviewed(draft: Draft | str, label: str | None = "cat", event: str | None = None, minute: float = 0, **changes: Any) -> dict[str, Any]:
    """An entry of `POST /v1/reviews`."""
    name = draft if isinstance(draft, str) else draft.id
    entry = {
        "event_id": event or f"evt-{name}",
        "draft": name,
        "reviewer": "ann",
        "seconds": 2.5,
        "finished_at": (START + timedelta(minutes=minute)).isoformat(),
        "labels": [] if label is None else [{"label": label}],
        **changes,
    }
    return {field: value for field, value in entry.items() if value is not ...}
