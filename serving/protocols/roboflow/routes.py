"""`/roboflow/…`: the addresses that Roboflow's clients add to their server's.

Their key comes in the body, in the query, or as a bearer's. Two of their calls, to unload models, come without any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from candor import __version__
from candor.errors import InvalidRequest, NotFound, NotReady, Unauthenticated, UnknownModel, WrongTask
from candor.predictions import Task
from serving.access import Principal
from serving.api.parsing import parsed_form
from serving.api.services import services_of
from serving.protocols.asking import (
    all_drafted,
    decoded,
    drafts_of,
    fields_in,
    known,
    labels_of,
    of_bytes,
    of_url,
    off_loop,
    ready,
    text_of,
)
from serving.protocols.roboflow.answers import TASKS, described, predicted, registered
from serving.protocols.roboflow.reading import LOOKED_AT, filter_of, images_of, key_in, model_of
from serving.requests import Item


def roboflow_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/roboflow", include_in_schema=False)
    _add_server(router)
    _add_models(router)
    _add_inference(router)
    return router


def _add_server(router: APIRouter) -> None:
    @router.get("/info")
    async def info() -> JSONResponse:
        return JSONResponse({"name": "Candor", "version": __version__, "uuid": "candor"})

    @router.get("/healthz")
    async def healthy() -> JSONResponse:
        return JSONResponse({"status": "healthy"})

    @router.get("/readiness")
    async def readiness(request: Request) -> JSONResponse:
        if not await ready(services_of(request)):
            raise NotReady("a model is still loading, or the store does not answer", retry_after=5)
        return JSONResponse({"status": "ready"})


def _add_models(router: APIRouter) -> None:
    @router.get("/model/registry")
    async def registry(request: Request) -> JSONResponse:
        return JSONResponse({"models": await _registered(request, await known(request, _key(request)))})

    @router.post("/model/add")
    async def add(request: Request) -> JSONResponse:
        principal, body, _ = await _asked(request)
        model_id = text_of(body, "model_id") or ""
        found = await _registered(request, principal)
        if model_id not in [one["model_id"] for one in found]:
            found.append(await _described(request, principal, model_id))
        return JSONResponse({"models": found})

    @router.post("/model/remove")
    @router.post("/model/clear")
    async def unload() -> JSONResponse:
        """Nothing: Candor keeps by itself what is used. Whoever asks sends no key, and so is told of no model."""
        return JSONResponse({"models": []})


def _add_inference(router: APIRouter) -> None:
    @router.post("/infer/object_detection")
    async def detect(request: Request) -> JSONResponse:
        return await _infer(request, "detection")

    @router.post("/infer/classification")
    async def classify(request: Request) -> JSONResponse:
        return await _infer(request, "classification")

    @router.api_route("/{dataset}/{version}", methods=["GET", "POST"])
    async def older(request: Request, dataset: str, version: str) -> JSONResponse:
        if dataset in ("infer", "model"):
            raise NotFound(f"{dataset}/{version[:80]} is not served here: object detection and classification are")
        query = request.query_params
        principal = await known(request, _key(request))
        item = await _sent_alone(request, query)
        (found,) = await _predicted(request, principal, [item], model_of(f"{dataset}/{version}"), None, query)
        return JSONResponse(found)


async def _infer(request: Request, task: Task) -> JSONResponse:
    principal, body, size = await _asked(request)
    model_id = text_of(body, "model_id")
    if model_id is None:
        raise InvalidRequest("model_id: name a model; GET /roboflow/model/registry lists them")
    limits = services_of(request).settings.limits
    items, listed = await off_loop(size, images_of, body.get("image"), limits)
    found = await _predicted(request, principal, items, model_of(model_id), task, body)
    return JSONResponse(found if listed else found[0])


async def _predicted(
    request: Request, principal: Principal, items: list[Item], model: str, task: Task | None, asked: Mapping[str, Any]
) -> list[dict[str, Any]]:
    wanted = filter_of(asked, older=task is None)
    drafts = all_drafted(await drafts_of(request, principal, items, model=model, task=task))
    labels = {version: await labels_of(request, version, principal.team) for version in {one.model_version for one in drafts}}
    return [predicted(draft, labels[draft.model_version], wanted) for draft in drafts]


async def _sent_alone(request: Request, query: Mapping[str, str]) -> Item:
    """The one image of the older form: an address in the query, a file, its bytes, or their base64 whatever the content type says."""
    limits = services_of(request).settings.limits
    if image := query.get("image"):
        return of_url(image, "image") if image.startswith(("http://", "https://")) else of_bytes(decoded(image, limits.item_bytes), "image")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        form = await parsed_form(request, 1)
        try:
            files = [value for _, value in form.multi_items() if not isinstance(value, str)]
            if len(files) != 1:
                raise InvalidRequest("send one file")
            return of_bytes(await files[0].read(), "image")
        finally:
            await form.close()
    body = await request.body()
    if kind.startswith("image/") or kind == "application/octet-stream":
        return of_bytes(body, "image")
    return of_bytes(await off_loop(len(body), decoded, body.decode("ascii", errors="replace"), limits.item_bytes), "image")


async def _asked(request: Request) -> tuple[Principal, dict[str, Any], int]:
    """Who asks, the body, and its size. Of whom it does not know the server holds no more than the beginning, where the key is."""
    principal = None
    if _key(request) or "authorization" in request.headers or "x-api-key" in request.headers:
        principal = await known(request, _key(request))
    chunks, size = list[bytes](), 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if principal is None and size >= LOOKED_AT:
            principal = await _by_beginning(request, b"".join(chunks))
    body = b"".join(chunks)
    principal = principal or await known(request, key_in(body))
    return principal, await off_loop(size, fields_in, body), size


async def _by_beginning(request: Request, beginning: bytes) -> Principal:
    try:
        return await known(request, key_in(beginning))
    except Unauthenticated as error:
        told = f"; in a body it is looked for in the first {LOOKED_AT:,} bytes: put `api_key` before the image"
        raise Unauthenticated(error.detail + told) from error


def _key(request: Request) -> str | None:
    return request.query_params.get("api_key")


async def _registered(request: Request, principal: Principal) -> list[dict[str, Any]]:
    return registered(await services_of(request).drafter.models(principal.team))


async def _described(request: Request, principal: Principal, model_id: str) -> dict[str, Any]:
    """A model under an id that the registry does not list, such as one version of it."""
    reference = model_of(model_id)
    await services_of(request).manifests.manifest(reference, principal.team)
    statuses = await services_of(request).drafter.models(principal.team)
    status = next((one for one in statuses if one.name == reference.partition("@")[0]), None)
    if status is None:
        raise UnknownModel(f"there is no model {model_id[:200]!r}: GET /roboflow/model/registry lists them")
    if status.task not in TASKS:
        raise WrongTask(f"{status.name} is a model for {status.task}; here models for images are served")
    return described(model_id, status)
