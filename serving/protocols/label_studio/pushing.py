"""Push the drafts that were not ready when Label Studio asked: from the queue in the store, by one server at a time, until they are there.

A task that can't be drafted, or that Label Studio does not take, is tried again, later and later; at last it has failed, and says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from candor.errors import CandorError, NotFound, StorageUnavailable, ToolError
from serving.outgoing import Tending
from serving.protocols.label_studio.drafting import Desk, Drafting, LsTask, Outcome, task_of
from serving.protocols.label_studio.predicting import Predicting
from serving.protocols.label_studio.remote import LabelStudio
from store import Store
from store.connections import Connection, Connections
from store.label_studio_tasks import Ended, TaskRow, Tasks
from store.moments import utc_now

EVERY = 5.0  # seconds between looks at the queue, where nobody says that there is something in it
ATTEMPTS = 8  # about two hours, with what comes next
_FIRST, _LONGEST = timedelta(seconds=10), timedelta(hours=1)
_AT_ONCE = 32  # tasks of one push: Label Studio takes some 0.1 s for each, in one request
_REFUSED = (400, 404, 422)  # of one task alone; of another answer all tasks may come right

_log = structlog.get_logger(__name__)


def wait(attempts: int) -> timedelta | None:
    """Return how long to wait after so many attempts; None: give it up."""
    return None if attempts >= ATTEMPTS else min(_FIRST * 3 ** (attempts - 1), _LONGEST)


class Pusher:
    """Pushes what waits. One for each process; belongs to one event loop; `close` it. `seconds` is the time for one batch's drafts."""

    def __init__(self, store: Store, drafting: Drafting, predicting: Predicting, seconds: float) -> None:
        self._drafting = drafting
        self._predicting = predicting
        self._seconds = seconds
        self._lease = timedelta(seconds=2 * seconds + 60)
        self._tasks = Tasks(store)
        self._connections = Connections(store)
        self._tending = Tending(self._all, EVERY, "label_studio_pushes")

    def wake(self) -> None:
        """Look at the queue now."""
        self._tending.wake()

    def keep_tending(self) -> None:
        """Look at the queue every few seconds until `close`."""
        self._tending.start()

    async def close(self) -> None:
        """Stop. What was being worked on is given back, and waits for whoever comes next."""
        await self._tending.close()

    async def tend(self) -> int:
        """Draft and push tasks of one connection that are due; return how many were tried."""
        rows = await self._tasks.claim(_AT_ONCE, self._lease)
        if not rows:
            return 0
        id_ = rows[0].connection
        try:
            await self._push(id_, rows)
        except StorageUnavailable:
            raise
        except CandorError as error:
            await self._later(id_, {row.task: error.detail for row in rows}, rows)
        except asyncio.CancelledError:
            await asyncio.shield(self._tasks.again(id_, {row.task: None for row in rows}, utc_now()))
            raise
        except Exception as error:  # noqa: BLE001 - a bug must not end all pushes, nor try the same for ever
            _log.exception("label_studio_push_broke", connection=id_)
            await self._later(id_, {row.task: repr(error) for row in rows}, rows)
        _log.info("label_studio_pushed", connection=id_, **await self._tasks.counts(id_))
        return len(rows)

    async def _all(self) -> None:
        while await self.tend():
            pass

    async def _push(self, id_: str, rows: Sequence[TaskRow]) -> None:
        try:
            connection = await self._connections.get(id_)
        except NotFound:
            return
        remote = self._drafting.remote(connection)
        if connection.ended_at is not None or remote is None:
            await self._give_up(rows, {row.task: "the connection has ended, or has no address of Label Studio" for row in rows})
            return
        by_project: dict[str, list[TaskRow]] = {}
        for row in rows:
            by_project.setdefault(row.item.partition(":")[0], []).append(row)
        for project, some in by_project.items():
            await self._push_to(connection, remote, project, some)

    async def _push_to(self, connection: Connection, remote: LabelStudio, project: str, rows: Sequence[TaskRow]) -> None:
        """Draft tasks of one project of Label Studio, and give it what came of them."""
        desk = await self._predicting.desk(connection, (await remote.project(project)).get("label_config"))
        tasks, refused, there = [], dict[str, str](), set[str]()
        for row in rows:
            try:
                task, known = await self._task(remote, row, project, desk)
            except CandorError as error:
                refused[row.task] = error.detail
                continue
            tasks.append(task)
            there |= {row.task} if known else set()
        outcomes = await self._drafting.draft(desk, tasks, self._seconds, keep=False)
        refused |= {one.task.id: one.error.detail if one.error else "it was not drafted in time" for one in outcomes if not one.prediction}
        ended = [one for one in outcomes if one.prediction and (one.error or one.task.id in there)]  # those that failed are not pushed
        made = await self._still_waiting(connection, [one for one in outcomes if one.prediction and one not in ended])
        ended += await self._imported(remote, project, made, refused)
        await self._tasks.shown(connection.id, [one.ended for one in ended if one.ended])
        await self._later(connection.id, refused, rows)

    async def _task(self, remote: LabelStudio, row: TaskRow, project: str, desk: Desk) -> tuple[LsTask, bool]:
        """Return what it takes to draft a task, and whether Label Studio has its prediction, of an earlier push whose answer was lost."""
        value = (row.data or {}).get("value")
        if value is not None and row.attempts == 0:
            return LsTask(row.task, row.item, str(value)), False
        found = await remote.json("GET", f"/api/tasks/{row.task}/", params={"resolve_uri": "false"})
        task = task_of(found, project, desk.standing.layout.data_key)
        known = any(one.get("model_version") == desk.version for one in found.get("predictions") or ())
        return replace(task, id=row.task, item=row.item), known

    async def _still_waiting(self, connection: Connection, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return those that nobody was answered meanwhile: Label Studio asks again for a task that is opened."""
        now = await self._tasks.of(connection.id, [one.task.id for one in outcomes])
        return [one for one in outcomes if (row := now.get(one.task.id)) is not None and row.state == "processing"]

    async def _imported(self, remote: LabelStudio, project: str, made: Sequence[Outcome], refused: dict[str, str]) -> list[Outcome]:
        """Give Label Studio predictions; where it takes not all, one by one. Those that it refuses are added to `refused`."""
        if not made:
            return []
        try:
            await remote.import_predictions(project, [_with_task(one) for one in made])
        except ToolError as error:
            if error.answered not in _REFUSED:
                raise
            if len(made) == 1:
                refused[made[0].task.id] = error.detail
                return []
            return [done for one in made for done in await self._imported(remote, project, [one], refused)]
        return list(made)

    async def _later(self, id_: str, errors: Mapping[str, str], rows: Sequence[TaskRow]) -> None:
        """Let tasks wait longer and longer, or give them up."""
        given_up: dict[str, str] = {}
        for attempts in {row.attempts + 1 for row in rows if row.task in errors}:
            some = {row.task: errors[row.task] for row in rows if row.task in errors and row.attempts + 1 == attempts}
            pause = wait(attempts)
            if pause is None:
                given_up |= some
            else:
                await self._tasks.again(id_, some, utc_now() + pause)
        if errors:
            _log.warning(
                "label_studio_tasks_wait", connection=id_, tasks=len(errors), given_up=len(given_up), error=next(iter(errors.values()))
            )
        await self._give_up(rows, given_up)

    async def _give_up(self, rows: Sequence[TaskRow], errors: Mapping[str, str]) -> None:
        found = [Ended(row.task, row.item, row.model_version or "", None, error=errors[row.task]) for row in rows if row.task in errors]
        if found:
            await self._tasks.shown(rows[0].connection, found)


def _with_task(outcome: Outcome) -> dict[str, Any]:
    id_ = outcome.task.id
    return {"task": int(id_) if id_.isdecimal() else id_, **(outcome.prediction or {})}
