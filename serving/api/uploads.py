"""`POST /v1/uploads`: bytes that items then refer to by id."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from serving.api.drafts import problems
from serving.api.schemas import UploadAnswer
from serving.api.services import services_of

_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}


def uploads_router() -> APIRouter:
    """Return the upload route."""
    router = APIRouter(tags=["uploads"])

    @router.post(
        "/v1/uploads",
        summary="Upload the bytes of one item",
        status_code=201,
        response_model=UploadAnswer,
        responses=problems(413, 503),
        openapi_extra=_BODY,
    )
    async def upload(request: Request) -> JSONResponse:
        services = services_of(request)
        blob = await services.blobs.put(request.stream(), services.settings.limits.item_bytes)
        return JSONResponse({"id": blob.id, "sha256": blob.sha256, "bytes": blob.bytes}, 201)

    return router
