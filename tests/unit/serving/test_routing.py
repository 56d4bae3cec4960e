"""The general drafter: which task a request goes to, and models of tasks that can't be asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from candor.errors import CandorError, InvalidRequest, NoItems, UnknownModel, WorkerLost
from candor.predictions import Task
from models.catalog import Catalog, ModelEntry
from serving.requests import DraftRequest, DraftResult, Item, Media, MediaKind, ModelStatus
from serving.routing import Router

CATALOG = Catalog(
    [ModelEntry("finder", "detection", "fake", "official:x"), ModelEntry("listener", "transcription", "fake", "official:x")],
    Path("none"),
    Path("none"),
)


class Told:
    """Answers with its task, or raises."""

    def __init__(self, task: Task, error: Exception | None = None) -> None:
        self._task, self._error = task, error

    async def draft(self, request: DraftRequest) -> DraftResult:
        return DraftResult(self._task, ())

    async def models(self, team: str = "default") -> list[ModelStatus]:
        if self._error:
            raise self._error
        return [ModelStatus(f"{self._task}-model", "v", self._task, "fake", (), "uncalibrated", None, "ready")]


def router(*tasks: Task, **errors: Exception) -> Router:
    return Router({task: Told(task, errors.get(task)) for task in tasks}, CATALOG)


def request(*kinds: MediaKind | None, **values: Any) -> DraftRequest:
    return DraftRequest(tuple(Item("a", kind, Media(b"x")) for kind in kinds), **values)


@pytest.mark.parametrize(
    ("tasks", "asked", "expected"),
    [
        (["detection", "classification"], request("image", task="classification"), "classification"),
        (["detection", "classification"], request("image", model="finder"), "detection"),
        (["detection", "transcription"], request("image", model="listener@production"), "transcription"),
        (["detection", "transcription"], request("image", "image"), "detection"),
        (["detection", "transcription"], request("audio", None), "transcription"),
        (["detection"], request("image", model="finder", task="detection"), "detection"),
    ],
)
async def test_a_request_goes_to_its_task(tasks: Sequence[Task], asked: DraftRequest, expected: str) -> None:
    assert (await router(*tasks).draft(asked)).model_version == expected


@pytest.mark.parametrize(
    ("tasks", "asked", "error", "told"),
    [
        (["detection"], request(), NoItems, "at least one"),
        (["detection", "classification"], request("image"), InvalidRequest, "say which task"),
        (["detection", "transcription"], request("image", "audio"), InvalidRequest, "say which task"),
        (["detection", "transcription"], request(None), InvalidRequest, "say which task"),
        (["detection"], request("audio"), InvalidRequest, "say which task"),
        (["detection"], request("audio", task="transcription"), InvalidRequest, "does not draft transcription: it drafts detection"),
        (["detection"], request("audio", model="listener"), InvalidRequest, "does not draft transcription"),
        (["detection"], request("image", model="nobody"), UnknownModel, "finder, listener"),
    ],
)
async def test_a_request_without_a_task_to_go_to(tasks: Sequence[Task], asked: DraftRequest, error: type[CandorError], told: str) -> None:
    with pytest.raises(error, match=told):
        await router(*tasks).draft(asked)


async def test_models_of_a_task_that_does_not_answer_are_shown_as_failed() -> None:
    found = await router("detection", "transcription", detection=WorkerLost("it died")).models()
    assert [(one.name, one.task, one.state, one.detail) for one in found] == [
        ("finder", "detection", "failed", "it died"),
        ("transcription-model", "transcription", "ready", ""),
    ]


async def test_a_bug_of_a_task_is_not_taken_for_its_absence() -> None:
    with pytest.raises(RuntimeError):
        await router("detection", detection=RuntimeError("bug")).models()
