"""What the layers around the routes know of X-AnyLabeling's protocol: its addresses, and how it tells an error."""

from __future__ import annotations

import math

from fastapi import Response
from fastapi.responses import JSONResponse

from candor.errors import CandorError
from serving.protocols.dialect import Dialect


def problem(error: CandorError) -> Response:
    """Return an error under its real status: of one that comes as a 200, its user sees nothing, and what was drawn is replaced by it."""
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return JSONResponse({"success": False, "error": {"code": error.code, "message": error.detail}}, error.status, headers)


DIALECT = Dialect("x_anylabeling", ("/x-anylabeling/",), problem, own_key=True)
