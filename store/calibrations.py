"""Calibration records, and what was done with them: promoted, rolled back, doubted by an alarm, cleared.

A record is never changed and an event never taken back. What is in force for a model version follows from the events: each promotion
stands on the one before it, and a rollback takes the newest away. Under all of them is the configuration's own calibration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import NothingToRollBack, UnknownCalibration
from store import audit, dialects
from store.audit import Actor
from store.store import Store
from store.tables import calibration_events as events
from store.tables import calibrations, versions
from store.webhooks import announce

EventKind: TypeAlias = Literal["promoted", "rolled_back", "alarm", "cleared"]


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """One record as JSON, its id in it, with where it came from: `configuration`, `import` or the id of a job."""

    id: str
    model_version: str
    task: str
    record: Mapping[str, Any]
    origin: str
    created_at: datetime  # when it was stored


@dataclass(frozen=True, slots=True)
class CalibrationEvent:
    """One thing that was done. `calibration` is the one in force after it; None is the configuration's own."""

    id: int
    model_version: str
    calibration: str | None
    kind: EventKind
    detail: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What the events say of all model versions.

    `chosen` maps a version to the calibration that was put in force last, and when; None in it is the configuration's own. `alarms`
    maps (version, calibration) to the moment of the first alarm that nobody has cleared.
    """

    chosen: Mapping[str, tuple[str | None, datetime]] = field(default_factory=dict)
    alarms: Mapping[tuple[str, str], datetime] = field(default_factory=dict)


class Calibrations:
    """Reads and writes of calibrations through the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, record: Mapping[str, Any], origin: str, actor: Actor | None = None) -> StoredCalibration:
        """Store a record, or return the one that is stored: the id is the hash of the content, so that the same record is one row.

        `record` is what `CalibrationRecord.as_json` returns; its hash is the caller's to check. Where there is an actor, a new row is
        told of in the audit log; likewise below.
        """
        values = {
            **{name: record[name] for name in ("id", "model_version", "task")},
            "record": dict(record),
            "origin": origin,
            "created_at": datetime.now(UTC),
        }

        async def work(connection: AsyncConnection) -> sa.Row[Any]:
            new = (await connection.execute(dialects.insert_ignoring(connection.dialect, calibrations).values(values))).rowcount
            if new and actor is not None:
                await audit.record(
                    connection, actor, "calibration.added", values["id"], {"model_version": values["model_version"], "origin": origin}
                )
            return (await connection.execute(sa.select(calibrations).where(calibrations.c.id == values["id"]))).one()

        return StoredCalibration(**(await self._store.run(work))._mapping)

    async def get(self, calibration_id: str) -> StoredCalibration:
        """Return one record.

        Raises:
            UnknownCalibration: there is none of that id.
        """
        found = await self._store.read(sa.select(calibrations).where(calibrations.c.id == calibration_id))
        if not found:
            raise unknown(calibration_id)
        return StoredCalibration(**found[0]._mapping)

    async def some(self, ids: Iterable[str]) -> dict[str, StoredCalibration]:
        """Return the records of these ids, those that there are."""
        found = await self._store.read(sa.select(calibrations).where(calibrations.c.id.in_(list(ids))))
        return {row.id: StoredCalibration(**row._mapping) for row in found}

    async def newest(
        self, *, model: str | None = None, model_version: str | None = None, after: str | None = None, limit: int = 50
    ) -> list[StoredCalibration]:
        """Return records, the newest first: of one model name, one version, or all; `after` is the last id of the page before.

        Raises:
            UnknownCalibration: there is no calibration `after`.
        """
        query = sa.select(calibrations).order_by(calibrations.c.created_at.desc(), calibrations.c.id.desc()).limit(limit)
        if model_version is not None:
            query = query.where(calibrations.c.model_version == model_version)
        if model is not None:  # not LIKE: it takes _ for any sign, and in SQLite A for a
            query = query.where(sa.func.substr(calibrations.c.model_version, 1, len(model) + 1) == f"{model}@")
        if after is not None:
            last = await self.get(after)
            older = (calibrations.c.created_at == last.created_at) & (calibrations.c.id < last.id)
            query = query.where((calibrations.c.created_at < last.created_at) | older)
        return [StoredCalibration(**row._mapping) for row in await self._store.read(query)]

    async def record_event(
        self, model_version: str, calibration: str | None, kind: EventKind, detail: Mapping[str, Any], actor: Actor | None = None
    ) -> CalibrationEvent:
        """Store that something was done; for `promoted`, the calibration is in force from now on."""

        async def work(connection: AsyncConnection) -> CalibrationEvent:
            await _take_turns(connection, model_version)
            if actor is not None:
                await audit.record(connection, actor, f"calibration.{kind}", model_version, {"calibration": calibration, **detail})
            return await _append(connection, model_version, calibration, kind, detail)

        return await self._store.run(work)

    async def raise_alarm(self, model_version: str, calibration: str, detail: Mapping[str, Any]) -> CalibrationEvent | None:
        """Store that a calibration is doubted from now on; None where it is already, as when two processes look at the same outcomes."""

        async def work(connection: AsyncConnection) -> CalibrationEvent | None:
            await _take_turns(connection, model_version)
            of_calibration = _of_version(model_version).where(events.c.calibration == calibration)
            if doubted(_event(row) for row in await connection.execute(of_calibration)):
                return None
            raised = await _append(connection, model_version, calibration, "alarm", detail)
            # a model that nobody registered is the configuration's, which all teams share
            owner = (await connection.execute(sa.select(versions.c.team).where(versions.c.version == model_version))).scalar()
            data = {"model_version": model_version, "calibration": calibration, **detail}
            await announce(connection, "calibration.alarm", f"{calibration}/{raised.id}", data, raised.at, team=owner)
            return raised

        return await self._store.run(work)

    async def roll_back(
        self, model_version: str, detail: Mapping[str, Any], *, from_calibration: str | None = None, actor: Actor | None = None
    ) -> CalibrationEvent:
        """Take the newest promotion of a version away; the event's calibration is the one in force before it.

        Where `from_calibration` is given and another one is in force by now, nothing is done: a second caller for the same reason
        would else take back one more.

        Raises:
            NothingToRollBack: nothing is promoted, or not that one.
        """

        async def work(connection: AsyncConnection) -> CalibrationEvent:
            await _take_turns(connection, model_version)
            stack = promotions([_event(row) for row in await connection.execute(_of_version(model_version))])
            if not stack:
                raise NothingToRollBack(
                    f"no calibration is promoted for {model_version}; what the configuration names is changed there, under models"
                )
            if from_calibration not in (None, stack[-1]):
                raise NothingToRollBack(f"{from_calibration} is not in force for {model_version}: {stack[-1]} is")
            before = stack[-2] if len(stack) > 1 else None
            if actor is not None:
                detailed = {"from": stack[-1], "calibration": before, **detail}
                await audit.record(connection, actor, "calibration.rolled_back", model_version, detailed)
            return await _append(connection, model_version, before, "rolled_back", {"from": stack[-1], **detail})

        return await self._store.run(work)

    async def events(self, model_version: str) -> list[CalibrationEvent]:
        """Return all that was done for a version, the oldest first."""
        return [_event(row) for row in await self._store.read(_of_version(model_version))]

    async def standing(self) -> Standing:
        """Return what is in force and what is doubted, of all versions, in one query."""
        chosen: dict[str, tuple[str | None, datetime]] = {}
        alarms: dict[tuple[str, str], datetime] = {}
        for row in await self._store.read(_STANDING):
            if row.kind != "alarm":
                chosen[row.model_version] = (row.calibration, row.at)
            elif row.calibration is not None:  # the first one counts
                alarms.setdefault((row.model_version, row.calibration), row.at)
        return Standing(chosen, alarms)


