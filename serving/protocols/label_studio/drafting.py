"""What Label Studio asks for: predictions for tasks, each once, within the time that it waits.

    task -> stored draft? -> bytes or address -> drafter -> prediction -> checked -> row of the task -> answer

A task that is not drafted in time is answered with no prediction, so that Label Studio asks again when it is opened; where Label Studio can
be called, its draft is pushed as soon as it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog

from candor.drafts import Draft
from candor.errors import (
    CandorError,
    Conflict,
    InvalidRequest,
    MediaForbidden,
    MediaTooLarge,
    NotReady,
    Overloaded,
    RateLimited,
    StorageUnavailable,
    UnreadableItem,
)
from candor.tasks import SPECS
from serving.access import Principal
from serving.api.services import Services
from serving.limits import Rates
from serving.protocols.label_studio.connected import Choices
from serving.protocols.label_studio.regions import empty, prediction
from serving.protocols.label_studio.remote import LabelStudio, Remotes
from serving.protocols.label_studio.sources import digest, source_of, value_of
from serving.protocols.label_studio.telling import Standing
from serving.requests import DraftRequest, Item, Media
from serving.room import Room
from store.connections import Connection
from store.label_studio_tasks import Ended, TaskRow, Tasks
from store.outcomes import Outcomes
from store.teams import Teams

_AT_ONCE = 32  # tasks of one request that are on their way: enough to fill batches
_ROOM = 4  # which share of the bytes that may be queued is held here, as media of Label Studio
_FINAL = (InvalidRequest, UnreadableItem, MediaTooLarge, MediaForbidden, Conflict)  # another time would not help
_SOON = (Overloaded, RateLimited, NotReady)
_PAUSE = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LsTask:
    """One task of Label Studio, as far as drafting it takes. `wrong` says why it can't be drafted."""

    id: str
    item: str
    value: str = ""
    wrong: CandorError | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task: a prediction, maybe an empty one for good (`error`); or none yet, since something may come right.

    `new`: it is not what the task was answered with before.
    """

    task: LsTask
    prediction: Mapping[str, Any] | None
    ended: Ended | None = None
    error: CandorError | None = None
    new: bool = True


@dataclass(frozen=True, slots=True)
class Desk:
    """For whom tasks are drafted, and how."""

    connection: Connection
    standing: Standing
    principal: Principal
    label_map: str | None
    request_id: str = ""

    @property
    def version(self) -> str:
        """As Label Studio is told."""
        return self.standing.version


class Drafting:
    """Drafts tasks of Label Studio. Belongs to one event loop."""

    def __init__(self, services: Services, remotes: Remotes, rates: Rates) -> None:
        self._services = services
        self._remotes = remotes
        self._rates = rates
        self._teams = Teams(services.store)
        self._tasks = Tasks(services.store)
        self._outcomes = Outcomes(services.store)
        self._room = Room(max(services.settings.limits.queued_bytes // _ROOM, 1))

    def remote(self, connection: Connection) -> LabelStudio | None:
        """Return a connection's Label Studio; None where it is not to be called."""
        return self._remotes.of(connection)

    async def principal(self, connection: Connection) -> Principal:
        """Return who drafts for a connection: its team, with the team's limits."""
        team = await self._teams.get(connection.team)
        return Principal(connection.team, connection.id, frozenset(("draft", "review")), team.limits)

    async def draft(self, desk: Desk, tasks: Sequence[LsTask], seconds: float, *, keep: bool = True) -> list[Outcome]:
        """Return what became of each task within so many seconds, in their order. With `keep` the store has what they get.

        Raises:
            StorageUnavailable: the database can't be used.
        """
        found = await self._known(desk, tasks)
        left = [task for task in tasks if task.id not in found]
        if left:
            deadline = asyncio.get_running_loop().time() + seconds
            made = await self._made(desk, left, deadline)
            if keep:
                await self._tasks.shown(desk.connection.id, [one.ended for one in made.values() if one.ended])
            found |= made
        return [found.get(task.id) or Outcome(task, None) for task in tasks]

    async def _known(self, desk: Desk, tasks: Sequence[LsTask]) -> dict[str, Outcome]:
        """Answer tasks from the drafts that they were shown, where nothing has changed since: no byte of theirs is fetched for that."""
        rows = await self._tasks.of(desk.connection.id, (task.id for task in tasks))
        same = {task.id: rows[task.id] for task in tasks if task.id in rows and _answers(rows[task.id], task, desk)}
        drafts = await self._outcomes.drafts([row.draft for row in same.values() if row.draft])
        found = {}
        for task in tasks:
            draft = drafts.get((same[task.id].draft or "") if task.id in same else "")
            if draft is not None and draft.label_map == desk.label_map:
                found[task.id] = _shown(desk, task, await self._services.calibrations.as_now(draft), new=False)
        return found

    async def _made(self, desk: Desk, tasks: Iterable[LsTask], deadline: float) -> dict[str, Outcome]:
        """Draft tasks, some at a time, until the deadline."""
        waiting, found = iter(tasks), dict[str, Outcome]()

        async def work() -> None:
            for task in waiting:
                found[task.id] = await self._one(desk, task, deadline)

        workers = [asyncio.create_task(work()) for _ in range(_AT_ONCE)]
        try:
            await asyncio.wait(workers, timeout=max(0.0, deadline - asyncio.get_running_loop().time()), return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for worker in workers:
                worker.cancel()
            ended = await asyncio.gather(*workers, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error
        return found

    async def _one(self, desk: Desk, task: LsTask, deadline: float) -> Outcome:
        try:
            if task.wrong is not None:
                raise task.wrong
            async with self._item(desk.connection, task) as item:
                return _shown(desk, task, await self._drafted(desk, item, deadline))
        except StorageUnavailable:
            raise
        except CandorError as error:
            if not isinstance(error, _FINAL):
                return Outcome(task, None, error=error)
            _log.warning("label_studio_task_not_drafted", connection=desk.connection.id, task=task.id, code=error.code, detail=error.detail)
            ended = Ended(task.id, task.item, desk.version, _source(task), error=error.detail)
            return Outcome(task, empty(desk.version), ended, error)

    @asynccontextmanager
    async def _item(self, connection: Connection, task: LsTask) -> AsyncIterator[Item]:
        """Give a task's item for as long as its bytes are needed: what Label Studio itself has to give is fetched here."""
        limit = self._services.settings.limits.item_bytes
        source = source_of(task.value, connection.url, limit)
        remote = self.remote(connection)
        if source.remote is None or remote is None:
            yield Item(task.item, None, Media(data=source.data, url=source.url))
            return
        held = await self._room.take(limit)
        try:
            data = await remote.bytes_of(source.remote, task.id)
            held += self._room.change(len(data) - held)
            yield Item(task.item, None, Media(data=data))
        finally:
            self._room.change(-held)

    async def _drafted(self, desk: Desk, item: Item, deadline: float) -> Draft:
        """Draft one item. Where there is no room for it now, it is asked for again, while there is time."""
        chosen, connection, where = Choices.of(desk.connection), desk.connection, desk.standing.layout
        item = replace(item, kind=SPECS[where.task].media)
        clock = asyncio.get_running_loop().time
        while True:
            try:
                self._rates.take(desk.principal, 1)
                request = DraftRequest(
                    (item,),
                    where.task,
                    chosen.model,
                    connection.project,
                    request_id=desk.request_id,
                    fairness_key=f"{connection.team}/{desk.request_id}",
                    timeout=max(0.001, deadline - clock()),
                    team=connection.team,
                )
                (result,) = (await self._services.drafter.draft(request)).results
                if result.draft is not None:
                    return result.draft
                raise result.error or NotReady()
            except _SOON as error:
                pause = error.retry_after or _PAUSE
                if clock() + pause >= deadline:
                    raise
                await asyncio.sleep(pause)


def tasks_of(found: Sequence[Any], ls_project: str, data_key: str) -> list[LsTask]:
    """Return the tasks of a request.

    Raises:
        InvalidRequest: one has no id.
    """
    return [task_of(one, ls_project, data_key) for one in found]


def task_of(found: Any, ls_project: str, data_key: str) -> LsTask:
    """Return one task; what is wrong with its data is said of it alone.

    Raises:
        InvalidRequest: it has no id.
    """
    id_ = found.get("id") if isinstance(found, Mapping) else None
    if not isinstance(id_, int | str) or isinstance(id_, bool) or not str(id_):
        raise InvalidRequest("each of `tasks` has an `id` and its `data`")
    task = LsTask(str(id_), f"{ls_project}:{id_}")
    try:
        data = found.get("data")
        return replace(task, value=value_of(data if isinstance(data, Mapping) else {}, data_key))
    except InvalidRequest as error:
        return replace(task, wrong=error)


def _answers(row: TaskRow, task: LsTask, desk: Desk) -> bool:
    return row.draft is not None and row.state == "done" and row.model_version == desk.version and row.data == _source(task)


def _source(task: LsTask) -> dict[str, str]:
    return {"source": digest(task.value)}


def _shown(desk: Desk, task: LsTask, draft: Draft, *, new: bool = True) -> Outcome:
    made, left_out = prediction(draft, desk.standing.layout, desk.version)
    if left_out:
        _log.warning("label_studio_labels_left_out", connection=desk.connection.id, task=task.id, draft=draft.id, left_out=left_out[:10])
    return Outcome(task, made, Ended(task.id, task.item, desk.version, _source(task), draft.id), new=new)
