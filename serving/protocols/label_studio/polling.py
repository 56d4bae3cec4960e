"""Ask Label Studio what its webhooks may not have told: they are sent once, with a second's patience.

A task changes with its annotations, so that asking for the tasks which changed since the last time finds what was made, edited and deleted.
From time to time the ids of all annotations are compared, for what left no such trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from candor.errors import CandorError, InvalidRequest, StorageUnavailable, ToolError
from serving.api.services import Services
from serving.protocols.label_studio import edits, events
from serving.protocols.label_studio.connected import Choices
from serving.protocols.label_studio.remote import LabelStudio, Remotes
from store.connections import Connection, Connections
from store.label_studio_annotations import Annotation, Annotations
from store.label_studio_events import Events, New
from store.label_studio_tasks import Tasks
from store.moments import utc_now

_log = structlog.get_logger(__name__)

ALL_EVERY = timedelta(hours=1)  # the annotations of a whole project are compared
OVERLAP = timedelta(minutes=1)  # that a change may become visible later than its time says
BEFORE = timedelta(minutes=10)  # the connection was made, that the first look goes back: the two clocks may differ
_AT_ONCE = 100  # events of one transaction

State = Mapping[str, Any]


class Poller:
    """Asks the Label Studios of connections that have an address and a token. What is found goes into the queue of events."""

    def __init__(self, services: Services, remotes: Remotes, clock: Callable[[], datetime] = utc_now) -> None:
        store = services.store
        self._remotes = remotes
        self._clock = clock
        self._events, self._annotations = Events(store, clock), Annotations(store, clock)
        self._connections, self._tasks = Connections(store), Tasks(store)

    async def poll(self, connection: Connection) -> int:
        """Ask one Label Studio, where it is time; return how many events came of it. What goes wrong is kept in the connection's state.

        Raises:
            StorageUnavailable: the store refuses.
        """
        remote, before, now = self._remotes.with_token(connection), dict(connection.state.get("poll") or {}), self._clock()
        if remote is None or connection.remote_project is None or not _due(before, Choices.of(connection).poll_seconds, now):
            return 0
        state = {**before, "at": now.isoformat()}
        await self._connections.keep(connection.id, {"poll": state})  # another server on this database sees that it need not
        try:
            found, changes = await _Round(self, connection, remote, now).run(before)
            state |= {**changes, "error": None}
        except StorageUnavailable:
            raise
        except CandorError as error:
            found, state["error"] = 0, error.detail
            if error.detail != before.get("error"):
                _log.warning("label_studio_not_polled", connection=connection.id, error=error.detail)
        await self._connections.keep(connection.id, {"poll": state})
        return found


class _Round:
    """One round of one connection."""

    def __init__(self, poller: Poller, connection: Connection, remote: LabelStudio, now: datetime) -> None:
        self._poller = poller
        self._connection = connection
        self._project = str(connection.remote_project)
        self._remote = remote
        self._now = now
        self._of: Mapping[str, Any] | None = None
        self._found = 0

    async def run(self, before: State) -> tuple[int, dict[str, Any]]:
        """Return how many events were found, and what of the state is to change."""
        newest = await self._remote.newest(self._project)
        changes: dict[str, Any] = {}
        if newest is not None:
            again = before.get("newest") == newest
            if not (again and before.get("settled")):
                async for tasks in self._remote.tasks_changed(self._project, self._since(before)):
                    await self._take(tasks)
            # What changed at the same time may show up a round later; after that nothing is asked until something changes.
            since = edits.moment(datetime.fromisoformat(newest) - OVERLAP)
            changes = {"newest": newest, "since": since, "settled": again and _age(before, "newest_at", self._now) >= OVERLAP}
            changes["newest_at"] = before["newest_at"] if again else self._now.isoformat()
        if _age(before, "all_at", self._now) >= ALL_EVERY:
            async for ids in self._remote.annotations(self._project):
                await self._compare(ids)
            changes["all_at"] = self._now.isoformat()
        return self._found, changes

    def _since(self, before: State) -> str | None:
        """Return from when on changes are asked for; at first from when it was connected, or of all time if older ones make items gold."""
        if before.get("since"):
            return str(before["since"])
        if Choices.of(self._connection).gold_from_ground_truth:
            return None
        return edits.moment(self._connection.created_at - BEFORE)

    async def _take(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Find what was made, edited or deleted in tasks that changed."""
        there = {str(task["id"]): {str(one["id"]): one for one in task.get("annotations") or []} for task in tasks}
        known = await self._known(list(there))
        new = []
        for own in there.values():
            for id_, told in own.items():
                if (event := await self._event(told, known.get(id_))) is not None:
                    new.append(event)
        await self._add(new)
        await self._missing({task: list(own) for task, own in there.items()}, known)

    async def _compare(self, ids: Mapping[str, Sequence[str]]) -> None:
        """Find annotations that are not known, of tasks that drafts were asked for, and such as are no more."""
        known = await self._known(list(ids))
        tasks = await self._poller._tasks.of(self._connection.id, [task for task, own in ids.items() if not set(own) <= set(known)])
        new = []
        for id_ in (one for task in tasks for one in ids[task] if one not in known):
            told = await self._remote.json("GET", f"/api/annotations/{id_}/")
            if isinstance(told, Mapping) and (event := await self._event(told, None)) is not None:
                new.append(event)
        await self._add(new)
        await self._missing(ids, known)

    async def _known(self, tasks: Sequence[str]) -> dict[str, Annotation]:
        return {row.annotation: row for row in await self._poller._annotations.of_tasks(self._connection.id, tasks)}

    async def _event(self, told: Mapping[str, Any], known: Annotation | None) -> New | None:
        """Return an event about an annotation that was not dealt with as it is now. It is the same one however often it is found."""
        try:
            report = edits.read(told, self._project)
        except InvalidRequest as error:
            _log.warning("label_studio_annotation_unread", connection=self._connection.id, error=error.detail)
            return None
        if known is not None and (known.deleted or known.updated_at >= report.moment):
            return None
        if self._of is None:
            project = await self._remote.project(self._project)
            self._of = {"id": self._project, "label_config": project.get("label_config")}
        return events.told(events.SEEN, told, self._of, f"lse_{self._connection.id}:{report.id}:{report.moment}")

    async def _missing(self, ids: Mapping[str, Sequence[str]], known: Mapping[str, Annotation]) -> None:
        """Find annotations that are known of tasks and there no more. Where a whole task is gone, what was done with it stands."""
        new = []
        for row in known.values():
            if row.deleted or row.annotation in ids.get(row.task, ()) or (row.changed_at is not None and row.changed_at >= self._now):
                continue
            try:
                await self._remote.json("GET", f"/api/annotations/{row.annotation}/")
            except ToolError as error:
                if error.answered != 404:
                    raise
                body = {"annotation": row.annotation, "project": self._project}
                new.append(New(events.DELETED, body, f"lse_{self._connection.id}:{row.annotation}:gone"))
        await self._add(new)

    async def _add(self, new: Sequence[New]) -> None:
        for start in range(0, len(new), _AT_ONCE):
            await self._poller._events.add(self._connection.id, new[start : start + _AT_ONCE])
        self._found += len(new)


def _due(state: State, seconds: float, now: datetime) -> bool:
    return _age(state, "at", now) >= timedelta(seconds=seconds)


def _age(state: State, name: str, now: datetime) -> timedelta:
    """Return how long ago a moment of the state was; without end where it has none."""
    told = state.get(name)
    return timedelta.max if told is None else now - datetime.fromisoformat(str(told))
