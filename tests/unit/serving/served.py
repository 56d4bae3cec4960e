"""The whole server in one process, over three fake models: what a client would see, without Ray, a model or a network."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from calibration.record import CalibrationRecord
from candor.fake import FakeModel
from candor.predictions import TASKS, Task
from serving.api.services import Services
from serving.composition import local_drafters, opened_store, router
from serving.config import LimitSettings, ModelSettings, ServerSettings, Settings, StorageSettings
from serving.http.app import create_app
from serving.requests import Drafter

MODELS: dict[Task, str] = {"detection": "finder", "transcription": "listener", "classification": "namer"}
PROBLEM = "application/problem+json"
Wrap = Callable[[Drafter], Drafter]


def model(task: Task, **changes: Any) -> ModelSettings:
    """One fake model. Names that begin with `options_` set options of the family."""
    options = {"task": task, **{name.removeprefix("options_"): changes.pop(name) for name in list(changes) if name.startswith("options_")}}
    return ModelSettings(**{"task": task, "family": "fake", "source": "official:fake", "options": options, **changes})


def settings_in(folder: Path, **changes: Any) -> Settings:
    """Settings of a server whose files are in `folder`. `limits` and `server` are keyword arguments of their sections."""
    values: dict[str, Any] = {
        "storage": StorageSettings(
            database_url=f"sqlite+aiosqlite:///{folder}/candor.db",
            sqlite_synchronous="normal",
            blobs=str(folder / "blobs"),
            models=folder / "models",
            downloads=folder / "downloads",
        ),
        "engine": {"device": "cpu", "threads": 1, "prepare_threads": 2},
        "tasks": {task: {"model": name} for task, name in MODELS.items()},
        "models": {name: model(task) for task, name in MODELS.items()},
        **changes,
    }
    values["limits"] = LimitSettings(**changes.get("limits", {}))
    values["server"] = ServerSettings(**{"auth": "none", **changes.get("server", {})})
    return Settings(**values)


@dataclass
class Server:
    """A running server: its application, a client of it, and the fake models that it has loaded."""

    app: FastAPI
    client: httpx.AsyncClient
    services: Services
    drafters: dict[Task, Any]
    loaded: dict[str, FakeModel] = field(default_factory=dict)

    async def ready(self) -> None:
        """Wait until every default model is loaded."""
        await asyncio.gather(*(drafter.warm() for drafter in self.drafters.values()))

    def inferred(self, name: str = "finder") -> int:
        """How many units the model has run."""
        return sum(self.loaded[name].batches) if name in self.loaded else 0

    async def draft(self, items: Sequence[Any], path: str = "/v1/drafts", *, headers: Any = None, **body: Any) -> httpx.Response:
        """Send items as JSON."""
        return await self.client.post(path, json={**body, "items": list(items)}, headers=headers)

    async def drafts(self, items: Sequence[Any], path: str = "/v1/detection/drafts", **more: Any) -> list[dict[str, Any]]:
        """Send items as JSON and return the entries of the answer."""
        answer = await self.draft(items, path, **more)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["drafts"]
        return found


def image(item_id: str = "a", data: bytes | None = None) -> dict[str, Any]:
    """An image item; its bytes follow from its id where none are given."""
    return {"id": item_id, "image": {"base64": base64.b64encode(item_id.encode() if data is None else data).decode()}}


def audio(item_id: str = "a", data: bytes | None = None) -> dict[str, Any]:
    """An audio item."""
    return {"id": item_id, "audio": image(item_id, data)["image"]}


def is_problem(answer: httpx.Response, status: int, code: str) -> str:
    """Assert that the answer is that problem, and return its detail."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    told = answer.json()
    assert (told["status"], told["code"], told["type"]) == (status, code, f"/problems/{code}")
    assert told["title"]
    assert answer.headers["x-request-id"]
    detail: str = told["detail"]
    assert detail
    return detail


_starts: list[Callable[[], AbstractAsyncContextManager[Services]]] = []


@cache
def _application(body_bytes: int, **options: Any) -> FastAPI:
    """Making the routes takes longer than most tests: one application is started again and again."""

    def start() -> AbstractAsyncContextManager[Services]:
        return _starts[-1]()

    return create_app(start, body_bytes, **options)


@asynccontextmanager
async def running(settings: Settings, wrap: Wrap = lambda drafter: drafter, **options: Any) -> AsyncIterator[Server]:
    """Run the application with its lifespan, as Ray Serve would. `wrap` may put something around the general drafter."""
    drafters: dict[Task, Any] = {}

    @asynccontextmanager
    async def start() -> AsyncIterator[Services]:
        tasks = [task for task in TASKS if task in settings.tasks]
        async with opened_store(settings) as (store, blobs), local_drafters(settings, tasks, store, blobs) as made:
            drafters.update(made)
            yield Services(settings, wrap(router(settings, made, store)), store, blobs)

    _starts.append(start)
    app = _application(settings.limits.body_bytes, **options)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://candor") as client:
        yield Server(app, client, app.state.services, drafters)


class Gate:
    """A fake model's device call that waits to be let through. `entered` is set when the first one waits."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        assert self.opened.wait(10)

    async def waited_for(self) -> None:
        """Return when a device call waits."""
        assert await asyncio.to_thread(self.entered.wait, 10)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def calibration_of(version: str, task: Task = "classification", **changes: Any) -> CalibrationRecord:
    """A record that fits a version."""
    method = {"classification": "temperature", "detection": "temperature_bias", "transcription": "word_temperature_bias"}[task]
    values: dict[str, Any] = {
        "task": task,
        "method": method,
        "parameters": {"temperature": 2.0} if task == "classification" else {"temperature": 2.0, "bias": 0.1},
        "model_version": version,
        "event": "it is right",
        "data": {},
        "fit": {},
        "figures": {},
        "status": "calibrated",
        "reason": "",
        "created_at": "2026-01-01T00:00:00+00:00",
        "display_threshold": 0.0 if task == "detection" else None,
        "normaliser": {"name": "n", "version": "1"} if task == "transcription" else None,
        **changes,
    }
    return CalibrationRecord(**values)
