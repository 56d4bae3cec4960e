"""What the layers around the routes know of OpenAI's API: its addresses, and how it tells an error."""

from __future__ import annotations

import math

from fastapi import Response
from fastapi.responses import JSONResponse

from candor.errors import CandorError, InvalidRequest, NotFound, RateLimited, Unauthenticated, UnknownModel, WrongTask
from serving.protocols.dialect import Dialect

_CODES: dict[type[CandorError], str] = {
    Unauthenticated: "invalid_api_key",
    UnknownModel: "model_not_found",
    RateLimited: "rate_limit_exceeded",
}


def problem(error: CandorError) -> Response:
    """Return an error as OpenAI's clients raise it."""
    # A wrong request is 400 there. Their clients send a 409 again, which a wrong model does not deserve.
    status = 400 if isinstance(error, WrongTask) or error.status == 422 else error.status
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    body = {"message": error.detail, "type": kind, "param": _param(error), "code": _CODES.get(type(error), error.code)}
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return JSONResponse({"error": body}, status, headers)


def _param(error: CandorError) -> str | None:
    """The field that is wrong, where it is told: `field: what is wrong`."""
    if isinstance(error, (WrongTask, UnknownModel)):
        return "model"
    name, colon, _ = error.detail.partition(": ")
    return name if colon and isinstance(error, InvalidRequest) and not isinstance(error, NotFound) and " " not in name else None


DIALECT = Dialect("openai", ("/openai/", "/v1/audio/"), problem)
