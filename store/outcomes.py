"""Outcomes in the store: labels of drafts that turned out right or wrong, with the stream that each came by. Rows are only added."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.drafts import Draft, Timings
from candor.ids import new_id
from candor.predictions import Task
from store import dialects, withdrawals
from store.moments import utc_now
from store.store import Store
from store.tables import drafts, outcomes

Event: TypeAlias = Literal["label", "no_edit", "segment", "mapped"]  # mapped: a project's label that stands for several classes
Added: TypeAlias = Literal["stored", "already", "conflict"]
_AT_ONCE = 400  # parameters of one SELECT
_UNSET = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One label that was judged. `source` is the platform's own id of the event that told the truth; `cluster` the item's bytes."""

    draft: str
    label_index: int
    stream: str
    propensity: float
    event: Event
    confidence: float | None  # as it was shown; None where none was
    calibration: str | None  # behind that confidence
    model_version: str
    task: Task
    cluster: str
    features: Mapping[str, Any]  # at least `logit`, the log-odds of the raw score, and `label`
    correct: bool
    source: str
    reviewer: str | None = None
    created_at: datetime = _UNSET  # of the arrival; `add` sets it
    id: str = ""  # `add` sets it


class Shown(NamedTuple):
    """What a monitor looks at: the part of an outcome that is read often."""

    draft: str
    source: str
    cluster: str
    stream: str
    propensity: float
    confidence: float | None
    correct: bool


class Outcomes:
    """The outcomes of one store."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def drafts(self, ids: Sequence[str]) -> dict[str, Draft]:
        """Return the stored drafts of these ids; those that don't exist are absent."""
        found: dict[str, Draft] = {}
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), _AT_ONCE):
            for row in await self._store.read(sa.select(drafts).where(drafts.c.id.in_(wanted[start : start + _AT_ONCE]))):
                values = dict(row._mapping)
                found[row.id] = Draft(**{**values, "timings": Timings(**values["timings"])})
        return found

    async def add(self, groups: Sequence[Sequence[Outcome]]) -> list[Added]:
        """Store groups of outcomes, each the labels of one draft judged by one source event; all are committed when this returns.

        A group that came before is left as it is (`already`); one that contradicts what the same event said before of the same draft
        is not stored (`conflict`). An event that judged no label leaves nothing to remember.
        """

        async def work(connection: AsyncConnection) -> list[Added]:
            await dialects.take_turns(connection, "outcomes")  # else two processes that are told of one event both store it
            known = await _known(connection, sorted({one.draft for group in groups for one in group}))
            answers: list[Added] = []
            rows: list[dict[str, Any]] = []
            now = self._clock()  # in the transaction, so that times follow commits
            for group in groups:
                answer, new = _compare(group, known)
                answers.append(answer)
                arrival = now + timedelta(microseconds=len(answers))  # in the order of the request
                rows += [{**_values(one), "id": new_id("out"), "created_at": arrival} for one in new]
            if rows:
                await connection.execute(sa.insert(outcomes), rows)
            return answers

        return await self._store.run(work)

    async def of_version(self, model_version: str, streams: Sequence[str], *, after: datetime | None = None) -> list[Outcome]:
        """Return the `label` outcomes of one model version in order of arrival: only what came by these streams, and after a moment."""
        rows = await self._store.read(_in_order(list(outcomes.c), model_version, streams, after))
        return await asyncio.to_thread(lambda: [Outcome(**row._mapping) for row in rows])

    async def shown(self, model_version: str, calibration: str, streams: Sequence[str], *, after: datetime | None = None) -> list[Shown]:
        """Return what is known of the confidences that one calibration gave, in order of arrival; otherwise as `of_version`."""
        columns = [outcomes.c[name] for name in Shown._fields]
        ordered = _in_order(columns, model_version, streams, after).where(outcomes.c.calibration == calibration)
        return [Shown._make(row) for row in await self._store.read(ordered)]


def _in_order(columns: Sequence[sa.Column[Any]], model_version: str, streams: Sequence[str], after: datetime | None) -> sa.Select[Any]:
    """Select columns of the `label` outcomes of a version in order of arrival, without what was withdrawn."""
    own = (outcomes.c.model_version == model_version, outcomes.c.event == "label", outcomes.c.stream.in_(list(streams)))
    wanted = [*own, withdrawals.counts()]
    if after is not None:
        wanted.append(outcomes.c.created_at > after)
    return sa.select(*columns).where(*wanted).order_by(outcomes.c.created_at, outcomes.c.draft, outcomes.c.label_index)


def _values(one: Outcome) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Outcome.__slots__}  # nothing is copied: there may be many


_Told: TypeAlias = tuple[str, int, Event, bool]  # stream, label_index, event, correct


async def _known(connection: AsyncConnection, ids: Sequence[str]) -> dict[tuple[str, str], set[_Told]]:
    """Return what is stored of these drafts, by draft and source event."""
    found: dict[tuple[str, str], set[_Told]] = {}
    for start in range(0, len(ids), _AT_ONCE):
        chosen = sa.select(outcomes).where(outcomes.c.draft.in_(ids[start : start + _AT_ONCE]))
        for row in (await connection.execute(chosen)).all():
            found.setdefault((row.draft, row.source), set()).add((row.stream, row.label_index, row.event, row.correct))
    return found


def _compare(group: Sequence[Outcome], known: dict[tuple[str, str], set[_Told]]) -> tuple[Added, Sequence[Outcome]]:
    """Return what becomes of a group and the rows to insert; `known` learns of them."""
    told = {(one.stream, one.label_index, one.event, one.correct) for one in group}
    for key in {(one.draft, one.source) for one in group}:
        earlier = known.get(key)
        if earlier is not None:
            return ("already" if earlier == told else "conflict"), ()
        known[key] = told
    return "stored", group
