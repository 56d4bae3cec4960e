"""The deployments: one per task with its engine, and the control one; or all of it in one replica."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from ray import serve

from candor.predictions import TASKS, Task
from serving.api.services import Services
from serving.composition import local_drafters, opened_store, router
from serving.config import Settings
from serving.deployments.handles import RemoteDrafter
from serving.http.app import build_routes, create_app
from serving.requests import Drafter, DraftRequest, DraftResult, ModelStatus
from serving.telemetry import configure_logs

CONTROL = "control"


class Replica:
    """What a deployment answers to a handle. Its HTTP side is the application that `serve.ingress` gives it, as `app`."""

    app: Any

    async def draft(self, request: DraftRequest) -> DraftResult:
        """Draft, for the control deployment."""
        return await self._drafter.draft(request)

    async def models(self, team: str = "default") -> list[ModelStatus]:
        """Tell of the models of this deployment."""
        return await self._drafter.models(team)

    @property
    def _drafter(self) -> Drafter:
        drafter: Drafter = self.app.state.services.drafter
        return drafter


def applications(settings: Settings, environment: Mapping[str, str]) -> list[serve.RunTarget]:
    """Return what Ray Serve is to run for these settings, the control part last. `environment` is for the replicas."""
    tasks = [task for task in TASKS if task in settings.tasks]
    if settings.server.topology == "single":
        return [_target(settings, "candor", "/", partial(_single, settings, tasks), _options(settings, tasks, environment))]
    found = [
        _target(settings, task, f"/v1/{task}", partial(_task, settings, task), _options(settings, [task], environment), (task,))
        for task in tasks
    ]
    return [*found, _target(settings, CONTROL, "/", partial(_control, settings, tasks), _options(settings, [], environment))]


def _target(
    settings: Settings,
    name: str,
    prefix: str,
    start: Callable[[], Any],
    options: dict[str, Any],
    only: tuple[Task, ...] | None = None,
) -> serve.RunTarget:
    def build() -> Any:
        configure_logs(settings.server, f"{name}-{os.getpid()}")
        app = create_app(start, settings.limits.body_bytes, only or TASKS, control=only is None, echo_id=False)
        build_routes(app)
        return app

    deployment = serve.deployment(
        name=name,
        max_ongoing_requests=settings.limits.queued_items + 64,  # our own admission says no first, and how long to wait
        graceful_shutdown_timeout_s=settings.server.graceful_stop_seconds,
        graceful_shutdown_wait_loop_s=0.2,
        **options,
    )
    return serve.RunTarget(target=deployment(serve.ingress(build)(Replica)).bind(), name=name, route_prefix=prefix)


def _options(settings: Settings, tasks: Sequence[Task], environment: Mapping[str, str]) -> dict[str, Any]:
    """What a deployment asks of Ray. Replicas count where a task has a deployment of its own."""
    chosen = [settings.tasks[task] for task in tasks]
    return {
        "num_replicas": chosen[0].replicas if len(chosen) == 1 else 1,
        "ray_actor_options": {
            "num_cpus": sum(one.num_cpus for one in chosen),
            "num_gpus": sum(one.num_gpus for one in chosen),
            "runtime_env": {"env_vars": dict(environment)},
        },
    }


@asynccontextmanager
async def _task(settings: Settings, task: Task) -> AsyncIterator[Services]:
    async with opened_store(settings) as (store, blobs), local_drafters(settings, [task], store, blobs) as drafters:
        yield Services(settings, drafters[task], store, blobs)


@asynccontextmanager
async def _single(settings: Settings, tasks: Sequence[Task]) -> AsyncIterator[Services]:
    async with opened_store(settings) as (store, blobs), local_drafters(settings, tasks, store, blobs) as drafters:
        yield Services(settings, router(settings, drafters, store), store, blobs)


@asynccontextmanager
async def _control(settings: Settings, tasks: Sequence[Task]) -> AsyncIterator[Services]:
    drafters: dict[Task, Drafter] = {task: RemoteDrafter(task, partial(serve.get_deployment_handle, task, task)) for task in tasks}
    async with opened_store(settings) as (store, blobs):
        yield Services(settings, router(settings, drafters, store), store, blobs)
