"""Errors as RFC 9457 problems. One lookup: whatever is raised is a CandorError, or becomes one."""

from __future__ import annotations

import math
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from candor.errors import CandorError, Internal, InvalidRequest, NotFound, Unauthenticated
from candor.ids import new_id
from serving.protocols.dialects import dialect_of

MEDIA_TYPE = "application/problem+json"
_log = structlog.get_logger(__name__)


class MethodNotAllowed(InvalidRequest):
    """The address exists, and takes other methods."""

    code, status, title = "method_not_allowed", 405, "The address does not take this method"


def problem(error: CandorError) -> dict[str, Any]:
    """Return an error as a problem object."""
    found: dict[str, Any] = {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "retryable": error.retryable,
    }
    return found if error.retry_after is None else {**found, "retry_after": round(error.retry_after, 3)}


def response(error: CandorError) -> Response:
    """Return an error as the whole answer."""
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="candor"'
    return JSONResponse(problem(error), error.status, headers, MEDIA_TYPE)


def as_error(raised: Exception) -> CandorError:
    """Return what a caller may see of an exception."""
    if isinstance(raised, CandorError):
        return raised
    if isinstance(raised, BaseExceptionGroup) and (inner := _only(raised)) is not None:
        return inner
    if isinstance(raised, HTTPException):
        kinds: dict[int, type[CandorError]] = {404: NotFound, 405: MethodNotAllowed}
        return kinds.get(raised.status_code, InvalidRequest)(str(raised.detail))
    if isinstance(raised, RequestValidationError):
        told = (f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}" for found in raised.errors()[:5])
        return InvalidRequest("; ".join(told))
    if isinstance(raised, ClientDisconnect):
        return InvalidRequest("the client went away before the whole request had arrived")
    incident = new_id("inc")
    _log.error("request_failed", incident=incident, exc_info=raised)
    return Internal(f"look up {incident} in the log")


def _only(group: BaseExceptionGroup[BaseException]) -> CandorError | None:
    """The first CandorError of a task group that failed of nothing else."""
    found: CandorError | None = None
    for inner in group.exceptions:
        inner_error = _only(inner) if isinstance(inner, BaseExceptionGroup) else inner
        if not isinstance(inner_error, CandorError):
            return None
        found = found or inner_error
    return found


def answer_of(error: CandorError, path: str) -> Response:
    """Return an error as whoever calls this address understands it."""
    dialect = dialect_of(path)
    return response(error) if dialect is None or dialect.problem is None else dialect.problem(error)


async def handle(request: Request, raised: Exception) -> Response:
    """FastAPI's exception handler for everything."""
    answer = answer_of(as_error(raised), request.url.path)
    if isinstance(raised, HTTPException):
        answer.headers.update(raised.headers or {})  # Allow, of a 405
    return answer
