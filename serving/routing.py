"""The general drafter: finds the task of a request and passes it on, to this process or to the task's own deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from candor.errors import CandorError, InvalidRequest, NoItems
from candor.predictions import Task
from candor.tasks import SPECS
from models.catalog import Catalog, ModelEntry
from serving.access import OPERATOR_TEAM
from serving.projects.views import ProjectViews
from serving.requests import Drafter, DraftRequest, DraftResult, ModelStatus
from serving.resolving import CatalogResolver, Resolver


class Router:
    """Drafts any task that it has a drafter for."""

    def __init__(
        self, drafters: Mapping[Task, Drafter], catalog: Catalog, resolver: Resolver | None = None, projects: ProjectViews | None = None
    ) -> None:
        self._drafters = drafters
        self._catalog = catalog
        self._resolver = resolver or CatalogResolver(catalog)
        self._projects = projects

    async def draft(self, request: DraftRequest) -> DraftResult:
        """Draft the items with the drafter of their task."""
        if not request.items:
            raise NoItems("send at least one item")
        return await self._drafters[await self._task(request)].draft(request)

    async def models(self, team: str = OPERATOR_TEAM) -> list[ModelStatus]:
        """Return the models of every task. Where a task's drafter can't be asked, its models are shown as failed."""
        answers = await asyncio.gather(*(drafter.models(team) for drafter in self._drafters.values()), return_exceptions=True)
        found: list[ModelStatus] = []
        for task, answer in zip(self._drafters, answers, strict=True):
            if isinstance(answer, BaseException):
                if not isinstance(answer, CandorError):
                    raise answer
                found += [_unknown(entry, answer.detail) for entry in self._catalog.entries.values() if entry.task == task]
            else:
                found += answer
        return found

    async def _task(self, request: DraftRequest) -> Task:
        """The task as it is said, else the model's, else the only one that takes such media."""
        task = request.task or await self._task_of_model(request)
        if task is not None:
            if task not in self._drafters:
                raise InvalidRequest(f"this server does not draft {task}: it drafts {', '.join(self._drafters)}")
            return task
        kinds = {item.kind for item in request.items if item.kind}
        fitting = [task for task in self._drafters if SPECS[task].media in kinds]
        if len(kinds) == 1 and len(fitting) == 1:
            return fitting[0]
        raise InvalidRequest(f"say which task is meant, or name a model: this server drafts {', '.join(self._drafters)}")

    async def _task_of_model(self, request: DraftRequest) -> Task | None:
        """The task of the model that is named, by the request or else by its project."""
        model = request.model
        if model is None and request.project is not None and self._projects is not None:
            await self._projects.refresh()
            model = self._projects.view(request.team, request.project).model
        if model is None:
            return None
        await self._resolver.refresh(model, request.team)
        return self._resolver.task(model, request.team)


def _unknown(entry: ModelEntry, detail: str) -> ModelStatus:
    return ModelStatus(
        name=entry.name,
        version="",
        task=entry.task,
        family=entry.family,
        aliases=entry.aliases,
        confidence_status="uncalibrated",
        calibration=None,
        state="failed",
        detail=detail,
    )
