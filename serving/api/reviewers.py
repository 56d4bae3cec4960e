"""`/v1/projects/{project}/reviewers`: the figures of the people who review, and what each of them is told of their own work."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse

from candor.errors import NotFound
from serving.api.access import kept, needs, principal_of
from serving.api.drafts import problems
from serving.api.projects import PROJECT_NAME
from serving.api.services import services_of
from serving.reviewing import feedback, figures
from serving.reviewing.alarms import look
from serving.reviewing.alarms import of_project as alarms_of
from serving.reviewing.people import People, read, review_section
from store import Store
from store.projects import Projects

ProjectName = Annotated[str, Path(pattern=PROJECT_NAME, description="Name of the project.")]
ReviewerName = Annotated[str, Path(min_length=1, max_length=256, description="The reviewer, as your platform names them.")]
LEADS = Depends(needs("register", "admin"))


def reviewers_router() -> APIRouter:
    """Return the routes of reviewers' figures."""
    router = APIRouter(tags=["review"])
    _add_summary(router)  # before the other one: names may hold slashes
    _add_figures(router)
    return router


def _add_figures(router: APIRouter) -> None:
    @router.get(
        "/v1/projects/{project}/reviewers",
        summary="Figures of all reviewers",
        description="Each with its counts and 95 % interval, or `not enough`. Those come first who most likely catch less than the floor. "
        "`named`: may be named at once with the others so named, with at most one honest person in twenty of them expected.",
        responses=problems(401, 403, 404, 422, 503),
        dependencies=[LEADS],
    )
    async def reviewers(request: Request, project: ProjectName) -> JSONResponse:
        store, team = await of_project(request, project)
        rows, alarms = await read(store, team, project), await alarms_of(store, team, project)
        told = await asyncio.to_thread(figures.table, rows, alarms)
        accused = {one.reviewer: one.id for one in alarms if one.open}
        return JSONResponse({"project": project, "reviewers": [{**one, "alarm": accused.get(one["reviewer"])} for one in told]})

    @router.get(
        "/v1/projects/{project}/reviewers/{reviewer:path}",
        summary="Figures of one reviewer",
        description="With months and guideline versions. `withheld`, `raised` and `second_review` say what the project's policy does now.",
        responses=problems(401, 403, 404, 422, 503),
        dependencies=[LEADS],
    )
    async def one(request: Request, project: ProjectName, reviewer: ReviewerName) -> JSONResponse:
        store, team = await of_project(request, project)
        rows, alarms = await read(store, team, project), await alarms_of(store, team, project)
        found = await asyncio.to_thread(figures.one_of, rows, reviewer, alarms)
        if found is None:
            raise NotFound(f"nothing of reviewer {reviewer[:80]!r} was reviewed in project {project!r}")
        people = kept(request.app, "review_people", lambda services: People(services.store))  # it remembers what it has read
        whom = (team, project, reviewer)
        policy = {
            "withheld": await people.withheld_for(*whom),
            "raised": await people.raised(*whom),
            "second_review": await people.second_review_for(*whom),
        }
        standing = next((one.id for one in alarms if one.open and one.reviewer == reviewer), None)
        return JSONResponse({**found, "alarm": standing, "policy": policy})


def _add_summary(router: APIRouter) -> None:
    @router.get(
        "/v1/projects/{project}/reviewers/{reviewer:path}/summary",
        summary="What a reviewer is told",
        description="To be shown to the reviewer: their own figures, and items that had an error on purpose, of the time before the "
        "project's `window_days`. Nothing newer changes it.",
        responses=problems(401, 403, 404, 422, 503),
        dependencies=[Depends(needs("review", "register", "admin"))],
    )
    async def summary(request: Request, project: ProjectName, reviewer: ReviewerName) -> JSONResponse:
        store, team = await of_project(request, project)
        days = (await review_section(store, team, project)).get("window_days") or feedback.WINDOW_DAYS
        rows = await read(store, team, project, reviewers=[reviewer])
        told: dict[str, Any] = await asyncio.to_thread(feedback.summary, reviewer, rows, datetime.now(UTC), float(days))
        return JSONResponse(told)


async def of_project(request: Request, project: str, *, up_to_date: bool = True) -> tuple[Store, str]:
    """Return the store and the team of a request about one of its projects.

    What an earlier process left undone, having been killed between a review and the look at it, is made up for first.

    Raises:
        UnknownProject: the team has no project of that name.
    """
    store, team = services_of(request).store, principal_of(request).team
    await Projects(store).get(team, project)
    if up_to_date:
        await look(store, team, project)
    return store, team
