"""`/v1/models/{name}/…`: register versions, look at them, point aliases to them. `GET /v1/models` is in `system`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from candor.errors import InvalidRequest
from models.requested import json_schema
from serving.api.access import actor_of, needs, principal_of
from serving.api.drafts import problems
from serving.api.model_schemas import (
    AliasBody,
    AliasesAnswer,
    MovesAnswer,
    PointingBody,
    RegistrationBody,
    VersionBody,
    VersionDetail,
    VersionsAnswer,
)
from serving.api.registration import read_registration
from serving.api.services import services_of
from serving.registry.service import Pointing
from store.aliases import AliasMove
from store.registry import Alias, RegisteredVersion

_PAGE = 100
_Name = Annotated[str, Path(max_length=100, description="Name of a model.")]
_Version = Annotated[str, Path(max_length=200, description="`ver_…`, `sha256:` with 8 hex digits or more, or an alias.")]
_Alias = Annotated[str, Path(max_length=100, description="Such as `production`, which the model's name alone stands for.")]
_Limit = Annotated[int, Query(ge=1, le=500)]
_IfMatch = Annotated[
    str | None, Header(max_length=32, description='The revision that you have seen, as `"3"`; with another one nothing is done: 409.')
]


def models_router() -> APIRouter:
    """Return the routes of registered models."""
    router = APIRouter(tags=["models"])
    _add_registration(router)
    _add_versions(router)
    _add_version_changes(router)
    _add_aliases(router)
    _add_alias_changes(router)
    return router


_READS = [Depends(needs())]
_WRITES = [Depends(needs("register"))]


def _add_registration(router: APIRouter) -> None:
    @router.post(
        "/v1/models/{name}/versions",
        summary="Register a version of your own model",
        description="A job validates it before it may draft: ask for the version, or the job, until it is `ready` or `failed`. The "
        "model's first ready version gets the alias `production`. The same content again is the version that there is.",
        status_code=202,
        response_model=VersionBody,
        responses=problems(404, 409, 413, 422, 503),
        dependencies=_WRITES,
        openapi_extra={"requestBody": _registration_body()},
    )
    async def register(request: Request, name: _Name) -> JSONResponse:
        models = services_of(request).models
        models.check_new(name)  # before a large file is taken in
        requested, artifact = await read_registration(request)
        version = await models.register(actor_of(request), name, requested, artifact)
        return JSONResponse(_version(version), 202, {"Location": f"/v1/models/{name}/versions/{version.id}"})

    @router.get(
        "/v1/schemas/manifest",
        summary="The JSON schema of a registration's manifest",
        response_model=dict[str, Any],
        dependencies=_READS,
    )
    async def schema() -> JSONResponse:
        return JSONResponse(_schema())


def _add_versions(router: APIRouter) -> None:
    @router.get(
        "/v1/models/{name}/versions",
        summary="List the versions of a registered model",
        response_model=VersionsAnswer,
        responses=problems(404, 422, 503),
        dependencies=_READS,
    )
    async def versions(
        request: Request,
        name: _Name,
        after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
        limit: _Limit = _PAGE,
    ) -> JSONResponse:
        found = await services_of(request).models.versions(principal_of(request).team, name, after, limit + 1)
        page = found[:limit]
        return JSONResponse({"versions": [_version(one) for one in page], "next": page[-1].id if len(found) > limit else None})

    @router.get(
        "/v1/models/{name}/versions/{version}",
        summary="Read a version, with the report of its validation",
        response_model=VersionDetail,
        responses=problems(404, 422, 503),
        dependencies=_READS,
    )
    async def version(request: Request, name: _Name, version: _Version) -> JSONResponse:
        models, team = services_of(request).models, principal_of(request).team
        return JSONResponse(await _detail(request, await models.version(team, name, version)))


def _add_version_changes(router: APIRouter) -> None:
    @router.post(
        "/v1/models/{name}/versions/{version}/retire",
        summary="Let a version draft no more",
        description="What it drafted stays readable. Refused while an alias points to it. To bring it back, register the same file again.",
        response_model=VersionDetail,
        responses=problems(404, 409, 422, 503),
        dependencies=_WRITES,
    )
    async def retire(request: Request, name: _Name, version: _Version) -> JSONResponse:
        return JSONResponse(await _detail(request, await services_of(request).models.retire(actor_of(request), name, version)))

    @router.delete(
        "/v1/models/{name}/versions/{version}",
        summary="Delete a version and its files",
        description="Refused while drafts or an alias refer to it. The validation of one that is not ready yet is cancelled.",
        status_code=204,
        responses=problems(404, 409, 422, 503),
        dependencies=_WRITES,
    )
    async def delete(request: Request, name: _Name, version: _Version) -> Response:
        await services_of(request).models.delete(actor_of(request), name, version)
        return Response(status_code=204)


def _add_aliases(router: APIRouter) -> None:
    @router.get(
        "/v1/models/{name}/aliases",
        summary="List the aliases of a registered model",
        response_model=AliasesAnswer,
        responses=problems(404, 422, 503),
        dependencies=_READS,
    )
    async def aliases(request: Request, name: _Name) -> JSONResponse:
        found = await services_of(request).models.aliases(principal_of(request).team, name)
        return JSONResponse({"aliases": [_alias(one) for one in found]})

    @router.get(
        "/v1/models/{name}/aliases/{alias}/history",
        summary="List the moves of an alias",
        response_model=MovesAnswer,
        responses=problems(404, 422, 503),
        dependencies=_READS,
    )
    async def history(
        request: Request,
        name: _Name,
        alias: _Alias,
        after: Annotated[int | None, Query(ge=1, le=10**9, description="`next` of the page before.")] = None,
        limit: _Limit = _PAGE,
    ) -> JSONResponse:
        found = await services_of(request).models.history(principal_of(request).team, name, alias, after, limit + 1)
        page = found[:limit]
        return JSONResponse({"history": [_move(one) for one in page], "next": page[-1].revision if len(found) > limit else None})


def _add_alias_changes(router: APIRouter) -> None:
    where = "/v1/models/{name}/aliases/{alias}"

    @router.put(
        where,
        summary="Point an alias to a version",
        description="At once and wholly; within a second every new draft follows it. With a canary, that share of the items goes to it. "
        '`If-Match: "0"` makes the alias only where there is none.',
        response_model=AliasBody,
        responses=problems(404, 409, 422, 503),
        dependencies=_WRITES,
    )
    async def move(request: Request, name: _Name, alias: _Alias, body: PointingBody, if_match: _IfMatch = None) -> JSONResponse:
        to = Pointing(body.version, body.canary.version, body.canary.share) if body.canary else Pointing(body.version)
        return _moved(await services_of(request).models.move(actor_of(request), name, alias, to, _revision(if_match)))

    @router.delete(where, summary="Remove an alias", status_code=204, responses=problems(404, 409, 422, 503), dependencies=_WRITES)
    async def remove(request: Request, name: _Name, alias: _Alias, if_match: _IfMatch = None) -> Response:
        await services_of(request).models.remove_alias(actor_of(request), name, alias, _revision(if_match))
        return Response(status_code=204)

    @router.post(
        where + "/rollback",
        summary="Point an alias to where it was before its newest move",
        description="That is a move too: done twice, the alias is back where it was.",
        response_model=AliasBody,
        responses=problems(404, 409, 422, 503),
        dependencies=_WRITES,
    )
    async def roll_back(request: Request, name: _Name, alias: _Alias, if_match: _IfMatch = None) -> JSONResponse:
        return _moved(await services_of(request).models.roll_back(actor_of(request), name, alias, _revision(if_match)))


@cache
def _schema() -> dict[str, Any]:
    return json_schema()


def _registration_body() -> dict[str, Any]:
    schema = RegistrationBody.model_json_schema()
    schema["properties"]["artifact"] = schema.pop("$defs")["ArtifactBody"]
    text, file = {"type": "string"}, {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["manifest", "artifact"], "properties": {"manifest": text, "artifact": file, "sha256": text}}
    return {"required": True, "content": {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}}


def _revision(if_match: str | None) -> int | None:
    """Return the revision of an If-Match header; `*` and none are any."""
    if if_match is None or if_match.strip() == "*":
        return None
    digits = if_match.strip().removeprefix("W/").strip('"')
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
        raise InvalidRequest(f'If-Match {if_match!r} is no revision: send the alias\'s ETag, such as "3"')
    return int(digits)


def _version(version: RegisteredVersion) -> dict[str, Any]:
    plain = {name: getattr(version, name) for name in ("id", "model", "version", "state", "task", "bytes", "job", "created_by")}
    return {
        **plain,
        "family": version.request.get("family", ""),
        "request": dict(version.request),
        "created_at": version.created_at.isoformat(),
        "settled_at": version.settled_at.isoformat() if version.settled_at else None,
    }


async def _detail(request: Request, version: RegisteredVersion) -> dict[str, Any]:
    pointing = await services_of(request).models.pointing_to(version)
    content: Mapping[str, Any] = {"manifest": version.manifest, "report": version.report, "aliases": pointing}
    return {**_version(version), **content}


def _alias(alias: Alias) -> dict[str, Any]:
    canary = None if alias.canary is None else {"version": alias.canary, "share": alias.share}
    plain = {"model": alias.model, "alias": alias.alias, "version": alias.version, "canary": canary}
    return {**plain, "revision": alias.revision, "moved_at": alias.moved_at.isoformat()}


def _moved(alias: Alias) -> JSONResponse:
    return JSONResponse(_alias(alias), headers={"ETag": f'"{alias.revision}"'})


def _move(move: AliasMove) -> dict[str, Any]:
    canary = None if move.canary is None else {"version": move.canary, "share": move.share}
    return {"revision": move.revision, "version": move.version, "canary": canary, "by": move.by, "at": move.at.isoformat()}
