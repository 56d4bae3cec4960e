"""The projects as this process knows them: at most a second behind the database, over those of the configuration."""

from __future__ import annotations

import time
from collections.abc import Callable

from serving.access import OPERATOR_TEAM
from serving.config import Settings
from serving.fresh import Fresh
from serving.projects.body import view_of
from serving.projects.views import ProjectView
from store import Store
from store.projects import Projects

FRESH_SECONDS = 1.0


class ProjectBook:
    """`ProjectViews` of one store. `clock` counts seconds."""

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._projects = Projects(store)
        self._settings = settings
        self._views: dict[tuple[str, str], ProjectView] = {}
        self._changes = -1
        self._fresh = Fresh(self.read, "projects", clock)

    async def read(self) -> None:
        """Read what has changed.

        Raises:
            StorageUnavailable: the database can't be read; what was known stays.
        """
        changes = await self._projects.changes()  # before the projects: what changes meanwhile is read again
        if changes == self._changes:
            return
        found = await self._projects.everything()
        self._views = {(one.team, one.name): view_of(one.body, self._configured(one.team, one.name).policy) for one in found}
        self._changes = changes

    async def refresh(self) -> None:
        """Read again where the last time is long enough ago; where the database can't be read, what was known stays."""
        await self._fresh.refresh(lambda: self._fresh.age >= FRESH_SECONDS)

    def view(self, team: str, project: str | None) -> ProjectView:
        """Return a project as of the last read; one that nobody made has the configuration's policy."""
        found = None if project is None else self._views.get((team, project))
        return found or self._configured(team, project)

    def _configured(self, team: str, project: str | None) -> ProjectView:
        """The configuration's projects are the operator's: another team's of the same name has nothing to do with them."""
        return ProjectView(self._settings.policy_for(project if team == OPERATOR_TEAM else None))
