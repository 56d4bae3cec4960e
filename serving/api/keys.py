"""`/v1/keys`: a team's API keys. `/v1/teams/{team}/keys`: the same for any team, for the operator."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse

from candor.errors import UnknownTeam
from serving.access import OPERATOR_TEAM, Principal
from serving.api.access import access_of, actor_of, needs, principal_of
from serving.api.drafts import problems
from serving.api.services import services_of
from serving.api.team_schemas import KeyBody, KeysAnswer, NewKeyAnswer, NewKeyBody, key_as_json
from store.teams import Teams

TeamName = Annotated[str, Path(max_length=64)]
_KeyId = Annotated[str, Path(max_length=64)]


def keys_router() -> APIRouter:
    """Return the routes of API keys."""
    router = APIRouter(tags=["teams"], dependencies=[Depends(needs("admin"))])
    _add_own(router)
    _add_of_teams(router)
    return router


def of_team(principal: Principal, team: str) -> str:
    """Return a team's name where the caller may look at it.

    Raises:
        UnknownTeam: it may not, which looks as if there were none.
    """
    if team != principal.team and not principal.operates:
        raise UnknownTeam(f"there is no team {team!r}")
    return team


def _add_own(router: APIRouter) -> None:
    @router.get("/v1/keys", summary="List your team's API keys", response_model=KeysAnswer, responses=problems(503))
    async def own_keys(request: Request) -> JSONResponse:
        return await _list(request, principal_of(request).team)

    @router.post(
        "/v1/keys",
        summary="Make an API key for your team",
        description="The answer shows the key, once: only its hash is kept.",
        status_code=201,
        response_model=NewKeyAnswer,
        responses=problems(422, 503),
    )
    async def make_own(request: Request, wanted: NewKeyBody) -> JSONResponse:
        return await _make(request, principal_of(request).team, wanted)

    @router.delete(
        "/v1/keys/{key_id}",
        summary="Revoke an API key of your team",
        description="Within two seconds it opens nothing any more, anywhere. A revoked key stays as it is. The last key of the operator's "
        "team with `admin` is not revoked.",
        response_model=KeyBody,
        responses=problems(404, 409, 422, 503),
    )
    async def revoke_own(request: Request, key_id: _KeyId) -> JSONResponse:
        return await _revoke(request, principal_of(request).team, key_id)


def _add_of_teams(router: APIRouter) -> None:
    @router.get("/v1/teams/{team}/keys", summary="List a team's API keys", response_model=KeysAnswer, responses=problems(404, 422, 503))
    async def keys(request: Request, team: TeamName) -> JSONResponse:
        return await _list(request, of_team(principal_of(request), team))

    @router.post(
        "/v1/teams/{team}/keys",
        summary="Make an API key for a team",
        status_code=201,
        response_model=NewKeyAnswer,
        responses=problems(404, 422, 503),
    )
    async def make(request: Request, team: TeamName, wanted: NewKeyBody) -> JSONResponse:
        return await _make(request, of_team(principal_of(request), team), wanted)

    @router.delete(
        "/v1/teams/{team}/keys/{key_id}",
        summary="Revoke an API key of a team",
        response_model=KeyBody,
        responses=problems(404, 409, 422, 503),
    )
    async def revoke(request: Request, team: TeamName, key_id: _KeyId) -> JSONResponse:
        return await _revoke(request, of_team(principal_of(request), team), key_id)


async def _list(request: Request, team: str) -> JSONResponse:
    return JSONResponse({"keys": [key_as_json(key) for key in await Teams(services_of(request).store).keys(team)]})


async def _make(request: Request, team: str, wanted: NewKeyBody) -> JSONResponse:
    expires_at = wanted.expiry(datetime.now(UTC))
    scopes = list(dict.fromkeys(wanted.scopes))
    key, text = await Teams(services_of(request).store).add_key(actor_of(request), team, wanted.name, scopes, expires_at)
    access_of(request.app).forget()
    return JSONResponse({**key_as_json(key), "key": text}, 201, {"Cache-Control": "no-store"})


async def _revoke(request: Request, team: str, key_id: str) -> JSONResponse:
    teams = Teams(services_of(request).store)
    key = await teams.revoke(actor_of(request), team, key_id, keep_admin=team == OPERATOR_TEAM)
    access_of(request.app).forget()
    return JSONResponse(key_as_json(key))
