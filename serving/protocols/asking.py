"""What the dialects share that send bytes and no ids: who asks, what is asked, and drafts of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from fastapi import Request

from candor.drafts import Draft
from candor.errors import CandorError, InvalidRequest, MediaTooLarge
from candor.predictions import Task
from serving.access import Principal, credentials_in
from serving.api.access import authenticated, rates_of
from serving.api.parsing import object_in
from serving.api.services import Services, services_of
from serving.requests import DraftRequest, Item, Media, MediaKind

P = ParamSpec("P")
R = TypeVar("R")
_OFF_LOOP = 256 * 1024  # bytes from which parsing is noticed by others
_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_SPACE = str.maketrans("", "", " \t\r\n")


async def known(request: Request, *keys: str | None) -> Principal:
    """Tell who calls, by the key in its usual headers or in a place of the tool's own. The same key in two places is one.

    Raises:
        Unauthenticated: it is not exactly one key, or not a valid one.
        Forbidden: the key may not draft.
    """
    headers = request.headers
    found = [*credentials_in(headers.getlist("authorization"), headers.getlist("x-api-key")), *(key for key in keys if key)]
    return await authenticated(request, list(dict.fromkeys(found)), "draft")


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that is sent; an empty body is an empty one.

    Raises:
        InvalidRequest: it is something else.
    """
    body = await request.body()
    return await off_loop(len(body), fields_in, body)


async def off_loop(size: int, call: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
    """Return what a call that takes in `size` bytes returns; in a thread, where that would keep other requests waiting."""
    return await asyncio.to_thread(call, *given, **named) if size > _OFF_LOOP else call(*given, **named)


def fields_in(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; of an empty one nothing.

    Raises:
        InvalidRequest: it is something else.
    """
    return object_in(body) if body.strip() else {}


def text_of(body: dict[str, Any], name: str) -> str | None:
    """Return a field that is text, where it is there.

    Raises:
        InvalidRequest: it is something else.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{name}: send text")
    return value or None


def decoded(text: str, most: int) -> bytes:
    """Return the bytes of base64 text, or of a `data:` URL.

    Raises:
        InvalidRequest: it is no base64.
        MediaTooLarge: it is longer than `most`.
    """
    head = _DATA_URL.match(text)
    text = text[head.end() if head else 0 :].translate(_SPACE)
    if len(text) // 4 * 3 > most + 3:
        raise MediaTooLarge(f"the item has about {len(text) // 4 * 3:,} bytes; an item may have {most:,}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"base64: {error}") from error


def of_bytes(data: bytes, kind: MediaKind) -> Item:
    """Return an item that is named by its content, so that the same bytes asked again are the same item."""
    return Item(hashlib.sha256(data).hexdigest()[:32], kind, Media(data))


def of_url(url: str, kind: MediaKind) -> Item:
    """Return an item that is fetched. Its name shows nothing of the address, which may hold a signature."""
    return Item(hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()[:32], kind, Media(url=url))


async def drafts_of(
    request: Request, principal: Principal, items: Sequence[Item], *, model: str | None = None, task: Task | None = None
) -> list[Draft | CandorError]:
    """Draft the items as one batch and return a draft or an error for each.

    Raises:
        CandorError: the request as a whole can't be served.
    """
    rates_of(request.app).take(principal, len(items))
    request_id: str = request.state.request_id
    asked = DraftRequest(
        items=tuple(items),
        task=task,
        model=model,
        fresh="no-cache" in request.headers.get("cache-control", "").lower(),
        request_id=request_id,
        fairness_key=f"{principal.team}/{request_id}",
        team=principal.team,
    )
    result = await services_of(request).drafter.draft(asked)
    return [one.draft or one.error or CandorError() for one in result.results]


async def labels_of(request: Request, version: str, team: str) -> tuple[str, ...]:
    """Return the label set of a model version, none where it is not there yet."""
    if not version:
        return ()
    try:
        return (await services_of(request).manifests.manifest(version, team)).labels
    except CandorError:
        return ()


def all_drafted(answers: Sequence[Draft | CandorError]) -> list[Draft]:
    """Return the drafts, for a protocol that has no place for an item's own error.

    Raises:
        CandorError: an item failed; of several items the detail says which.
    """
    for place, answer in enumerate(answers):
        if isinstance(answer, CandorError):
            where = f"item {place + 1} of {len(answers)}: " if len(answers) > 1 else ""
            raise type(answer)(f"{where}{answer.detail}", retry_after=answer.retry_after)
    return [answer for answer in answers if isinstance(answer, Draft)]


def is_shown(confidence: float | None, least: float) -> bool:
    """Whether a label passes a threshold. One without a confidence does: nothing is known against it."""
    return confidence is None or confidence >= least


async def ready(services: Services) -> bool:
    """Whether every task's model is loaded and the store answers."""
    try:
        await services.store.ping()
        found = await services.drafter.models()
    except CandorError:
        return False
    states = {status.task: status.state for status in found if status.default}
    return all(states.get(task) == "ready" for task in services.settings.tasks)
