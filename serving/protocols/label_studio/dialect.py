"""Label Studio's ML backend protocol: what the layers around the routes need to know of it."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import JSONResponse

from candor.errors import CandorError
from serving.protocols.dialect import Dialect


def _problem(error: CandorError) -> Response:
    """Label Studio looks at the status alone; the rest is for who looks at the answer."""
    return JSONResponse({"status": "DOWN", "code": error.code, "error": error.detail}, error.status)


DIALECT = Dialect("label-studio", ("/label-studio/",), problem=_problem, own_key=True, secret_at=3)
