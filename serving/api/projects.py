"""`/v1/projects`: make, change, delete and read a team's projects."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from candor.errors import InvalidRequest
from serving.api.access import needs, principal_of
from serving.api.drafts import problems
from serving.api.services import services_of
from serving.projects.body import ProjectBody
from serving.projects.service import ProjectService
from store.audit import Actor
from store.projects import Project

PROJECT_NAME = r"^[\w][\w .:-]{0,127}$"
_Name = Annotated[str, Path(pattern=PROJECT_NAME, description="Letters, digits, `_`, and after the first also ` .:-`.")]
_IfMatch = Annotated[
    str | None, Header(max_length=32, description='The revision that you have seen, as `"3"`; with another one nothing is done: 409.')
]
_PAGE = 100


class ProjectAnswer(BaseModel):
    """One project as it is now. `ETag` is its revision."""

    name: str
    revision: int
    created_at: str
    changed_at: str
    project: ProjectBody


class ProjectsAnswer(BaseModel):
    """A page of projects, by name."""

    projects: list[ProjectAnswer]
    next: str | None


class RevisionBody(BaseModel):
    """What a project was from a moment on; without `project` it was deleted."""

    revision: int
    project: ProjectBody | None
    by: str
    at: str


class HistoryAnswer(BaseModel):
    """All revisions of a project, the newest first."""

    history: list[RevisionBody]


def projects_router() -> APIRouter:
    """Return the routes of projects."""
    router = APIRouter(tags=["projects"])
    _add_reading(router)
    _add_changes(router)
    return router


def _add_reading(router: APIRouter) -> None:
    reads = [Depends(needs())]

    @router.get(
        "/v1/projects", summary="List projects", response_model=ProjectsAnswer, responses=problems(401, 422, 503), dependencies=reads
    )
    async def projects(
        request: Request,
        after: Annotated[str | None, Query(max_length=128, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = _PAGE,
    ) -> JSONResponse:
        found = await _service(request).of_team(principal_of(request).team, after, limit + 1)
        page = found[:limit]
        return JSONResponse({"projects": [_told(one) for one in page], "next": page[-1].name if len(found) > limit else None})

    @router.get(
        "/v1/projects/{name}",
        summary="Read a project",
        response_model=ProjectAnswer,
        responses=problems(401, 404, 422, 503),
        dependencies=reads,
    )
    async def project(request: Request, name: _Name) -> JSONResponse:
        return _answer(await _service(request).get(principal_of(request).team, name))

    @router.get(
        "/v1/projects/{name}/history",
        summary="Read all revisions of a project",
        description="The newest first; also of a project that was deleted.",
        response_model=HistoryAnswer,
        responses=problems(401, 404, 422, 503),
        dependencies=reads,
    )
    async def history(request: Request, name: _Name) -> JSONResponse:
        found = await _service(request).history(principal_of(request).team, name)
        told = [{"revision": one.revision, "project": one.body, "by": one.by, "at": one.at.isoformat()} for one in found]
        return JSONResponse({"history": told})


def _add_changes(router: APIRouter) -> None:
    writes = [Depends(needs("register"))]

    @router.put(
        "/v1/projects/{name}",
        summary="Make or change a project",
        description="The whole project; fields that are left out have their defaults. Within a second all new drafts follow it. `If-Match: "
        '"0"` makes it only where there is none. Drafts have the labels of the project: `label_map` says which class of the model '
        "becomes which label, many to one. An image's label has the sum of its classes' confidences; a box keeps that of its class, which "
        "is the least that its label can have.",
        response_model=ProjectAnswer,
        responses=problems(401, 403, 409, 422, 503),
        dependencies=writes,
    )
    async def put(request: Request, name: _Name, body: ProjectBody, if_match: _IfMatch = None) -> JSONResponse:
        return _answer(await _service(request).put(_actor(request), name, body, _revision(if_match)))

    @router.delete(
        "/v1/projects/{name}",
        summary="Delete a project",
        description="Its history stays, and its drafts keep its name. New drafts under the name have the server's defaults.",
        status_code=204,
        responses=problems(401, 403, 404, 409, 422, 503),
        dependencies=writes,
    )
    async def delete(request: Request, name: _Name, if_match: _IfMatch = None) -> Response:
        await _service(request).delete(_actor(request), name, _revision(if_match))
        return Response(status_code=204)


def _service(request: Request) -> ProjectService:
    services = services_of(request)
    return ProjectService(services.store, services.resolver)


def _actor(request: Request) -> Actor:
    return principal_of(request).actor(getattr(request.state, "request_id", ""))


def _revision(if_match: str | None) -> int | None:
    """Return the revision of an If-Match header; `*` and none are any."""
    if if_match is None or if_match.strip() == "*":
        return None
    digits = if_match.strip().removeprefix("W/").strip('"')
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
        raise InvalidRequest(f'If-Match {if_match!r} is no revision: send the project\'s ETag, such as "3"')
    return int(digits)


def _told(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "revision": project.revision,
        "created_at": project.created_at.isoformat(),
        "changed_at": project.changed_at.isoformat(),
        "project": dict(project.body),
    }


def _answer(project: Project) -> JSONResponse:
    return JSONResponse(_told(project), headers={"ETag": f'"{project.revision}"'})