def unknown(calibration_id: str) -> UnknownCalibration:
    """Return the error of a calibration that is not there, or not for whoever asks: the two look alike."""
    return UnknownCalibration(f"there is no calibration {calibration_id!r}; GET /v1/calibrations lists them")


def promotions(history: Sequence[CalibrationEvent]) -> list[str]:
    """Return the promoted calibrations of one version that were not rolled back, the newest last, from its events in order."""
    stack: list[str] = []
    for event in history:
        if event.kind == "promoted" and event.calibration is not None:
            if stack[-1:] != [event.calibration]:  # promoted again, to end an alarm
                stack.append(event.calibration)
        elif event.kind == "rolled_back" and stack:
            stack.pop()
    return stack


def doubted(history: Iterable[CalibrationEvent]) -> bool:
    """Say whether an alarm is open, from the events of one calibration in order."""
    kinds = [event.kind for event in history if event.kind != "rolled_back"]
    return kinds[-1:] == ["alarm"]


def _standing_query() -> sa.Select[Any]:
    """Select the newest choice of each version, and the alarms that came after the last thing that ends one. In the order of events.

    What ends an alarm is that somebody cleared it, or promoted the same calibration again. A rollback does not: the calibration that
    it brings back is as doubtful as it was.
    """
    newest = sa.select(sa.func.max(events.c.id)).where(events.c.kind.in_(("promoted", "rolled_back"))).group_by(events.c.model_version)
    later = events.alias("later")
    ended = sa.exists().where(
        later.c.model_version == events.c.model_version,
        later.c.calibration == events.c.calibration,
        later.c.kind.in_(("promoted", "cleared")),
        later.c.id > events.c.id,
    )
    open_alarm = (events.c.kind == "alarm") & ~ended
    columns = (events.c.model_version, events.c.calibration, events.c.kind, events.c.at)
    return sa.select(*columns).where(events.c.id.in_(newest) | open_alarm).order_by(events.c.id)


_STANDING = _standing_query()


def _of_version(model_version: str) -> sa.Select[Any]:
    return sa.select(events).where(events.c.model_version == model_version).order_by(events.c.id)


def _event(row: sa.Row[Any]) -> CalibrationEvent:
    return CalibrationEvent(**row._mapping)


async def _take_turns(connection: AsyncConnection, model_version: str) -> None:
    await dialects.take_turns(connection, f"calibrations of {model_version}")


async def _append(
    connection: AsyncConnection, model_version: str, calibration: str | None, kind: EventKind, detail: Mapping[str, Any]
) -> CalibrationEvent:
    values = {
        "model_version": model_version,
        "calibration": calibration,
        "kind": kind,
        "detail": dict(detail),
        "at": datetime.now(UTC),
    }
    number = (await connection.execute(sa.insert(events).values(values))).inserted_primary_key[0]  # type: ignore[index]
    return CalibrationEvent(id=number, **values)  # type: ignore[arg-type]
