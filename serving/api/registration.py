"""A registration as it arrives: JSON that names an upload, or a form with the file itself."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from candor.errors import InvalidRequest
from models.requested import Requested, parse
from serving.api.access import principal_of
from serving.api.model_schemas import RegistrationBody
from serving.api.parsing import WholeFormParser, checked
from serving.api.services import services_of
from serving.limits import within_quota
from serving.registry.service import Artifact

_CHUNK = 2**20
_MANIFEST_BYTES = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")


async def read_registration(request: Request) -> tuple[Requested, Artifact]:
    """Return what is to be registered; a file that comes with it is stored as an upload of the team, once its manifest is right.

    Raises:
        CandorError: the request is not what the API describes, the upload is not there, or the file can't be stored.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(request)
    if kind in ("application/json", "") or kind.endswith("+json"):
        return await _from_json(request)
    raise InvalidRequest(f"content type {kind!r}: send application/json or multipart/form-data")


async def _from_json(request: Request) -> tuple[Requested, Artifact]:
    found = await request.body()
    told = checked(lambda: RegistrationBody.model_validate(_value(found, "the body")))
    requested = await asyncio.to_thread(parse, told.manifest)  # it may be long, and looks for installed families
    return requested, await services_of(request).models.artifact(principal_of(request).team, told.artifact.model_dump())


async def _from_form(request: Request) -> tuple[Requested, Artifact]:
    form = await _parsed(request)
    try:
        unknown = sorted(set(form) - {"manifest", "artifact", "sha256"})
        if unknown:
            raise InvalidRequest(f"the form has no field {unknown[0]!r}: send manifest, artifact and, to have it checked, sha256")
        manifest, file, sha256 = form.get("manifest"), form.get("artifact"), form.get("sha256")
        if not isinstance(file, UploadFile):
            raise InvalidRequest("artifact: send the model file as a file of the form")
        if manifest is None:
            raise InvalidRequest("manifest: send it as JSON text; GET /v1/schemas/manifest describes it")
        text = await manifest.read(_MANIFEST_BYTES) if isinstance(manifest, UploadFile) else manifest.encode()
        requested = await asyncio.to_thread(parse, _value(text, "manifest"))
        if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
            raise InvalidRequest("sha256: 64 hex digits, in lower case")
        return requested, await _stored(request, file, sha256)
    finally:
        await form.close()


async def _stored(request: Request, file: UploadFile, sha256: str | None) -> Artifact:
    services, principal = services_of(request), principal_of(request)
    data = within_quota(_matching(file, sha256), services.store, principal, services.settings.teams)
    blob = await services.blobs.put(data, services.settings.validation.artifact_bytes, principal.team)
    return Artifact(blob.id, (file.filename or "model")[:255], blob.sha256, blob.bytes)


async def _matching(file: UploadFile, sha256: str | None) -> AsyncIterator[bytes]:
    """Pass the file on; what has another hash than was said breaks off, and so is not stored."""
    digest = hashlib.sha256()
    while chunk := await file.read(_CHUNK):
        digest.update(chunk)
        yield chunk
    if sha256 is not None and digest.hexdigest() != sha256:
        raise InvalidRequest(f"the file that arrived has SHA-256 {digest.hexdigest()}, not {sha256}: send it again")


async def _parsed(request: Request) -> FormData:
    _, options = parse_options_header(request.headers["content-type"])
    if not options.get(b"boundary"):
        raise InvalidRequest("the multipart form is not valid: its content type names no boundary")
    parser = WholeFormParser(request.headers, request.stream(), max_files=2, max_fields=4, max_part_size=_MANIFEST_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"the multipart form is not valid: {error.message}") from error
    if not parser.ended:
        await form.close()
        raise InvalidRequest("the multipart form is not valid: it breaks off before its closing boundary")
    return form


def _value(text: bytes, what: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"{what} is not JSON: {error}") from error
