"""Models, health, readiness, metrics, and what each problem means."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from candor.errors import CandorError, NotFound
from serving import metrics
from serving.api.access import needs, principal_of
from serving.api.drafts import problems
from serving.api.schemas import ModelsAnswer, ReadyAnswer
from serving.api.services import Services, services_of


def system_router() -> APIRouter:
    """Return the routes of the control part."""
    router = APIRouter(tags=["system"])

    @router.get(
        "/v1/models",
        summary="List the models",
        description="The server's own, which every team may use, and those that your team registered.",
        response_model=ModelsAnswer,
        responses=problems(503),
        dependencies=[Depends(needs())],
    )
    async def models(request: Request) -> JSONResponse:
        found = await services_of(request).drafter.models(principal_of(request).team)
        return JSONResponse({"models": [asdict(status) for status in found]})

    @router.get("/livez", summary="Whether the process answers")
    async def livez() -> JSONResponse:
        return JSONResponse({"live": True})

    @router.get("/readyz", summary="Whether every task can draft", response_model=ReadyAnswer, responses={503: {"model": ReadyAnswer}})
    async def readyz(request: Request) -> JSONResponse:
        answer = await _readiness(services_of(request))
        return JSONResponse(answer, 200 if answer["ready"] else 503)

    @router.get("/metrics", summary="Counts for Prometheus", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)

    @router.get("/problems/{code}", summary="What a problem means", responses=problems(404, 422))
    async def explain(code: str) -> JSONResponse:
        kind = _kinds(CandorError).get(code)
        if kind is None:
            raise NotFound(f"there is no problem {code!r}")
        told = {"code": kind.code, "title": kind.title, "status": kind.status, "retryable": kind.retryable, "meaning": kind.__doc__}
        return JSONResponse(told)

    return router


async def _readiness(services: Services) -> dict[str, Any]:
    found = {status.task: status for status in await services.drafter.models() if status.default}
    models, ready = [], True
    try:
        await services.store.ping()
    except CandorError:
        ready = False
    for task, chosen in services.settings.tasks.items():
        status = found.get(task)
        state = status.state if status else "failed"
        ready = ready and state == "ready"
        models.append(
            {
                "task": task,
                "model": chosen.model,
                "version": status.version if status else "",
                "state": state,
                "detail": status.detail if status else "the task's deployment does not answer",
            }
        )
    return {"ready": ready, "models": models}


def _kinds(root: type[CandorError]) -> dict[str, type[CandorError]]:
    """The kinds of error under `root`, by code."""
    found: dict[str, type[CandorError]] = {}
    for kind in root.__subclasses__():
        found |= {kind.code: kind, **_kinds(kind)}
    return found
