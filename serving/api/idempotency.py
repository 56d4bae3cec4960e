"""`Idempotency-Key`: the same request sent again gets the same answer, and its work is done once."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from candor.errors import InvalidRequest, StorageUnavailable
from candor.manifest import canonical_json
from serving.api.parsing import item_keys
from serving.requests import DraftRequest
from store import Store

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer's status and body. Only a `final` one is kept: one that may turn out better when asked again is not."""

    status: int
    body: bytes
    final: bool = True
    replayed: bool = False


def fingerprint(path: str, request: DraftRequest, raw: bool) -> str:
    """Return the hash of what a request asks for, however it was encoded."""
    content = [path, request.task, request.model, request.project, raw, request.fresh, item_keys(request.items)]
    content += [request.reviewer] if request.reviewer else []
    return hashlib.sha256(canonical_json(content)).hexdigest()


async def once(store: Store, team: str, key: str, mark: str, abandoned_after: float, run: Callable[[], Awaitable[Reply]]) -> Reply:
    """Run a request unless its answer is kept under the key.

    Args:
        store: where answers are kept.
        team: whose request it is: two teams may use the same key.
        key: the client's key.
        mark: the request's fingerprint.
        abandoned_after: seconds after which a running attempt counts as dead, and another may take over.
        run: does the work.

    Raises:
        Conflict: the key was used for another request, or that request is still running.
        InvalidRequest: the key is too long.
    """
    if not 0 < len(key) <= 255:
        raise InvalidRequest("Idempotency-Key has 1 to 255 characters")
    key = f"{team}/{key}"
    if (kept := await store.claim(key, mark, abandoned_after)) is not None:
        return Reply(kept.status, kept.body, replayed=True)
    try:
        reply = await run()
        if reply.final:
            await store.keep(key, reply.status, reply.body)
        else:
            await _free(store, key)
    except BaseException:
        await _free(store, key)
        raise
    return reply


async def _free(store: Store, key: str) -> None:
    """Free a key. Where that fails its claim ends by itself, later; what the request came to must be told all the same."""
    try:
        await store.release(key)
    except StorageUnavailable as error:
        _log.warning("idempotency_key_not_freed", detail=error.detail)
