"""`/api/functions`, `/api/function_invocations`: the part of nuclio's dashboard that CVAT uses."""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse

from candor.drafts import Draft
from candor.errors import InvalidRequest, NotFound
from serving.access import Principal, credentials_in
from serving.api.access import authenticated, rates_of
from serving.api.services import services_of
from serving.protocols.cvat.functions import SHAPES, function, functions, named
from serving.protocols.cvat.invocation import Call, patiently, read_call, seconds_of, shapes_of
from serving.requests import DraftRequest, Item, Media
from store.projects import Projects


def cvat_router() -> APIRouter:
    """Return the routes that CVAT takes for nuclio's."""
    router = APIRouter(include_in_schema=False)

    @router.get("/api/functions")
    async def listed(request: Request) -> JSONResponse:
        principal = await _caller(request)
        return JSONResponse({one.id: one.as_json() async for one in functions(services_of(request), principal.team)})

    @router.get("/api/functions/{name}")
    async def described(request: Request, name: str) -> JSONResponse:
        principal = await _caller(request)
        return JSONResponse((await function(services_of(request), principal.team, name)).as_json())

    @router.post("/api/function_invocations")
    async def invoked(
        request: Request,
        name: Annotated[str, Header(alias="x-nuclio-function-name")] = "",
        patience: Annotated[str | None, Header(alias="x-nuclio-invoke-timeout")] = None,
    ) -> JSONResponse:
        deadline = asyncio.get_running_loop().time() + seconds_of(patience)
        principal = await _caller(request)
        if not name:
            raise InvalidRequest("say which function is meant, in the header X-Nuclio-Function-Name")
        asked = await _asked(request, principal, name)
        call = await asyncio.to_thread(read_call, await request.body(), services_of(request).settings.limits.item_bytes)
        return JSONResponse(shapes_of(await _drafted(request, principal, asked, call, deadline), call.threshold))

    return router


async def _caller(request: Request) -> Principal:
    return await authenticated(request, _keys(request), "draft")


def _keys(request: Request) -> list[str]:
    """Return the keys of a request. CVAT can send one only as the password of Basic authentication."""
    found = []
    for one in request.headers.getlist("authorization"):
        scheme, _, rest = one.partition(" ")
        found.append(_password(rest) if scheme.lower() == "basic" else credentials_in([one], [])[0])
    return [*found, *request.headers.getlist("x-api-key")]


def _password(text: str) -> str:
    try:
        return base64.b64decode(text.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


async def _asked(request: Request, principal: Principal, name: str) -> DraftRequest:
    """Return what a function asks for, still without the frame.

    Raises:
        NotFound: the team has no such project, or it names no model.
    """
    kind, own = named(name)
    if kind == "project" and not (await Projects(services_of(request).store).get(principal.team, own)).body.get("model"):
        raise NotFound(f"the project {own!r} names no model: give it one with PUT /v1/projects/{own}")
    request_id: str = request.state.request_id
    return DraftRequest(
        items=(),
        model=own if kind == "model" else None,
        project=own if kind == "project" else None,
        request_id=request_id,
        fairness_key=f"{principal.team}/{request_id}",
        team=principal.team,
    )


async def _drafted(request: Request, principal: Principal, asked: DraftRequest, call: Call, deadline: float) -> Draft:
    clock = asyncio.get_running_loop().time
    item = Item(call.item, "image", Media(call.image))

    async def take() -> None:
        rates_of(request.app).take(principal, 1)

    async def draft() -> Draft:
        left = max(0.1, deadline - clock())
        (result,) = (await services_of(request).drafter.draft(replace(asked, items=(item,), timeout=left))).results
        if result.draft is None:
            raise result.error or NotFound("the frame was not drafted")
        return result.draft

    await patiently(take, deadline)
    found = await patiently(draft, deadline)
    if found.task not in SHAPES:
        raise InvalidRequest(f"the function {asked.model or asked.project!r} is for {found.task}")
    return found
