"""The routes that Label Studio calls: those of its ML backends, beneath an address whose secret names the connection."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from candor.errors import InvalidRequest, Unauthenticated
from serving.protocols.label_studio.connected import HEALTH_SECONDS, Choices, connection_of
from serving.protocols.label_studio.events import received
from serving.protocols.label_studio.tools import tools as with_tools
from serving.protocols.label_studio.tools import tools_of

_BASE = "/label-studio/{project}/{secret}"


def label_studio_router() -> APIRouter:
    """Return the routes. Health and setup never wait for a model."""
    router = APIRouter(prefix=_BASE, include_in_schema=False, lifespan=with_tools)
    for path in ("/health", "/", ""):
        router.add_api_route(path, _health, methods=["GET"])
    router.add_api_route("/metrics", _nothing, methods=["GET"])
    router.add_api_route("/versions", _versions, methods=["GET"])
    router.add_api_route("/setup", _setup, methods=["POST"])
    router.add_api_route("/predict", _predict, methods=["POST"])
    router.add_api_route("/webhook", _webhook, methods=["POST"])
    router.add_api_route("/train", _nothing, methods=["POST"])
    return router


async def _health(request: Request, project: str, secret: str) -> dict[str, Any]:
    await connection_of(request, project, secret, HEALTH_SECONDS)
    return {"status": "UP", "model_class": "Candor"}


async def _nothing(request: Request, project: str, secret: str) -> dict[str, Any]:
    """Candor learns from reviews, not when Label Studio says so."""
    await connection_of(request, project, secret)
    return {}


async def _versions(request: Request, project: str, secret: str) -> dict[str, Any]:
    connection = await connection_of(request, project, secret)
    return {"versions": [await tools_of(request).predicting.version(connection)]}


async def _setup(request: Request, project: str, secret: str) -> dict[str, Any]:
    connection = await connection_of(request, project, secret)
    return {"model_version": await tools_of(request).predicting.set_up(connection, await _body(request))}


async def _predict(request: Request, project: str, secret: str) -> dict[str, Any]:
    connection = await connection_of(request, project, secret)
    return {"results": await tools_of(request).predicting.predict(connection, await _body(request), request.state.request_id)}


async def _webhook(request: Request, project: str, secret: str) -> JSONResponse:
    """Store what is reported, and answer: Label Studio waits for a second, and its annotators with it."""
    connection = await connection_of(request, project, secret)
    wanted = Choices.of(connection).header
    if wanted is not None and not hmac.compare_digest(request.headers.get(wanted["name"], "").encode(), wanted["value"].encode()):
        raise Unauthenticated("the webhook lacks the header that was agreed on: connect again with `candor label-studio connect`")
    tools = tools_of(request)
    await received(tools.services.store, connection, await _body(request))
    tools.tender.wake()
    return JSONResponse({}, 201)


async def _body(request: Request) -> Mapping[str, Any]:
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not JSON") from error
    if not isinstance(found, Mapping):
        raise InvalidRequest("the body is not a JSON object")
    return found
