"""A task's deployment, one handle away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from candor.errors import CandorError, Internal, Overloaded, WorkerLost
from candor.ids import new_id
from candor.predictions import Task
from serving.requests import DraftRequest, DraftResult, ModelStatus

_log = structlog.get_logger(__name__)
_ASK_SECONDS = 5.0  # how long a deployment may take to say how its models are


class RemoteDrafter:
    """Drafts with the replicas of a task's deployment. `handle` finds them when first asked for."""

    def __init__(self, task: Task, handle: Callable[[], Any]) -> None:
        self._task = task
        self._handle = handle

    async def draft(self, request: DraftRequest) -> DraftResult:
        """Draft in a replica; where it dies, once more in another."""
        try:
            found: DraftResult = await self._call("draft", request)
        except WorkerLost:
            _log.warning("replica_lost", task=self._task, again=True)
            found = await self._call("draft", request)
        return found

    async def models(self, team: str = "default") -> list[ModelStatus]:
        """Ask a replica for the models of its task."""
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                found: list[ModelStatus] = await self._call("models", team)
        except TimeoutError as error:
            raise WorkerLost(f"the deployment of {self._task} does not answer: it is starting, or restarting") from error
        return found

    async def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return await getattr(self._handle(), method).remote(*arguments)
        except CandorError:
            raise
        except RayTaskError as error:
            if isinstance(error.cause, CandorError):
                raise error.cause from None
            incident = new_id("inc")
            _log.error("remote_failed", task=self._task, incident=incident, exc_info=error)
            raise Internal(f"look up {incident} in the log") from error
        except BackPressureError as error:
            raise Overloaded(f"the deployment of {self._task} is full", retry_after=5) from error
        except (RayActorError, DeploymentUnavailableError) as error:
            raise WorkerLost(f"the process that drafts {self._task} stopped: send the request again", retry_after=5) from error
        except RayError as error:
            raise WorkerLost(f"the deployment of {self._task} can't be reached: send the request again", retry_after=5) from error
