"""`POST /v1/drafts`, `POST /v1/{task}/drafts`, `GET /v1/drafts/{id}`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic_core import to_json

from candor.errors import UnknownDraft
from candor.predictions import Task
from serving.api.access import needs, principal_of, rates_of
from serving.api.idempotency import Reply, fingerprint, once
from serving.api.parsing import read_request, request_body
from serving.api.schemas import DraftBody, DraftsAnswer, Problem
from serving.api.services import services_of
from serving.http.problems import MEDIA_TYPE, problem
from serving.requests import DraftRequest, DraftResult

_ONE_TASK = "Draft a batch of items: one entry per item, in order. An item that fails carries its error; the others are drafted."
_ANY_TASK = f"{_ONE_TASK} The task is the one that is named, else the model's, else the only one that takes such media."


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for the OpenAPI document."""
    return {code: {"model": Problem, "content": {MEDIA_TYPE: {}}} for code in codes}


def drafts_router(task: Task | None) -> APIRouter:
    """Return the drafting route of one task, or the general one."""
    router = APIRouter(tags=["drafts"], dependencies=[Depends(needs("draft"))])
    path = f"/v1/{task}/drafts" if task else "/v1/drafts"

    @router.post(
        path,
        summary=f"Draft {task}" if task else "Draft any task",
        description=_ONE_TASK if task else _ANY_TASK,
        operation_id=f"draft_{task or 'any'}",
        response_model=DraftsAnswer,
        responses=problems(404, 409, 413, 422, 429, 500, 503, 504),
        openapi_extra={"requestBody": request_body(), "parameters": _HEADERS},
    )
    async def draft(request: Request) -> Response:
        services = services_of(request)
        drafted, raw = await read_request(request, task, services.settings.limits)
        principal = principal_of(request)

        async def run() -> Reply:
            rates_of(request.app).take(principal, len(drafted.items))
            return _reply(drafted, await services.drafter.draft(drafted), raw)

        key = request.headers.get("idempotency-key")
        if key is None:
            reply = await run()
        else:
            abandoned = services.settings.server.request_seconds + 60
            reply = await once(services.store, principal.team, key, fingerprint(path, drafted, raw), abandoned, run)
        headers = {"Idempotency-Replayed": "true"} if reply.replayed else {}
        return Response(reply.body, reply.status, headers, "application/json")

    return router


_HEADERS = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "schema": {"type": kind},
        "description": text,
    }
    for name, kind, text in (
        ("Idempotency-Key", "string", "The same key with the same request gets the same answer, for 24 hours."),
        (
            "X-Request-Timeout-Seconds",
            "number",
            "Items not drafted by then fail with `deadline_exceeded`; the others are answered.",
        ),
        ("Cache-Control", "string", "`no-cache`: ask the model even where a stored draft would answer."),
        ("X-Request-Id", "string", "Your own id for this request; it comes back, and stands in the logs."),
    )
]


def _reply(request: DraftRequest, result: DraftResult, raw: bool) -> Reply:
    entries: list[dict[str, Any]] = []
    final = True
    for one in result.results:
        if one.draft is not None:
            entries.append(one.draft.as_wire(raw=raw))
        elif one.error is not None:
            entries.append({"item": one.item, "error": problem(one.error)})
            final = final and not one.error.retryable
    return Reply(200, to_json({"model_version": result.model_version, "drafts": entries}), final=final)


def stored_router() -> APIRouter:
    """Return the route that reads stored drafts."""
    router = APIRouter(tags=["drafts"], dependencies=[Depends(needs("draft", "review"))])

    @router.get("/v1/drafts/{draft_id}", summary="Read a stored draft", response_model=DraftBody, responses=problems(404, 422, 503))
    async def read_draft(
        request: Request,
        draft_id: Annotated[str, Path(max_length=64)],
        include: Annotated[list[Literal["raw"]] | None, Query(description="`raw`: show raw scores.")] = None,
    ) -> Response:
        services = services_of(request)
        draft = await services.store.get(draft_id, principal_of(request).team)
        if draft.arm == "twin":
            raise UnknownDraft(f"there is no draft {draft_id!r}")
        draft = await services.calibrations.as_now(draft)
        return Response(to_json(draft.as_wire(raw="raw" in (include or []))), media_type="application/json")

    return router
