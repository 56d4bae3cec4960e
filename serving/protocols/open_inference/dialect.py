"""What the layers around the routes know of the Open Inference Protocol: its addresses, and how it tells an error."""

from __future__ import annotations

import math

from fastapi import Response
from fastapi.responses import JSONResponse

from candor.errors import CandorError
from serving.protocols.dialect import Dialect


def problem(error: CandorError) -> Response:
    """Return an error with the one field that the protocol has for it."""
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return JSONResponse({"error": error.detail}, error.status, headers)


DIALECT = Dialect("open_inference", ("/v2", "/v2/"), problem, own_key=True)
