"""Keep a project's labels those of its labeling config, as long as nobody else has set them.

Drafts are judged in the labels of their project. Were these the model's classes, a draft would hold boxes that the labeling config has no
label for, which nobody is shown, and each of them would count as removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from pydantic import ValidationError

from candor.errors import Conflict, UnknownProject
from serving.projects.body import ProjectBody
from serving.protocols.label_studio.labels import own_labels
from serving.protocols.label_studio.telling import Standing
from store import Store
from store.audit import Actor
from store.connections import Connection, Connections
from store.projects import Project, Projects

_TRIES = 3

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Aligned:
    """When a project whose labels follow was changed last; what is wrong with them, in words for a person; and whether any fits."""

    changed_at: datetime | None = None
    problem: str | None = None
    fits: bool = True


class Aligning:
    """Sets the labels of projects that leave them to their labeling config."""

    def __init__(self, store: Store) -> None:
        self._projects = Projects(store)
        self._connections = Connections(store)

    async def align(self, connection: Connection, standing: Standing) -> Aligned:
        """Let the project have the labels of the labeling config, or say what of its own labels has no place there."""
        if standing.layout.task == "transcription":
            return Aligned()
        for _ in range(_TRIES):
            try:
                return await self._align(connection, standing)
            except Conflict:  # another server has just set them, or somebody changed something else
                continue
        return Aligned(problem="the project is changed all the time, so that its labels can't follow the labeling config")

    async def _align(self, connection: Connection, standing: Standing) -> Aligned:
        project = await self._project(connection)
        body = dict(project.body) if project else ProjectBody().as_json()  # type: ignore[call-arg]
        own = {name: body.get(name) for name in ("labels", "label_map")}
        kept = (await self._connections.get(connection.id)).state.get("labels")
        wanted = _wanted(standing)
        if own not in ({"labels": None, "label_map": None}, kept, wanted):  # somebody has set them
            labels = _all(own)
            known = own_labels(labels, standing.layout)
            return Aligned(problem=_not_there([one for one in labels if one not in known]), fits=bool(known))
        if wanted is None:  # the model's classes are not known yet
            return Aligned()
        try:
            if project is None or own != wanted:
                project = await self._set(connection, project, {**body, **wanted})
        except ValidationError as error:
            told = error.errors()[0]["msg"]
            return Aligned(problem=f"the project's labels can't follow the labeling config: {told}")
        if kept != wanted:
            await self._connections.keep(connection.id, {"labels": wanted})
        problem = None if _fits(standing) else _nothing_fits(standing)
        return Aligned(project.changed_at, problem, fits=problem is None)

    async def _set(self, connection: Connection, project: Project | None, body: Mapping[str, Any]) -> Project:
        checked = ProjectBody.model_validate(dict(body)).as_json()
        actor = Actor(connection.team, connection.id)
        expected = project.revision if project else 0
        changed = await self._projects.put(actor, connection.project, checked, expected)
        _log.info("label_studio_labels_set", connection=connection.id, project=connection.project, labels=len(checked["labels"] or ()))
        return changed

    async def _project(self, connection: Connection) -> Project | None:
        try:
            return await self._projects.get(connection.team, connection.project)
        except UnknownProject:
            return None


def _wanted(standing: Standing) -> dict[str, Any] | None:
    """Return the labels of the config, and which class is which where their names differ."""
    if standing.classes is None:
        return None
    names = own_labels(standing.classes, standing.layout)
    renamed = any(name != own for name, own in names.items())
    return {"labels": list(dict.fromkeys(standing.layout.labels)), "label_map": names if renamed else None}


def _fits(standing: Standing) -> bool:
    return bool(own_labels(standing.classes or (), standing.layout))


def _nothing_fits(standing: Standing) -> str:
    classes, labels = list(standing.classes or ()), list(standing.layout.labels)
    return (
        f"nothing fits: none of the labels of {standing.layout.control.name!r} ({_some(labels)}) is a class of {standing.reference} "
        f"({_some(classes)}): rename them, or say which class each is with predicted_values"
    )


def _all(own: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(own["labels"] or (own["label_map"] or {}).values()))


def _not_there(missing: list[str]) -> str | None:
    if not missing:
        return None
    return f"the labeling config has no label for {_some(missing)} of the project: what is drafted as these is not shown"


def _some(names: list[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names[:8]) + (" …" if len(names) > 8 else "")
