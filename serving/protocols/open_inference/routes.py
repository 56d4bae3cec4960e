"""`/v2/…`. Health and what the server is are for everyone; models need a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from candor import __version__
from candor.drafts import Draft
from candor.errors import NotReady
from candor.manifest import Manifest
from candor.tasks import SPECS
from serving.access import Principal
from serving.api.services import services_of
from serving.protocols.asking import all_drafted, drafts_of, known, ready
from serving.protocols.open_inference.answers import OUTPUTS, tensors
from serving.protocols.open_inference.reading import read

_Answer = Callable[[Request, str, str | None], Awaitable[JSONResponse]]


def open_inference_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v2", include_in_schema=False)
    _add_server(router)
    _add_model(router, "GET", "", _metadata)
    _add_model(router, "GET", "/ready", _model_ready)
    _add_model(router, "POST", "/infer", _infer)
    return router


def _add_server(router: APIRouter) -> None:
    @router.get("")
    @router.get("/")
    async def server() -> JSONResponse:
        return JSONResponse({"name": "candor", "version": __version__, "extensions": ["binary_tensor_data"]})

    @router.get("/health/live")
    async def live() -> JSONResponse:
        return JSONResponse({"live": True})

    @router.get("/health/ready")
    async def server_ready(request: Request) -> JSONResponse:
        found = await ready(services_of(request))
        return JSONResponse({"ready": found}, 200 if found else 503)


def _add_model(router: APIRouter, method: str, path: str, answer: _Answer) -> None:
    """Add an address of models, with and without a version."""

    async def of_model(request: Request, model: str) -> JSONResponse:
        return await answer(request, model, None)

    async def of_version(request: Request, model: str, version: str) -> JSONResponse:
        return await answer(request, model, version)

    router.add_api_route(f"/models/{{model}}{path}", of_model, methods=[method])
    router.add_api_route(f"/models/{{model}}/versions/{{version}}{path}", of_version, methods=[method])


def _reference(model: str, version: str | None) -> str:
    return model if version is None else f"{model}@{version}"


async def _manifest(request: Request, model: str, version: str | None) -> tuple[Principal, Manifest]:
    principal = await known(request)
    return principal, await services_of(request).manifests.manifest(_reference(model, version), principal.team)


async def _metadata(request: Request, model: str, version: str | None) -> JSONResponse:
    _, manifest = await _manifest(request, model, version)
    return JSONResponse(
        {
            "name": model,
            "versions": [manifest.digest],
            "platform": f"candor_{manifest.family}",
            "inputs": [{"name": SPECS[manifest.task].media, "datatype": "BYTES", "shape": [-1]}],
            "outputs": [output.described() for output in OUTPUTS[manifest.task]],
            "parameters": {"task": manifest.task, "labels": list(manifest.labels)},
        }
    )


async def _model_ready(request: Request, model: str, version: str | None) -> JSONResponse:
    """Whether a request can come: a version that is not loaded yet is loaded for it."""
    principal, manifest = await _manifest(request, model, version)
    states = {status.version: status for status in await services_of(request).drafter.models(principal.team)}
    status = states.get(manifest.version)
    if status is not None and status.state in ("loading", "failed"):
        raise NotReady(f"{model} is {status.state}: {status.detail or 'ask again in a moment'}", retry_after=5)
    return JSONResponse({"name": model, "ready": True})


async def _infer(request: Request, model: str, version: str | None) -> JSONResponse:
    principal, manifest = await _manifest(request, model, version)
    task = manifest.task
    asked = await read(request, SPECS[task].media, services_of(request).settings.limits)
    tensors(task, [], asked.outputs)  # a name that there is not costs no draft
    answers = await drafts_of(request, principal, asked.items, model=_reference(model, version), task=task)
    drafts = [answer for answer in answers if isinstance(answer, Draft)]
    if not drafts:
        all_drafted(answers)
    told = {} if asked.id is None else {"id": asked.id}
    made = drafts[0].model_version.rpartition("@")[2]
    return JSONResponse({"model_name": model, "model_version": made, **told, "outputs": tensors(task, answers, asked.outputs)})
