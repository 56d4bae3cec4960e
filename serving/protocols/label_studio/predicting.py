"""The use cases behind /setup and /predict: who is asked, whether the labeling config fits, and one entry for each task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import structlog

from candor.errors import Conflict, InvalidRequest
from serving.api.services import Services
from serving.projects.book import FRESH_SECONDS
from serving.protocols.label_studio.aligning import Aligned, Aligning
from serving.protocols.label_studio.config import LabelingConfig, read
from serving.protocols.label_studio.connected import Choices
from serving.protocols.label_studio.drafting import Desk, Drafting, Outcome, tasks_of
from serving.protocols.label_studio.telling import Standing, Teller
from store.connections import Connection, Connections
from store.label_studio_tasks import Tasks, Waiting
from store.moments import utc_now

_SETUP_SECONDS = 1.5  # Label Studio waits for three
_ALIGNED_SECONDS = 10.0  # how long it is believed that a project's labels are as they should be
_SETTLED = timedelta(seconds=FRESH_SECONDS + 0.2)  # until every process drafts in labels that were changed
_VALUE_CHARACTERS = 4096  # of a longer value, such as a data: address, nothing is kept: Label Studio is asked for it again

_log = structlog.get_logger(__name__)
_config = lru_cache(64)(read)


class Predicting:
    """Answers one server's Label Studios. Belongs to one event loop. `pushes` is called when tasks wait for a push."""

    def __init__(self, services: Services, drafting: Drafting, pushes: Callable[[], None] = lambda: None) -> None:
        self._drafting = drafting
        self.pushes = pushes
        self._teller = Teller(services)
        self._aligning = Aligning(services.store)
        self._connections = Connections(services.store)
        self._tasks = Tasks(services.store)
        self._aligned: dict[str, tuple[tuple[Any, ...], float, Aligned]] = {}
        self._noted: dict[str, Mapping[str, Any]] = {}
        self._running: set[asyncio.Task[Desk]] = set()

    async def set_up(self, connection: Connection, body: Mapping[str, Any]) -> str:
        """Take note of a labeling config, and return the model version. What does not fit is kept as the connection's problem.

        Raises:
            Conflict: another project of Label Studio asks than the one that is connected.
        """
        _own_project(connection, body)
        xml = body.get("schema")
        noting = asyncio.create_task(self.desk(connection, xml, settled=False))
        self._running.add(noting)
        noting.add_done_callback(self._ended)
        done, _ = await asyncio.wait([noting], timeout=_SETUP_SECONDS)
        if done and not noting.exception():
            return noting.result().version
        return await self._version(connection, xml)  # the rest goes on, and a prediction waits for it

    async def version(self, connection: Connection) -> str:
        """Return the version of the labeling config that was seen last."""
        known = self._noted.get(connection.id) or connection.state
        return await self._version(connection, known.get("config"))

    async def _version(self, connection: Connection, xml: Any) -> str:
        try:
            return (await self._teller.standing(connection, _read(xml))).version
        except InvalidRequest:
            return await self._teller.reference(connection)

    def _ended(self, noting: asyncio.Task[Desk]) -> None:
        self._running.discard(noting)
        if not noting.cancelled() and (error := noting.exception()) and not isinstance(error, InvalidRequest):
            _log.warning("label_studio_config_not_noted", detail=str(error))

    async def predict(self, connection: Connection, body: Mapping[str, Any], request_id: str) -> list[Any]:
        """Return one entry for each task: a prediction, or an empty list where there is none yet.

        Raises:
            InvalidRequest: the request is not one of Label Studio's.
            Conflict: another project of Label Studio asks than the one that is connected.
            StorageUnavailable: the database can't be used.
        """
        start, seconds = time.monotonic(), Choices.of(connection).predict_seconds
        ls_project, asked = _own_project(connection, body), body.get("tasks")
        if not isinstance(asked, list):
            raise InvalidRequest("`tasks` is a list of tasks")
        try:
            desk = await self.desk(connection, body.get("label_config"), request_id)
        except InvalidRequest:
            return [[] for _ in asked]
        tasks = tasks_of(asked, ls_project, desk.standing.layout.data_key)
        outcomes = await self._drafting.draft(desk, tasks, seconds - (time.monotonic() - start))
        await self._queue(connection, outcomes)
        _log.info(
            "label_studio_predicted",
            connection=connection.id,
            tasks=len(tasks),
            stored=sum(not one.new for one in outcomes),
            failed=sum(one.prediction is not None and one.error is not None for one in outcomes),
            waiting=sum(one.prediction is None for one in outcomes),
            seconds=round(time.monotonic() - start, 3),
        )
        return [[] if one.prediction is None else dict(one.prediction) for one in outcomes]

    async def desk(self, connection: Connection, xml: Any, request_id: str = "", *, settled: bool = True) -> Desk:
        """Return how a connection's tasks are drafted. With `settled` it is waited for that every process knows the project's labels.

        Raises:
            InvalidRequest: nothing of the labeling config fits. The connection's problem says so.
        """
        try:
            standing = await self._teller.standing(connection, _read(xml))
            aligned = await self._align(connection, standing, xml)
            if not aligned.fits:
                raise InvalidRequest(aligned.problem or "nothing fits")
        except InvalidRequest as error:
            await self._note(connection, xml, error.detail)
            raise
        await self._note(connection, xml, standing.problem or aligned.problem)
        if settled and aligned.changed_at is not None:
            await _until(aligned.changed_at + _SETTLED)
        view = await self._teller.project(connection)
        return Desk(connection, standing, await self._drafting.principal(connection), view.label_map, request_id)

    async def _align(self, connection: Connection, standing: Standing, xml: str) -> Aligned:
        """Align labels, not for every task that is opened."""
        key, now = (xml, standing.version, standing.layout.task), time.monotonic()
        known = self._aligned.get(connection.id)
        if known is not None and known[0] == key and now - known[1] < _ALIGNED_SECONDS:
            return known[2]
        aligned = await self._aligning.align(connection, standing)
        self._aligned[connection.id] = key, now, aligned
        return aligned

    async def _note(self, connection: Connection, xml: Any, problem: str | None) -> None:
        """Keep a connection's labeling config and what is wrong with it, where that is news."""
        before = self._noted.get(connection.id) or {name: connection.state.get(name) for name in ("config", "problem")}
        found = {"config": xml if isinstance(xml, str) else before["config"], "problem": problem}
        if found == before:
            return
        if problem is not None and problem != before["problem"]:
            _log.error("label_studio_does_not_fit", connection=connection.id, project=connection.project, detail=problem)
        await self._connections.keep(connection.id, found)
        self._noted[connection.id] = found

    async def _queue(self, connection: Connection, outcomes: Sequence[Outcome]) -> None:
        """Let what is not ready wait to be pushed, where Label Studio can be called."""
        late = [one for one in outcomes if one.prediction is None]
        if not late:
            return
        reasons = sorted({one.error.code if one.error else "out_of_time" for one in late})
        pushed = connection.url is not None and connection.token is not None
        _log.warning("label_studio_tasks_late", connection=connection.id, tasks=len(late), reasons=reasons, pushed=pushed)
        if pushed:
            await self._tasks.queue(connection.id, [waiting(one.task.id, one.task.item, one.task.value) for one in late])
            self.pushes()


def waiting(task: str, item: str, value: str) -> Waiting:
    """Return a task that waits for its draft, with its value where that is short."""
    return Waiting(task, item, {"value": value} if value and len(value) <= _VALUE_CHARACTERS else None)


def _own_project(connection: Connection, body: Mapping[str, Any]) -> str:
    """Return the id of Label Studio's project: its moment of creation follows after a point."""
    found = str(body.get("project") or "").partition(".")[0]
    if not found:
        raise InvalidRequest("`project` is the id of a project of Label Studio")
    if connection.remote_project not in (None, found):
        raise Conflict(
            f"this address is for project {connection.remote_project} of Label Studio, and project {found} asks: connect that one too, "
            "with `candor label-studio connect`"
        )
    return found


def _read(xml: Any) -> LabelingConfig:
    if not isinstance(xml, str) or not xml.strip():
        raise InvalidRequest("the project has no labeling config yet: choose one under Settings, Labeling Interface")
    return _config(xml)


async def _until(moment: datetime) -> None:
    left = (moment - utc_now()).total_seconds()
    if left > 0:
        await asyncio.sleep(min(left, _SETTLED.total_seconds()))
