"""`/v1/teams`: the operator makes teams, limits and removes them; a team's admin sees its own. `/v1/audit`: who changed what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from candor.errors import Forbidden, InUse
from serving.access import OPERATOR_TEAM, Principal
from serving.api.access import access_of, actor_of, needs, principal_of
from serving.api.drafts import problems
from serving.api.keys import TeamName, of_team
from serving.api.services import services_of
from serving.api.team_schemas import (
    AuditAnswer,
    LimitsBody,
    NewTeamBody,
    TeamAnswer,
    TeamBody,
    TeamsAnswer,
    entry_as_json,
    team_as_json,
)
from store.audit import entries
from store.teams import Teams


def teams_router() -> APIRouter:
    """Return the routes of teams and of the audit log."""
    router = APIRouter(tags=["teams"], dependencies=[Depends(needs("admin"))])
    _add_reading(router)
    _add_changes(router)
    _add_audit(router)
    return router


def _add_reading(router: APIRouter) -> None:
    @router.get(
        "/v1/teams",
        summary="List the teams",
        description="The operator sees all of them, another team itself.",
        response_model=TeamsAnswer,
        responses=problems(503),
    )
    async def teams(request: Request) -> JSONResponse:
        store, principal = Teams(services_of(request).store), principal_of(request)
        found = await store.all() if principal.operates else [await store.get(principal.team)]
        return JSONResponse({"teams": [team_as_json(one) for one in found]})

    @router.get("/v1/teams/{team}", summary="Read a team", response_model=TeamAnswer, responses=problems(404, 422, 503))
    async def team(request: Request, team: TeamName) -> JSONResponse:
        store = Teams(services_of(request).store)
        found = await store.get(of_team(principal_of(request), team))
        return JSONResponse({**team_as_json(found), "stored_bytes": await store.stored_bytes(found.name)})


def _add_changes(router: APIRouter) -> None:
    @router.post("/v1/teams", summary="Make a team", status_code=201, response_model=TeamBody, responses=problems(409, 422, 503))
    async def make(request: Request, wanted: NewTeamBody) -> JSONResponse:
        _must_operate(principal_of(request))
        made = await Teams(services_of(request).store).add(actor_of(request), wanted.name, wanted.limits.as_json())
        return JSONResponse(team_as_json(made), 201, {"Location": f"/v1/teams/{made.name}"})

    @router.put(
        "/v1/teams/{team}/limits",
        summary="Give a team limits of its own",
        description="They replace those that it had, and hold within two seconds.",
        response_model=TeamBody,
        responses=problems(404, 422, 503),
    )
    async def limit(request: Request, team: TeamName, limits: LimitsBody) -> JSONResponse:
        name = of_team(principal_of(request), team)
        _must_operate(principal_of(request))
        changed = await Teams(services_of(request).store).limit(actor_of(request), name, limits.as_json())
        access_of(request.app).forget()
        return JSONResponse(team_as_json(changed))

    @router.delete(
        "/v1/teams/{team}",
        summary="Remove a team that has nothing but keys",
        description="A team that has drafts, uploads or models stays: revoke its keys, and nobody gets in.",
        status_code=204,
        response_class=Response,
        responses=problems(404, 409, 422, 503),
    )
    async def remove(request: Request, team: TeamName) -> Response:
        name = of_team(principal_of(request), team)
        _must_operate(principal_of(request))
        if name == OPERATOR_TEAM:
            raise InUse(f"the team {name!r} is the operator's, to which the models of the configuration belong: it stays")
        await Teams(services_of(request).store).remove(actor_of(request), name)
        access_of(request.app).forget()
        return Response(status_code=204)


def _add_audit(router: APIRouter) -> None:
    @router.get(
        "/v1/audit",
        summary="Read the audit log, newest first",
        description="What your team changed: keys, teams, projects, models, aliases, calibrations, jobs.",
        response_model=AuditAnswer,
        responses=problems(404, 422, 503),
    )
    async def audit(
        request: Request,
        team: Annotated[str | None, Query(max_length=64, description="Another team, for the operator.")] = None,
        action: Annotated[str | None, Query(max_length=64, description="Only this action, such as `alias.moved`.")] = None,
        target: Annotated[str | None, Query(max_length=512, description="Only what was done to this.")] = None,
        after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> JSONResponse:
        principal = principal_of(request)
        whose = of_team(principal, team or principal.team)
        found = await entries(services_of(request).store, whose, action=action, target=target, after=after, limit=limit + 1)
        page = found[:limit]
        return JSONResponse({"entries": [entry_as_json(one) for one in page], "next": page[-1].id if len(found) > limit else None})


def _must_operate(principal: Principal) -> None:
    if not principal.operates:
        raise Forbidden(f"this takes a key with the scope admin of the operator's team, {OPERATOR_TEAM}")
