"""`/x-anylabeling/…`: the addresses that the program adds to its `server_url`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from candor.errors import InvalidRequest, UnknownModel
from serving.access import Principal
from serving.api.services import services_of
from serving.protocols.asking import all_drafted, decoded, drafts_of, known, labels_of, of_bytes, off_loop, read_object, text_of
from serving.protocols.x_anylabeling.answers import drafted, model

_TASKS = ("detection", "classification")


def x_anylabeling_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)
    routes: tuple[tuple[str, str, Callable[..., Awaitable[Response]]], ...] = (
        ("GET", "/health", _health),
        ("GET", "/v1/models", _models),
        ("GET", "/v1/models/{name}/info", _info),
        ("POST", "/v1/predict", _predict),
    )
    for method, path, answer in routes:
        for root in ("/x-anylabeling", "/x-anylabeling/"):  # a `server_url` is often pasted with a slash at its end
            router.add_api_route(root + path, answer, methods=[method])
    return router


async def _health(request: Request) -> Response:
    found = await services_of(request).drafter.models()
    loaded = sum(status.state == "ready" for status in found)
    return JSONResponse({"status": "healthy", "models_loaded": loaded, "timestamp": datetime.now(UTC).isoformat()})


async def _models(request: Request) -> Response:
    principal = await known(request, request.headers.get("token"))
    return JSONResponse({"success": True, "data": await _listed(request, principal)})


async def _info(request: Request, name: str) -> Response:
    principal = await known(request, request.headers.get("token"))
    found = (await _listed(request, principal)).get(name)
    if found is None:
        raise UnknownModel(f"there is no model {name[:200]!r} for images: load the list of models again")
    return JSONResponse({"success": True, "data": found})


async def _predict(request: Request) -> Response:
    principal = await known(request, request.headers.get("token"))
    body = await read_object(request)
    name, image = text_of(body, "model"), text_of(body, "image")
    if image is None or name is None:
        raise InvalidRequest("send `model`, and `image` as base64 or a data: URL")
    least, classes = _params(body.get("params"))
    data = await off_loop(len(image), decoded, image, services_of(request).settings.limits.item_bytes)
    (draft,) = all_drafted(await drafts_of(request, principal, [of_bytes(data, "image")], model=name))
    return JSONResponse({"success": True, "data": drafted(draft, least, classes)})


def _params(params: Any) -> tuple[float, list[str]]:
    """The threshold of confidence, 0 where none is set, and the classes that are wanted, none where all are."""
    params = {} if params is None else params
    if not isinstance(params, dict):
        raise InvalidRequest("params: send an object")
    least, classes = params.get("conf_threshold") or 0.0, params.get("filter_classes") or []
    if isinstance(least, bool) or not isinstance(least, (int, float)) or not 0 <= least <= 1:
        raise InvalidRequest("params.conf_threshold: a number from 0 to 1")
    if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
        raise InvalidRequest("params.filter_classes: a list of labels")
    return float(least), classes


async def _listed(request: Request, principal: Principal) -> dict[str, Any]:
    found = await services_of(request).drafter.models(principal.team)
    return {one.name: model(one, await labels_of(request, one.version, principal.team)) for one in found if one.task in _TASKS}
