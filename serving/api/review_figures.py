"""`/v1/projects/{project}/agreement`, `effect` and `alarms`: how far people agree, whether drafts pay, and who lets errors pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from serving.api.access import actor_of, needs
from serving.api.drafts import problems
from serving.api.reviewers import LEADS, ProjectName, of_project
from serving.reviewing import agreement, alarms, effect, notices, page
from serving.reviewing.alarms import of_project as alarms_of
from serving.reviewing.figures import ALPHA, table
from serving.reviewing.people import body_of, read, review_section
from store.review_alarms import ReviewAlarms, as_json

_AlarmId = Annotated[str, Path(max_length=64)]
_Price = Annotated[float | None, Query(ge=0, le=1e12, description="In your currency; left out, the project's own.")]


class Clearing(BaseModel):
    """Why an alarm is cleared."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=4000, description="What you found: it is kept, with your key's id.")


def review_figures_router() -> APIRouter:
    """Return the routes of a project's agreement, effect and alarms, and its page."""
    router = APIRouter(tags=["review"], lifespan=_tending)
    _add_figures(router)
    _add_alarms(router)
    _add_clearing(router)
    _add_page(router)
    return router


@asynccontextmanager
async def _tending(app: FastAPI) -> AsyncIterator[None]:
    """Send notices while the application runs."""
    services = app.state.services
    notifier = notices.Notifier(services.store, services.settings.media)
    notifier.keep_tending()
    yield
    await notifier.close()


def _add_figures(router: APIRouter) -> None:
    @router.get(
        "/v1/projects/{project}/agreement",
        summary="Agreement of people",
        description="On items that several labelled: blind, with drafts shown, and the gap between both, which is anchoring. Where the "
        "project's labels are `ordered`, kappa is told `weighted`, too.",
        responses=problems(401, 403, 404, 422, 503),
        dependencies=[LEADS],
    )
    async def agreed(request: Request, project: ProjectName) -> JSONResponse:
        store, team = await of_project(request, project, up_to_date=False)
        scale = agreement.scale_of(await body_of(store, team, project))
        return JSONResponse(await asyncio.to_thread(agreement.agreement, await read(store, team, project), scale))

    @router.get(
        "/v1/projects/{project}/effect",
        summary="Do drafts pay?",
        description="Seconds and errors where drafts are shown against where chance withheld them, and a verdict. With prices, in money. "
        "Honeypots are left out.",
        responses=problems(401, 403, 404, 422, 503),
        dependencies=[LEADS],
    )
    async def effects(
        request: Request, project: ProjectName, hour: _Price = None, error: _Price = None, draft: _Price = None
    ) -> JSONResponse:
        store, team = await of_project(request, project, up_to_date=False)
        section = await review_section(store, team, project)
        prices = effect.prices_of(section, {"hour": hour, "error": error, "draft": draft})
        rows = await read(store, team, project)
        return JSONResponse(await asyncio.to_thread(effect.effect, rows, prices))


def _add_alarms(router: APIRouter) -> None:
    @router.get(
        "/v1/projects/{project}/alarms",
        summary="Alarms about reviewers",
        description="The newest first. `named`: e-BH over all reviewers of the project names this one too, at once with the others.",
        responses=problems(401, 403, 404, 422, 503),
        dependencies=[LEADS],
    )
    async def listed(
        request: Request,
        project: ProjectName,
        only_open: Annotated[bool, Query(alias="open", description="Leave cleared ones out.")] = False,
    ) -> JSONResponse:
        store, team = await of_project(request, project)
        every = await alarms_of(store, team, project)
        told = await asyncio.to_thread(table, await read(store, team, project), every)
        named = {one["reviewer"] for one in told if one["named"]}
        found = [{**as_json(one), "named": one.reviewer in named} for one in every if one.open or not only_open]
        return JSONResponse({"alarms": found, "reviewers": len(told), "false_named_at_most": ALPHA})

    @router.get(
        "/v1/projects/{project}/alarms/notices",
        summary="Notices of alarms, and what became of them",
        responses=problems(401, 403, 404, 422, 503),
        dependencies=[LEADS],
    )
    async def sent(request: Request, project: ProjectName) -> JSONResponse:
        store, team = await of_project(request, project, up_to_date=False)
        found = await ReviewAlarms(store).notices_of(team, project)
        return JSONResponse({"notices": [notices.as_json(one) for one in found]})

    @router.get(
        "/v1/projects/{project}/alarms/signing-key",
        summary="The key that notices are signed with",
        description="For whoever receives them: HMAC-SHA256 of `<Candor-Timestamp>.<body>` under it is in `Candor-Signature`.",
        responses=problems(401, 403, 404, 422, 503),
        dependencies=[Depends(needs("admin"))],
    )
    async def signing_key(request: Request, project: ProjectName) -> JSONResponse:
        store, team = await of_project(request, project, up_to_date=False)
        return JSONResponse({"key": await notices.signing_key(store, team, project)}, headers={"Cache-Control": "no-store"})

    @router.get(
        "/v1/projects/{project}/alarms/{alarm}",
        summary="One alarm with its evidence",
        responses=problems(401, 403, 404, 422, 503),
        dependencies=[LEADS],
    )
    async def one(request: Request, project: ProjectName, alarm: _AlarmId) -> JSONResponse:
        store, team = await of_project(request, project, up_to_date=False)
        return JSONResponse(as_json(await alarms.find(store, team, project, alarm)))


def _add_clearing(router: APIRouter) -> None:
    @router.post(
        "/v1/projects/{project}/alarms/{alarm}/clear",
        summary="Clear an alarm",
        description="The reviewer's evidence begins anew: what was finished before is spent. Who cleared it and why is kept.",
        responses=problems(401, 403, 404, 409, 422, 503),
        dependencies=[LEADS],
    )
    async def clear(request: Request, project: ProjectName, alarm: _AlarmId, body: Clearing) -> JSONResponse:
        store, _ = await of_project(request, project, up_to_date=False)
        return JSONResponse(as_json(await alarms.clear(store, actor_of(request), project, alarm, body.reason)))


def _add_page(router: APIRouter) -> None:
    @router.get(
        "/projects/{project}/review",
        summary="A project's review on one page",
        description="The verdict first; then both arms, reviewers, alarms, agreement.",
        response_class=HTMLResponse,
        responses=problems(401, 403, 404, 422, 503),
        dependencies=[LEADS],
    )
    async def shown(request: Request, project: ProjectName) -> HTMLResponse:
        store, team = await of_project(request, project)
        body = await body_of(store, team, project)
        every = await alarms_of(store, team, project)
        rows = await read(store, team, project)
        prices = effect.prices_of(body.get("review") or {}, {})
        told: dict[str, Any] = {"prices": prices, "alarms": every, "scale": agreement.scale_of(body)}
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(await asyncio.to_thread(page.html, project, rows, **told), headers=headers)
