"""Which model drafts for a connection, and what Label Studio is told of its version: at once, without the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from candor.errors import CandorError, InvalidRequest, StorageUnavailable, UnknownProject
from candor.predictions import Task
from serving.api.services import Services
from serving.calibrations.book import Book
from serving.composition import read_calibrations
from serving.projects.book import ProjectBook
from serving.projects.views import ProjectView
from serving.protocols.label_studio.config import LabelingConfig, Layout, layout
from serving.protocols.label_studio.connected import Choices
from store.calibrations import Calibrations
from store.connections import Connection
from store.projects import Projects

_HEX = 16
_WHOLE = re.compile(r"(.*@sha256:[0-9a-f]{16})[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Standing:
    """What drafts a connection's tasks. `version` is the same for every arm and both versions of a canary, and is never empty.

    `classes` are the model's; None: it is not known yet, or not at all, as `problem` says.
    """

    layout: Layout
    reference: str
    version: str
    classes: tuple[str, ...] | None = None
    problem: str | None = None


class Teller:
    """Looks up what drafts for connections. Belongs to one event loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._projects = ProjectBook(services.store, services.settings)

    @cached_property
    def _book(self) -> Book:
        return Book(Calibrations(self._services.store), read_calibrations(self._services.settings))

    async def project(self, connection: Connection) -> ProjectView:
        """Return the project of a connection as it is now."""
        await self._projects.refresh()
        return self._projects.view(connection.team, connection.project)

    async def standing(self, connection: Connection, config: LabelingConfig) -> Standing:
        """Return what drafts the tasks of a project with this labeling config.

        Raises:
            InvalidRequest: the config has no control for the task, or the server does not draft it.
        """
        chosen = Choices.of(connection)
        reference = chosen.model or (await self.project(connection)).model
        try:
            where = self._layout(config, await self._task(chosen, reference, connection))
        except (InvalidRequest, StorageUnavailable):
            raise
        except CandorError as error:
            raise InvalidRequest(error.detail) from error
        reference = reference or self._services.settings.tasks[where.task].model
        try:
            await self._services.resolver.refresh(reference, connection.team)
            choice = self._services.resolver.resolve(reference, where.task, connection.team)
        except CandorError as error:
            return Standing(where, reference, _short(reference), problem=error.detail)
        await self._book.refresh()
        calibration = self._book.current(choice.manifest).calibration
        version = _short(choice.manifest.version) + (f"+{calibration.partition('_')[2][:8]}" if calibration else "")
        both = [*choice.manifest.labels, *(choice.canary.labels if choice.canary else ())]
        return Standing(where, reference, version, tuple(dict.fromkeys(both)))

    async def reference(self, connection: Connection) -> str:
        """Return what stands for the version where there is no labeling config that fits: never an empty text."""
        return _short(Choices.of(connection).model or (await self.project(connection)).model or "candor")

    async def _task(self, chosen: Choices, reference: str | None, connection: Connection) -> Task | None:
        """Return the task that is chosen, by the connection, its model or its project; None: none is."""
        if chosen.task is not None:
            return chosen.task
        if reference is not None:
            await self._services.resolver.refresh(reference, connection.team)
            return self._services.resolver.task(reference, connection.team)
        try:
            found: Task | None = (await Projects(self._services.store).get(connection.team, connection.project)).body.get("task")
        except UnknownProject:
            return None
        return found

    def _layout(self, config: LabelingConfig, task: Task | None) -> Layout:
        """Return the layout of a task; where none is named, of the first that this server drafts and the config has a place for."""
        served: Mapping[Task, object] = self._services.settings.tasks
        if task is not None and task not in served:
            raise InvalidRequest(f"this server does not draft {task}: it drafts {', '.join(served)}")
        for one in served if task is None else ():
            try:
                return layout(config, one)
            except InvalidRequest:
                continue
        return layout(config, task or (next(iter(served)) if len(served) == 1 else None))


def _short(reference: str) -> str:
    found = _WHOLE.fullmatch(reference)
    return found[1] if found else reference
