"""Requests as they arrive, JSON or a multipart form, into `DraftRequest`. A wrong item is answered in its place; the others go on."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import mimetypes
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from candor.errors import CandorError, InvalidRequest, MediaTooLarge, NoItems, TooManyItems
from candor.predictions import TASKS, Task
from candor.tasks import SPECS
from serving.api.access import principal_of
from serving.api.schemas import DraftsRequest, Envelope, ItemBody
from serving.config import LimitSettings
from serving.requests import DraftRequest, Item, Media, MediaKind

_OFF_LOOP = 256 * 1024  # bytes of body from which parsing would keep other requests waiting
_FIELDS = ("project", "reviewer", "task", "model", "include")
_FILES = ("items", "image", "audio")


async def read_request(request: Request, task: Task | None, limits: LimitSettings) -> tuple[DraftRequest, bool]:
    """Return the request and whether raw scores are to be shown.

    Raises:
        CandorError: the request as a whole is not what the API describes.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        envelope, items = await _read_form(request, task, limits)
    elif kind in ("application/json", "") or kind.endswith("+json"):
        envelope, items = await _read_json(request, limits)
    else:
        raise InvalidRequest(f"content type {kind!r}: send application/json or multipart/form-data")
    if task is not None and envelope.task not in (None, task):
        raise InvalidRequest(f"this address drafts {task}; the request asks for {envelope.task}")
    asked = request.query_params.getlist("include")
    if any(one != "raw" for one in asked):
        raise InvalidRequest("include: `raw` is all that can be asked for")
    request_id: str = request.state.request_id
    team = principal_of(request).team
    drafted = DraftRequest(
        items=tuple(items),
        task=task or envelope.task,
        model=envelope.model,
        project=envelope.project,
        fresh="no-cache" in request.headers.get("cache-control", "").lower(),
        request_id=request_id,
        fairness_key=f"{team}/{request_id}",
        timeout=_timeout(request.headers.get("x-request-timeout-seconds")),
        team=team,
        reviewer=envelope.reviewer or "",
    )
    return drafted, "raw" in envelope.include or "raw" in asked


def _timeout(written: str | None) -> float | None:
    if written is None:
        return None
    try:
        seconds = float(written)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InvalidRequest(f"X-Request-Timeout-Seconds {written!r} is not a number of seconds above 0")
    return seconds


def _counted(number: int, limits: LimitSettings) -> None:
    if not number:
        raise NoItems("send at least one item")
    if number > limits.items:
        raise TooManyItems(f"{number} items; one request takes at most {limits.items}: send several requests")


async def _read_json(request: Request, limits: LimitSettings) -> tuple[Envelope, list[Item]]:
    body = await request.body()
    return await asyncio.to_thread(_parse_json, body, limits) if len(body) > _OFF_LOOP else _parse_json(body, limits)


