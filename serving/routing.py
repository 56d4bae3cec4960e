"""The general drafter: finds the task of a request and passes it on, to this process or to the task's own deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from candor.errors import CandorError, InvalidRequest, NoItems
from candor.predictions import Task
from candor.tasks import SPECS
from models.catalog import Catalog, ModelEntry
from serving.requests import Drafter, DraftRequest, DraftResult, ModelStatus


class Router:
    """Drafts any task that it has a drafter for."""

    def __init__(self, drafters: Mapping[Task, Drafter], catalog: Catalog) -> None:
        self._drafters = drafters
        self._catalog = catalog

    async def draft(self, request: DraftRequest) -> DraftResult:
        """Draft the items with the drafter of their task."""
        if not request.items:
            raise NoItems("send at least one item")
        return await self._drafters[self._task(request)].draft(request)

    async def models(self) -> list[ModelStatus]:
        """Return the models of every task. Where a task's drafter can't be asked, its models are shown as failed."""
        answers = await asyncio.gather(*(drafter.models() for drafter in self._drafters.values()), return_exceptions=True)
        found: list[ModelStatus] = []
        for task, answer in zip(self._drafters, answers, strict=True):
            if isinstance(answer, BaseException):
                if not isinstance(answer, CandorError):
                    raise answer
                found += [_unknown(entry, answer.detail) for entry in self._catalog.entries.values() if entry.task == task]
            else:
                found += answer
        return found

    def _task(self, request: DraftRequest) -> Task:
        """The task as it is said, else the model's, else the only one that takes such media."""
        task = request.task or (self._catalog.entry(request.model.partition("@")[0]).task if request.model else None)
        if task is not None:
            if task not in self._drafters:
                raise InvalidRequest(f"this server does not draft {task}: it drafts {', '.join(self._drafters)}")
            return task
        kinds = {item.kind for item in request.items if item.kind}
        fitting = [task for task in self._drafters if SPECS[task].media in kinds]
        if len(kinds) == 1 and len(fitting) == 1:
            return fitting[0]
        raise InvalidRequest(f"say which task is meant, or name a model: this server drafts {', '.join(self._drafters)}")


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
