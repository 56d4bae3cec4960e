"""`/v1/uploads`: bytes that items, models and fits then refer to by id; in one request, or in parts for what is large."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from candor.errors import MediaTooLarge
from serving.api.access import needs, principal_of
from serving.api.drafts import problems
from serving.api.schemas import UploadAnswer
from serving.api.services import services_of
from serving.api.upload_schemas import PartialUploadAnswer, ResumableBody
from serving.limits import reserve, within_quota
from store.uploads import PartialUpload, PartialUploads

PART_BYTES = 8 * 2**20
_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}

UploadId = Annotated[str, Path(max_length=64)]
PartSha256 = Annotated[
    str | None, Header(alias="X-Part-SHA256", max_length=64, description="SHA-256 of the part, in hex; then it is checked.")
]


def uploads_router() -> APIRouter:
    """Return the routes of uploads."""
    router = APIRouter(tags=["uploads"], dependencies=[Depends(needs("draft", "register"))])
    _add_whole(router)
    _add_parts(router)
    _add_state(router)
    return router


def _add_whole(router: APIRouter) -> None:
    @router.post(
        "/v1/uploads",
        summary="Upload the bytes of one item",
        status_code=201,
        response_model=UploadAnswer,
        responses=problems(403, 413, 503),
        openapi_extra=_BODY,
    )
    async def upload(request: Request) -> JSONResponse:
        services, principal = services_of(request), principal_of(request)
        data = within_quota(request.stream(), services.store, principal, services.settings.teams)
        blob = await services.blobs.put(data, services.settings.limits.item_bytes, principal.team)
        return JSONResponse({"id": blob.id, "sha256": blob.sha256, "bytes": blob.bytes}, 201)


def _add_parts(router: APIRouter) -> None:
    @router.post(
        "/v1/uploads/resumable",
        summary="Begin an upload in parts, or go on with one",
        description="For a large file, such as a model: send its parts one after another. After a broken connection begin again: the "
        "answer is the unfinished upload of the same content, and `received` says where to go on. Where your team has uploaded the same "
        "content before, it is complete at once.",
        status_code=201,
        response_model=PartialUploadAnswer,
        responses=problems(403, 413, 422, 503),
    )
    async def begin(request: Request, asked: ResumableBody) -> JSONResponse:
        uploads, team = _uploads(request), principal_of(request).team
        begun = await uploads.unfinished(team, asked.bytes, asked.sha256)
        if begun is None:
            # counts as stored from now on: no part needs to ask again
            await reserve(services_of(request).store, principal_of(request), services_of(request).settings.teams, asked.bytes)
            most = services_of(request).settings.validation.artifact_bytes
            begun = await uploads.create(team, asked.bytes, asked.sha256, most)
        return JSONResponse(_told(begun, uploads), 201, {"Location": f"/v1/uploads/{begun.id}"})

    @router.put(
        "/v1/uploads/{upload_id}/parts",
        summary="Send the next part",
        description="At most `part_bytes`, and at least 1 MiB where it is not the last. A part that is there already changes nothing. With "
        "the last one the whole is put together and its SHA-256 checked, which takes some seconds for some gigabytes; where that was "
        "interrupted, an empty part at the end does it again.",
        response_model=PartialUploadAnswer,
        responses=problems(404, 409, 413, 422, 503),
        openapi_extra=_BODY,
    )
    async def part(
        request: Request,
        upload_id: UploadId,
        offset: Annotated[int, Query(ge=0, le=2**53, description="Where the part begins in the file: the bytes that have arrived.")],
        sha256: PartSha256 = None,
    ) -> JSONResponse:
        uploads, team = _uploads(request), principal_of(request).team
        await uploads.get(upload_id, team)  # before the body is read
        data = await _body(request, uploads.part_bytes)
        return JSONResponse(_told(await uploads.put_part(upload_id, team, offset, data, sha256), uploads))


def _add_state(router: APIRouter) -> None:
    @router.get(
        "/v1/uploads/{upload_id}",
        summary="Ask how far an upload is",
        response_model=PartialUploadAnswer,
        responses=problems(404, 422, 503),
    )
    async def state(request: Request, upload_id: UploadId) -> JSONResponse:
        uploads = _uploads(request)
        return JSONResponse(_told(await uploads.get(upload_id, principal_of(request).team), uploads))

    @router.delete(
        "/v1/uploads/{upload_id}",
        summary="Drop an upload that is not complete",
        status_code=204,
        response_class=Response,
        responses=problems(404, 409, 422, 503),
    )
    async def drop(request: Request, upload_id: UploadId) -> Response:
        await _uploads(request).drop(upload_id, principal_of(request).team)
        return Response(status_code=204)


def _uploads(request: Request) -> PartialUploads:
    services = services_of(request)
    settings = services.settings
    part_bytes = min(PART_BYTES, settings.limits.body_bytes)
    return PartialUploads(services.store, services.blobs, str(settings.storage.blobs), settings.storage.models / ".uploads", part_bytes)


async def _body(request: Request, most: int) -> bytes:
    """Read a part. One whose connection breaks raises, and so leaves nothing."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise MediaTooLarge(f"a part may have {most:,} bytes: send smaller ones")
    return bytes(data)


def _told(upload: PartialUpload, uploads: PartialUploads) -> dict[str, Any]:
    return {
        "id": upload.id,
        "bytes": upload.bytes,
        "sha256": upload.sha256,
        "received": upload.received,
        "complete": upload.complete,
        "part_bytes": uploads.part_bytes,
        "expires_at": upload.expires_at.isoformat() if upload.expires_at is not None else None,
    }