def object_in(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        InvalidRequest: it is something else.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRequest("the body is not a JSON object")
    return value


def _parse_json(body: bytes, limits: LimitSettings) -> tuple[Envelope, list[Item]]:
    value = object_in(body)
    envelope = checked(lambda: Envelope.model_validate(value))
    _counted(len(envelope.items), limits)
    return envelope, [_item(position, item, limits) for position, item in enumerate(envelope.items)]


def checked(validate: Callable[[], Any]) -> Any:
    """Return what `validate` returns; pydantic's complaint becomes an InvalidRequest that names each wrong field."""
    try:
        return validate()
    except ValidationError as error:
        raise InvalidRequest(_complaint(error)) from error


def _complaint(error: ValidationError) -> str:
    told = []
    for found in error.errors(include_url=False, include_input=False)[:5]:
        where = ".".join(str(part) for part in found["loc"])
        message = "Input should be an object" if found["type"] == "model_type" else found["msg"]
        told.append(f"{where}: {message}" if where else message)
    return "; ".join(told)


def _item(position: int, value: Any, limits: LimitSettings) -> Item:
    given = value.get("id") if isinstance(value, dict) else None
    item_id = given if isinstance(given, str) and 0 < len(given) <= 512 else f"items[{position}]"
    try:
        body = checked(lambda: ItemBody.model_validate(value))
        kind: MediaKind = "image" if body.image is not None else "audio"
        media = body.image or body.audio
        data = None if media.base64 is None else _decoded(media.base64, limits)
        return Item(item_id, kind, Media(data, media.url, media.upload))
    except CandorError as error:
        return Item(item_id, None, Media(), error)


def _decoded(text: str, limits: LimitSettings) -> bytes:
    if len(text) // 4 * 3 > limits.item_bytes + 3:
        raise MediaTooLarge(f"the item has about {len(text) // 4 * 3:,} bytes; an item may have {limits.item_bytes:,}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"base64: {error}") from error


class WholeFormParser(MultiPartParser):
    """Starlette's parser, which takes a form that breaks off for a whole one: its last items would be lost without a word."""

    ended = False

    def on_end(self) -> None:
        """Remember that the closing boundary came."""
        self.ended = True


async def parsed_form(request: Request, most: int) -> FormData:
    """Return a multipart form of `most` items and hardly more; whoever reads it closes it.

    Raises:
        TooManyItems, InvalidRequest: it has many more, or is not a whole form.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise InvalidRequest("a multipart form is read as UTF-8: leave the charset out of its content type")
    if not options.get(b"boundary"):
        raise InvalidRequest("the multipart form is not valid: its content type names no boundary")
    parser = WholeFormParser(request.headers, request.stream(), max_files=most + 1, max_fields=16, max_part_size=1 << 16)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise TooManyItems(f"more than {most} items; one request takes at most {most}: send several requests") from error
        raise InvalidRequest(f"the multipart form is not valid: {error.message}") from error
    if not parser.ended:
        await form.close()
        raise InvalidRequest("the multipart form is not valid: it breaks off before its closing boundary")
    return form


async def _read_form(request: Request, task: Task | None, limits: LimitSettings) -> tuple[Envelope, list[Item]]:
    form = await parsed_form(request, limits.items)
    try:
        envelope = _form_envelope(form)
        files = [(name, part) for name, part in form.multi_items() if isinstance(part, UploadFile)]
        _counted(len(files), limits)
        return envelope, [await _file_item(position, name, part, task, limits) for position, (name, part) in enumerate(files)]
    finally:
        await form.close()


def _form_envelope(form: FormData) -> Envelope:
    names = {name for name, _ in form.multi_items()}
    if unknown := sorted(names - {*_FIELDS, *_FILES}):
        raise InvalidRequest(f"unknown form fields {', '.join(unknown)}: send {', '.join(_FIELDS)}, and files as {', '.join(_FILES)}")
    fields: dict[str, Any] = {name: form[name] for name in ("project", "reviewer", "task", "model") if name in names}
    if "include" in names:
        fields["include"] = [one for value in form.getlist("include") for one in str(value).split(",") if one]
    found: Envelope = checked(lambda: Envelope.model_validate({**fields, "items": []}))
    if any(name in _FILES and not isinstance(value, UploadFile) for name, value in form.multi_items()):
        raise InvalidRequest("send items as files: each part needs a filename, which becomes the item's id")
    return found


async def _file_item(position: int, name: str, part: UploadFile, task: Task | None, limits: LimitSettings) -> Item:
    item_id = part.filename if part.filename and len(part.filename) <= 512 else f"items[{position}]"
    if part.size is not None and part.size > limits.item_bytes:
        error = MediaTooLarge(f"the item has {part.size:,} bytes; an item may have {limits.item_bytes:,}")
        return Item(item_id, None, Media(), error)
    return Item(item_id, _kind(name, part, task), Media(await part.read()))


def _kind(name: str, part: UploadFile, task: Task | None) -> MediaKind | None:
    """The media of a file: as its field says, else the task's own, else as its type or name tells."""
    if name == "image":
        return "image"
    if name == "audio":
        return "audio"
    if task is not None:
        return SPECS[task].media
    told = part.content_type if part.content_type not in (None, "application/octet-stream") else None
    guessed = (told or mimetypes.guess_type(part.filename or "")[0] or "").partition("/")[0]
    return "image" if guessed == "image" else "audio" if guessed in ("audio", "video") else None


def request_body() -> dict[str, Any]:
    """Return the OpenAPI description of the request body, which is read by hand."""
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "description": "Files; a filename is an item's id.",
    }
    fields = {
        "project": {"type": "string", "minLength": 1},
        "reviewer": {"type": "string", "minLength": 1},
        "task": {"type": "string", "enum": list(TASKS)},
        "model": {"type": "string", "minLength": 1},
        "include": {"type": "string", "enum": ["raw"]},
    }
    form = {
        "type": "object",
        "properties": {**fields, **dict.fromkeys(_FILES, files)},
        "anyOf": [{"required": [name]} for name in _FILES],
        "additionalProperties": False,
    }
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{DraftsRequest.__name__}"}},
            "multipart/form-data": {"schema": form},
        },
    }


def item_keys(items: Sequence[Item]) -> list[list[str]]:
    """Return what tells two requests' items apart, for the fingerprint of an idempotent request."""
    keys = []
    for item in items:
        content = hashlib.sha256(item.media.data).hexdigest() if item.media.data is not None else ""
        keys.append(
            [item.id, item.kind or "", content, item.media.url or "", item.media.upload or "", item.error.code if item.error else ""]
        )
    return keys
