"""`/v1/projects/{project}/connections`: connect a project to a labeling tool, look at how that goes, and push drafts to it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse

from candor.errors import InvalidRequest, NotFound
from serving.api.access import actor_of, needs, principal_of
from serving.api.connection_schemas import (
    ChangedConnectionBody,
    ConnectionAnswer,
    ConnectionsAnswer,
    NewConnectionBody,
    PushAnswer,
    TasksAnswer,
    TaskState,
    answer_as_json,
    connection_as_json,
    settings_of,
    task_as_json,
)
from serving.api.drafts import problems
from serving.api.projects import PROJECT_NAME
from serving.api.services import services_of
from serving.protocols.label_studio.connecting import Connecting, Wish
from serving.protocols.label_studio.queueing import queue_all
from serving.protocols.label_studio.tools import tools_of
from store.audit import note
from store.connections import Connection, Connections
from store.label_studio_progress import page
from store.label_studio_tasks import Tasks

ProjectName = Annotated[str, Path(pattern=PROJECT_NAME, description="Name of the project.")]
ConnectionId = Annotated[str, Path(max_length=64)]
_PATH = "/v1/projects/{project}/connections"


def connections_router() -> APIRouter:
    """Return the routes of connected tools."""
    router = APIRouter(tags=["connections"], dependencies=[Depends(needs("register"))])
    _add_making(router)
    _add_reading(router)
    _add_changing(router)
    _add_tasks(router)
    return router


def _add_making(router: APIRouter) -> None:
    @router.post(
        _PATH,
        summary="Connect a labeling tool",
        description="With `url`, `token` and `remote_project` the tool is set up wholly: its labeling config is checked against the model "
        "and the labels, it is told where to ask for drafts and where to report reviews, and a test task is sent round; `findings` tell of "
        "each. A project that is not there is made. What can't be done is refused, with what to do about it, and leaves nothing behind. "
        "The same connection again is mended: 200. Without `url` the answer's `base_url` is to be pasted into the tool.",
        status_code=201,
        response_model=ConnectionAnswer,
        responses={200: {"model": ConnectionAnswer}, **problems(403, 409, 413, 422, 424, 503)},
    )
    async def connect(request: Request, project: ProjectName, body: NewConnectionBody) -> JSONResponse:
        candor_url = body.candor_url or str(request.base_url).rstrip("/")
        wish = Wish(candor_url, body.url, body.token, body.remote_project, body.choices())
        made = await _connecting(request).connect(actor_of(request), project, wish)
        told = answer_as_json(made.connection, made.findings, made.base)
        return JSONResponse(told, 201 if made.new else 200, headers={"Cache-Control": "no-store"})


def _add_reading(router: APIRouter) -> None:
    @router.get(_PATH, summary="List a project's connections", response_model=ConnectionsAnswer, responses=problems(422, 503))
    async def connections(request: Request, project: ProjectName) -> JSONResponse:
        found = await Connections(services_of(request).store).of_project(principal_of(request).team, project)
        return JSONResponse({"connections": [connection_as_json(one) for one in found]})

    @router.get(_PATH + "/{connection}", summary="Read a connection", response_model=ConnectionAnswer, responses=problems(404, 422, 503))
    async def connection_(request: Request, project: ProjectName, connection: ConnectionId) -> JSONResponse:
        return JSONResponse(answer_as_json(await _found(request, project, connection), ()))

    @router.post(
        _PATH + "/{connection}/check",
        summary="Check a connection",
        description="Looks at each part from the tool's side, as far as it may be asked: health and setup, the webhook, a test task.",
        response_model=ConnectionAnswer,
        responses=problems(404, 422, 503),
    )
    async def check(request: Request, project: ProjectName, connection: ConnectionId) -> JSONResponse:
        found = await _found(request, project, connection, active=True)
        return JSONResponse(answer_as_json(found, await _connecting(request).check(found)))


def _add_changing(router: APIRouter) -> None:
    @router.patch(
        _PATH + "/{connection}",
        summary="Change a connection",
        description="Within two seconds it holds. To connect another project of the tool, connect that.",
        response_model=ConnectionAnswer,
        responses=problems(404, 422, 503),
    )
    async def change(request: Request, project: ProjectName, connection: ConnectionId, body: ChangedConnectionBody) -> JSONResponse:
        found = await _found(request, project, connection, active=True)
        if body.url not in (None, found.url) and found.token is not None and body.token is None:
            raise InvalidRequest("give the token with the new `url`: the one that is kept goes to the address that it was given for alone")
        fields = {name: value for name in ("url", "token") if (value := getattr(body, name)) is not None}
        if body.settings is not None:
            fields["settings"] = settings_of(body.settings, found.settings)
        changed = await Connections(services_of(request).store).change(actor_of(request), found.id, **fields)
        return JSONResponse(answer_as_json(changed, ()))

    @router.delete(
        _PATH + "/{connection}",
        summary="End a connection",
        description="Its ML backend and webhook are taken out of the tool, and its token is forgotten. Drafts and reviews stay. Where the "
        "tool can't be asked, `findings` says what stays there.",
        response_model=ConnectionAnswer,
        responses=problems(404, 422, 503),
    )
    async def end(request: Request, project: ProjectName, connection: ConnectionId) -> JSONResponse:
        found = await _found(request, project, connection, active=True)
        findings = await _connecting(request).end(actor_of(request), found)
        return JSONResponse(answer_as_json(await _found(request, project, connection), findings))


def _add_tasks(router: APIRouter) -> None:
    @router.post(
        _PATH + "/{connection}/push",
        summary="Push drafts to a labeling tool",
        description="Queues all tasks without annotation that have no draft of the version in force yet; they are drafted and put into the "
        "tool in the background, in batches, and tried again where that fails. `tasks` tells how far they are.",
        status_code=202,
        response_model=PushAnswer,
        responses=problems(404, 422, 424, 503),
    )
    async def push(request: Request, project: ProjectName, connection: ConnectionId) -> JSONResponse:
        found = await _found(request, project, connection, active=True)
        queued = await queue_all(tools_of(request), found)
        await note(services_of(request).store, actor_of(request), "connection.pushed", found.id, {"queued": queued})
        return JSONResponse({"queued": queued, "counts": await Tasks(services_of(request).store).counts(found.id)}, 202)

    @router.get(
        _PATH + "/{connection}/tasks",
        summary="List the tool's tasks that drafts were asked for",
        description="`queued` and `processing`: their drafts are to be pushed. `done`: they have one, or had none to show. `failed`: they "
        "get none, and `error` says why.",
        response_model=TasksAnswer,
        responses=problems(404, 422, 503),
    )
    async def tasks(
        request: Request,
        project: ProjectName,
        connection: ConnectionId,
        state: TaskState | None = None,
        after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> JSONResponse:
        store = services_of(request).store
        found = await _found(request, project, connection)
        rows = await page(store, found.id, state, after, limit + 1)
        told = [task_as_json(one) for one in rows[:limit]]
        more = rows[limit - 1].task if len(rows) > limit else None
        return JSONResponse({"counts": await Tasks(store).counts(found.id), "tasks": told, "next": more})


async def _found(request: Request, project: str, connection: str, *, active: bool = False) -> Connection:
    """Return a connection of the caller's team and of the project in the address.

    Raises:
        NotFound: there is none of that id, or, where it has to be `active`, it has ended.
    """
    found = await Connections(services_of(request).store).get(connection, principal_of(request).team)
    if found.project != project or (active and found.ended_at is not None):
        raise NotFound(f"there is no connection {connection!r}; GET /v1/projects/{project}/connections lists this project's")
    return found


def _connecting(request: Request) -> Connecting:
    return Connecting(services_of(request), tools_of(request).fetcher)
