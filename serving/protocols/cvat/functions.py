"""Models and projects as CVAT lists them: functions, each with its labels.

A function's id is `model-` or `project-` with the name. CVAT takes letters, digits and `_.-` in it: what else a name has is written as a
dot and two hex digits for each byte, the dot itself too.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from candor.errors import CandorError, NotFound
from candor.manifest import Manifest
from candor.policy import Policy
from candor.predictions import Task
from serving.api.services import Services
from serving.projects.body import view_of
from serving.requests import ModelStatus
from store.projects import Project, Projects

Kind: TypeAlias = Literal["model", "project"]

SHAPES: Mapping[Task, str] = {"detection": "rectangle", "classification": "tag"}  # what CVAT gets for a label of a task
CONFIDENCE = "confidence"  # the attribute that takes it, of labels in CVAT that have it
_STATES = {"ready": "ready", "available": "ready", "loading": "building", "failed": "error"}
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Function:
    """One function of CVAT: a model, or a project with the model that drafts for it. `labels` are those that it can propose."""

    kind: Kind
    name: str
    task: Task
    labels: Sequence[str]
    model_version: str
    confidence_status: str
    state: str

    @property
    def id(self) -> str:
        """Return the name that CVAT calls it by."""
        return function_id(self.kind, self.name)

    def as_json(self) -> dict[str, Any]:
        """Return the function as nuclio would describe it. CVAT can't read a list with an annotation `version` that is no number."""
        title = self.name if self.kind == "model" else f"project {self.name}"
        labels = [
            {"id": place, "name": label, "type": SHAPES[self.task], "attributes": _ATTRIBUTES} for place, label in enumerate(self.labels)
        ]
        annotations = {
            "name": f"Candor: {title}",
            "type": "detector",
            "spec": json.dumps(labels, ensure_ascii=False),
            "candor.kind": self.kind,
            "candor.name": self.name,
            "candor.task": self.task,
            "candor.model_version": self.model_version,
            "candor.confidence_status": self.confidence_status,
        }
        return {
            "metadata": {"name": self.id, "namespace": "nuclio", "labels": {"nuclio.io/project-name": "cvat"}, "annotations": annotations},
            "spec": {"description": f"{self.task} by {self.model_version}, confidence {self.confidence_status}"},
            "status": {"state": self.state},
        }


_ATTRIBUTES = [{"name": CONFIDENCE, "input_type": "text", "values": [""]}]


def function_id(kind: Kind, name: str) -> str:
    """Return the id of a model's or project's function."""
    return f"{kind}-" + re.sub(rb"[^A-Za-z0-9_-]", lambda found: b".%02X" % found[0][0], name.encode()).decode()


def named(text: str) -> tuple[Kind, str]:
    """Return what a function's id stands for.

    Raises:
        NotFound: it is none that `function_id` makes.
    """
    kind, _, rest = text.partition("-")
    with suppress(ValueError):
        name = re.sub(rb"\.([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), rest.encode()).decode()
        for one in ("model", "project"):
            if kind == one and rest and function_id(one, name) == text:
                return one, name
    raise NotFound(f"there is no function {text[:200]!r}: GET /api/functions lists them")


async def functions(services: Services, team: str) -> AsyncIterator[Function]:
    """Yield a team's functions: the models for images whose classes are known, and the projects that name one of them."""
    models = {status.name: status for status in await services.drafter.models(team)}
    for status in models.values():
        if (manifest := await _manifest(services, status.name, team)) is not None:
            yield _function("model", status.name, manifest, manifest.labels, models)
    projects, after = Projects(services.store), None
    while page := await projects.of_team(team, after=after, limit=_PAGE):
        for project in page:
            if (found := await _of_project(services, project, models)) is not None:
                yield found
        after = page[-1].name


async def function(services: Services, team: str, text: str) -> Function:
    """Return the function of an id.

    Raises:
        NotFound: the team has none of it.
    """
    async for one in functions(services, team):
        if one.id == text:
            return one
    named(text)
    raise NotFound(f"the function {text[:200]!r} has no model for images that is installed: GET /api/functions lists those that do")


async def _of_project(services: Services, project: Project, models: Mapping[str, ModelStatus]) -> Function | None:
    reference = project.body.get("model")
    manifest = await _manifest(services, reference, project.team) if reference else None
    if manifest is None:
        return None
    mapping = view_of(project.body, Policy()).labels
    labels = manifest.labels if mapping is None else [mapping.to[label] for label in manifest.labels if label in mapping.to]
    return _function("project", project.name, manifest, labels, models)


async def _manifest(services: Services, reference: str, team: str) -> Manifest | None:
    """Return what drafts under a reference; None where it is not installed, or not for images."""
    await services.resolver.refresh(reference, team)
    try:
        found = services.resolver.manifest(reference, team)
    except CandorError:
        return None
    return found if found.task in SHAPES and found.labels else None


def _function(kind: Kind, name: str, manifest: Manifest, labels: Sequence[str], models: Mapping[str, ModelStatus]) -> Function:
    status = models.get(manifest.name)
    confidence = status.confidence_status if status and status.version == manifest.version else "as its drafts say"
    return Function(
        kind,
        name,
        manifest.task,
        list(dict.fromkeys(labels)),
        manifest.version,
        confidence,
        _STATES[status.state] if status else "ready",
    )
