"""Reviews with all that is known about their items: what the figures of reviewers, the effect of drafts and the alarms stand on.

Nothing is kept besides the rows of drafts, draws, gold items and reviews: read again, they give the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from candor.predictions import Task
from store.reviews import Reviews
from store.store import Store
from store.tables import drafts, draws, gold, reviews

Known = Literal["everything", "without labels"]


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """The newest revision of one review that was not taken back, with its draw, the model's own draft, and the gold label as it is now.

    `natural` is the payload of the model's own draft, known where the item is gold or was labelled blind. `planted` is what was wrong in a
    honeypot. Where no arm was drawn, `propensity` and `drawn_at` are None.
    """

    id: str
    event_id: str
    draft: str
    item: str
    reviewer: str
    arm: str
    skipped: bool
    verdict: str | None
    caught: str | None
    seconds: float | None
    guideline_version: str | None
    final: Mapping[str, Any] | None
    finished_at: datetime
    received_at: datetime
    propensity: float | None
    rates: Mapping[str, Any] | None
    planted: Mapping[str, Any] | None
    drawn_at: datetime | None
    task: Task
    model_version: str
    confidence: float | None
    confidence_status: str
    natural: Mapping[str, Any] | None
    truth: Mapping[str, Any] | None
    gold_since: datetime | None


async def judged(
    store: Store,
    team: str,
    project: str,
    *,
    reviewers: Sequence[str] | None = None,
    arm: str | None = None,
    since: datetime | None = None,
    known: Known = "everything",
) -> list[JudgedRow]:
    """Return the reviews of a project that count, in the order in which they were finished; of some reviewers, or of one arm only.

    Reviewers have the names into which they were merged, and may be asked for by their earlier ones too.
    """
    into = await Reviews(store).merged(team, project)
    newer = reviews.alias()
    chosen = _select(known == "everything").where(
        reviews.c.team == team,
        reviews.c.project == project,
        reviews.c.deleted.is_(sa.false()),
        ~sa.exists().where(newer.c.team == reviews.c.team, newer.c.event_id == reviews.c.event_id, newer.c.revision > reviews.c.revision),
    )
    if reviewers is not None:
        wanted = {into.get(name, name) for name in reviewers}
        chosen = chosen.where(reviews.c.reviewer.in_(sorted(wanted | {name for name, now in into.items() if now in wanted})))
    if arm is not None:
        chosen = chosen.where(reviews.c.arm == arm)
    if since is not None:
        chosen = chosen.where(reviews.c.finished_at >= since)
    found = [JudgedRow(**row._mapping) for row in await store.read(chosen.order_by(reviews.c.finished_at, reviews.c.id))]
    return [replace(row, reviewer=into[row.reviewer]) if row.reviewer in into else row for row in found]


def _select(payloads: bool) -> sa.Select[Any]:
    of_review = (reviews.c[name] for name in _OF_REVIEW)
    final = reviews.c.final if payloads else sa.null()
    natural = sa.case((sa.or_(gold.c.item.is_not(None), reviews.c.arm == "withheld"), drafts.c.payload), else_=sa.null())
    return (
        sa.select(
            *of_review,
            sa.type_coerce(final, sa.JSON).label("final"),
            draws.c.propensity,
            draws.c.rates,
            draws.c.planted,
            draws.c.at.label("drawn_at"),
            drafts.c.task,
            drafts.c.model_version,
            drafts.c.confidence,
            drafts.c.confidence_status,
            sa.type_coerce(natural if payloads else sa.null(), sa.JSON).label("natural"),
            gold.c.truth,
            gold.c.changed_at.label("gold_since"),
        )
        .join_from(reviews, draws, draws.c.draft == reviews.c.draft, isouter=True)
        .join(drafts, drafts.c.id == sa.func.coalesce(draws.c.natural, reviews.c.draft))
        .join(
            gold,
            sa.and_(gold.c.team == reviews.c.team, gold.c.project == reviews.c.project, gold.c.item == reviews.c.item),
            isouter=True,
        )
    )


_OF_REVIEW = (
    "id",
    "event_id",
    "draft",
    "item",
    "reviewer",
    "arm",
    "skipped",
    "verdict",
    "caught",
    "seconds",
    "guideline_version",
    "finished_at",
    "received_at",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a reviewer: an item was drawn for them (`verdict` None), or they reviewed a draft for the first time."""

    id: str
    reviewer: str
    arm: str
    verdict: str | None = None
    caught: str | None = None
    right: float | None = None  # the calibrated probability that the draft needs no change


async def steps(store: Store, team: str, project: str, after: tuple[str, str], limit: int = 5000) -> list[Step]:
    """Return draws and first revisions of reviews whose ids come after those of (draw, review), in the order of their ids' times."""
    drawn = (
        sa.select(draws.c.id, draws.c.reviewer, draws.c.arm)
        .where(draws.c.team == team, draws.c.project == project, draws.c.id > after[0], draws.c.reviewer != "")
        .order_by(draws.c.id)
        .limit(limit)
    )
    calibrated = sa.case((drafts.c.confidence_status == "calibrated", drafts.c.confidence), else_=sa.null())
    reviewed = (
        sa.select(reviews.c.id, reviews.c.reviewer, reviews.c.arm, reviews.c.verdict, reviews.c.caught, calibrated.label("right"))
        .join_from(reviews, drafts, drafts.c.id == reviews.c.draft)
        .where(reviews.c.team == team, reviews.c.project == project, reviews.c.id > after[1], reviews.c.revision == 1)
        .where(reviews.c.verdict.is_not(None))
        .order_by(reviews.c.id)
        .limit(limit)
    )
    into = await Reviews(store).merged(team, project)
    found = [Step(**row._mapping) for statement in (drawn, reviewed) for row in await store.read(statement)]
    found = [replace(one, reviewer=into.get(one.reviewer, one.reviewer)) for one in found]
    return sorted(found, key=lambda one: one.id.partition("_")[2])
