"""Errors as jobs and reports keep them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import structlog

from candor.errors import CandorError, Internal
from candor.ids import new_id

_log = structlog.get_logger(__name__)


def as_problem(error: CandorError) -> dict[str, Any]:
    """Return an error as a job keeps it: the fields of a problem."""
    kept = {"type": f"/problems/{error.code}", "title": error.title, "status": error.status, "code": error.code}
    return {**kept, "detail": error.detail, "retryable": error.retryable}


def as_error(problem: Mapping[str, Any]) -> CandorError:
    """Return the error that a problem was made from."""
    kinds = {kind.code: kind for kind in _kinds(CandorError)}
    return kinds.get(str(problem.get("code")), Internal)(str(problem.get("detail", "")))


def _kinds(kind: type[CandorError]) -> Iterator[type[CandorError]]:
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)
        if "code" in vars(narrower):
            yield narrower


def told(raised: Exception, job_id: str) -> CandorError:
    """Return an error that may be shown: ours as it is, another as an id to look up in the log."""
    if isinstance(raised, CandorError):
        return raised
    incident = new_id("inc")
    _log.error("job_failed", job=job_id, incident=incident, exc_info=raised)
    return Internal(f"look up {incident} in the log")
