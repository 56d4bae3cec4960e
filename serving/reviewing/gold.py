"""The use cases of gold items: made, corrected, removed, looked up. Clients with the scopes draft and review never learn of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from candor.errors import CandorError, InvalidRequest, NoItems, NotFound, TooManyItems
from serving.calibrations.manifests import Manifests
from serving.reviewing.derive import Vocabulary, labels_of, require_boxes, require_kind
from serving.reviewing.gold_files import Form, GoldFile, read_gold
from serving.reviewing.intake import ReviewIntake
from store import Store
from store.audit import Actor
from store.gold import Gold, GoldItem, GoldRevision, Put
from store.projects import Project, Projects

MOST = 100_000  # items in one call
_KINDS = {"label": "classification", "boxes": "detection", "text": "transcription"}


@dataclass(frozen=True, slots=True)
class Gilded:
    """What became of a file: how many items, and what is wrong with the others."""

    put: Put
    errors: dict[str, str] = field(default_factory=dict)


class GoldService:
    """The gold items of one store."""

    def __init__(self, store: Store, models: Manifests, intake: ReviewIntake) -> None:
        self._gold, self._projects = Gold(store), Projects(store)
        self._models = models
        self._intake = intake

    async def put(self, actor: Actor, name: str, body: bytes, form: Form) -> Gilded:
        """Make the items of a file gold, or correct them. What was drafted of corrected ones is judged anew.

        Raises:
            InvalidRequest: the file is not of its form.
            NoItems, TooManyItems: it has none, or too many.
            UnknownProject: there is none of that name.
        """
        project = await self._projects.get(actor.team, name)
        found = await asyncio.to_thread(read_gold, body, form)
        if not found.truths and not found.errors:
            raise NoItems("send at least one item")
        if len(found.truths) + len(found.errors) > MOST:
            raise TooManyItems(f"more than {MOST:,} items: send several files")
        words = Vocabulary(await self._labels(project))
        task = await self._task(project, found)
        await asyncio.to_thread(_check, found, words, task)
        done = await self._gold.put(actor, name, found.truths) if found.truths else Put(0, 0, 0)
        await self._intake.corrected(actor.team, name, list(found.truths))
        return Gilded(done, found.errors)

    async def remove(self, actor: Actor, name: str, items: Sequence[str]) -> int:
        """Let items be gold no more; their history stays.

        Raises:
            UnknownProject: there is none of that name.
            NotFound: none of the items is gold.
        """
        await self._projects.get(actor.team, name)
        removed = await self._gold.remove(actor, name, items)
        if not removed:
            raise NotFound("none of these items is gold in this project")
        return removed

    async def page(self, team: str, name: str, after: str | None, limit: int) -> Sequence[GoldItem]:
        """Return a page of gold items, by name.

        Raises:
            UnknownProject: there is none of that name.
        """
        await self._projects.get(team, name)
        return await self._gold.page(team, name, after, limit)

    async def history(self, team: str, name: str, item: str) -> Sequence[GoldRevision]:
        """Return what was held to be right for an item, the newest first.

        Raises:
            NotFound: it never was gold.
        """
        found = await self._gold.history(team, name, item)
        if not found:
            raise NotFound(f"item {item[:80]!r} never was gold in project {name!r}")
        return found

    async def _labels(self, project: Project) -> list[str]:
        """Return the labels that are allowed: the project's, else its model's; none where neither is known."""
        own, model = labels_of(project.body), project.body.get("model")
        if own or model is None:
            return own
        try:
            return list((await self._models.manifest(model, project.team)).labels)
        except CandorError:
            return []

    async def _task(self, project: Project, found: GoldFile) -> str | None:
        """Return the task of a project: as it says, else that of the gold that it has, else of the first item."""
        if project.body.get("task") is not None:
            return str(project.body["task"])
        known: Sequence[Mapping[str, Any]] = [one.truth for one in await self._gold.page(project.team, project.name, limit=1)]
        first = next(iter([*known, *found.truths.values()]), None)
        return None if first is None else _KINDS[next(iter(first))]


def _check(found: GoldFile, words: Vocabulary, task: str | None) -> None:
    """Let only those items stay whose truths are of the project's task and labels."""
    for item, truth in list(found.truths.items()):
        try:
            if task is not None:
                require_kind(task, truth)  # type: ignore[arg-type]
            require_boxes(truth)
            found.truths[item] = words.checked(truth)
        except InvalidRequest as error:
            del found.truths[item]
            found.errors[item] = error.detail
