"""`/openai/v1/audio/transcriptions`, `/openai/v1/models`; transcriptions also without the prefix, for clients that know the host alone."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from candor.errors import UnknownModel
from serving.api.access import needs, principal_of
from serving.api.services import services_of
from serving.protocols.asking import all_drafted, drafts_of, of_bytes
from serving.protocols.openai.answers import written
from serving.protocols.openai.reading import DEFAULT_MODEL, read
from serving.requests import ModelStatus


def openai_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(needs("draft"))])

    @router.post("/openai/v1/audio/transcriptions")
    @router.post("/v1/audio/transcriptions")
    async def transcribe(request: Request) -> Response:
        asked = await read(request, services_of(request).settings.limits)
        items = [of_bytes(asked.data, "audio")]
        answers = await drafts_of(request, principal_of(request), items, model=asked.model, task="transcription")
        (draft,) = all_drafted(answers)
        body, kind = written(draft, asked)
        told = {"Candor-Ignored": ", ".join(asked.ignored)} if asked.ignored else {}
        return Response(body, 200, {"Candor-Draft": draft.id, **told}, kind)

    @router.get("/openai/v1/models")
    async def models(request: Request) -> JSONResponse:
        return JSONResponse({"object": "list", "data": await _listed(request)})

    @router.get("/openai/v1/models/{name}")
    async def model(request: Request, name: str) -> JSONResponse:
        found = [one for one in await _listed(request) if one["id"] == name]
        if not found:
            raise UnknownModel(f"there is no transcription model {name[:200]!r}: GET /openai/v1/models lists them")
        return JSONResponse(found[0])

    return router


async def _listed(request: Request) -> list[dict[str, object]]:
    found = [one for one in await services_of(request).drafter.models(principal_of(request).team) if one.task == "transcription"]
    aliases = [_model(DEFAULT_MODEL, one) for one in found if one.default]
    return [_model(one.name, one) for one in found] + aliases


def _model(name: str, status: ModelStatus) -> dict[str, object]:
    owner = "team" if status.registered else "candor"
    return {"id": name, "object": "model", "created": 0, "owned_by": owner, "confidence_status": status.confidence_status}
