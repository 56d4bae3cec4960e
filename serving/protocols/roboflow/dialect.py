"""What the layers around the routes know of Roboflow's protocol: its addresses, and how it tells an error."""

from __future__ import annotations

import math

from fastapi import Response
from fastapi.responses import JSONResponse

from candor.errors import CandorError
from serving.protocols.dialect import Dialect


def problem(error: CandorError) -> Response:
    """Return an error with the field that Roboflow's client shows."""
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return JSONResponse({"message": error.detail, "error_type": error.code}, error.status, headers)


DIALECT = Dialect("roboflow", ("/roboflow/",), problem, own_key=True)
