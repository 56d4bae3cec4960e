"""The use cases of projects: make, change, delete, look up. What is stored is checked against the model that the project names."""

from __future__ import annotations

from collections.abc import Sequence

from candor.errors import InvalidRequest, ModelUnavailable, UnknownAlias, UnknownModel, WrongTask
from candor.manifest import Manifest
from serving.projects.body import ProjectBody, nearest
from serving.resolving import Resolver
from store import Store
from store.audit import Actor
from store.projects import Project, Projects, Revision


class ProjectService:
    """The projects of one store."""

    def __init__(self, store: Store, resolver: Resolver) -> None:
        self._projects = Projects(store)
        self._resolver = resolver

    async def put(self, actor: Actor, name: str, body: ProjectBody, expected: int | None = None) -> Project:
        """Make a project or change it; see `store.projects.Projects.put`.

        Raises:
            InvalidRequest: the model is none of the team's, or has none of the classes that the body names.
            Conflict: it has another revision than `expected`.
        """
        if body.model is not None:
            await self._check(body, body.model, actor.team)
        return await self._projects.put(actor, name, body.as_json(), expected)

    async def delete(self, actor: Actor, name: str, expected: int | None = None) -> None:
        """Delete a project; see `store.projects.Projects.delete`."""
        await self._projects.delete(actor, name, expected)

    async def get(self, team: str, name: str) -> Project:
        """Return one project of a team."""
        return await self._projects.get(team, name)

    async def of_team(self, team: str, after: str | None, limit: int) -> Sequence[Project]:
        """Return a page of a team's projects, by name."""
        return await self._projects.of_team(team, after=after, limit=limit)

    async def history(self, team: str, name: str) -> Sequence[Revision]:
        """Return what a project was, the newest revision first."""
        return await self._projects.history(team, name)

    async def _check(self, body: ProjectBody, model: str, team: str) -> None:
        await self._resolver.refresh(model, team)
        try:
            choice = self._resolver.resolve(model, body.task, team)
        except (UnknownModel, UnknownAlias, WrongTask) as error:
            raise InvalidRequest(f"model: {error.detail}") from error
        except ModelUnavailable:
            return  # it is configured and not installed yet: its classes are not known
        for manifest in (choice.manifest, choice.canary):
            if manifest is not None:
                _check_classes(body, manifest)


def _check_classes(body: ProjectBody, manifest: Manifest) -> None:
    """A class that the model does not have would never be drafted, and nobody would notice."""
    if not manifest.labels:
        return
    known = set(manifest.labels)
    other = next((name for name in body.label_map or () if name not in known), None)
    if other is not None:
        raise InvalidRequest(f"label_map: {other[:80]!r} is no class of {manifest.name}{nearest(other, manifest.labels)}")
    if body.label_map is None and body.labels and not known & set(body.labels):
        raise InvalidRequest(
            f"labels: none of them is a class of {manifest.name}, so that nothing would be drafted: map its classes to them with label_map"
        )
