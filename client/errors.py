"""What can go wrong for a client.

ClientError
├── Unreachable       no server answers at the address
├── Refused           the server answered the whole request with a problem
├── UnexpectedAnswer  something answers there, and it is not Candor
├── UnclearTask       nothing says what to draft
├── ChangedFile       a file changed while it was uploaded
├── GaveUp            something goes on at the server for longer than was to be waited
├── BadOption         an option of the command line can't be read
└── BadKey            the text that was given as API key can't be one
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from client.answers import Problem


class ClientError(Exception):
    """Base of the client's errors; the text is one line for people."""


class Unreachable(ClientError):
    """No server answers at the address, or the connection broke each time that the request was tried."""


class UnexpectedAnswer(ClientError):
    """The answer is not what Candor's API describes, so that something else probably listens there."""


class UnclearTask(ClientError):
    """Nothing says what to draft."""


class BadKey(ClientError):
    """The text that was given as API key can't be one. The message does not repeat it."""


class ChangedFile(ClientError):
    """A file changed while it was uploaded."""


class GaveUp(ClientError):
    """Something goes on at the server for longer than was to be waited."""


class BadOption(ClientError):
    """An option of the command line can't be read."""


class Refused(ClientError):
    """The request as a whole failed. `problem` is the answer's problem object (RFC 9457) as it came."""

    def __init__(self, problem: Mapping[str, Any], *, retry_after: float | None = None, request_id: str | None = None) -> None:
        self.problem = dict(problem)
        self.status = int(problem.get("status") or 0)
        self.code = str(problem.get("code") or "unknown")
        self.detail = str(problem.get("detail") or problem.get("title") or "no reason was given")
        self.retryable = bool(problem.get("retryable", False))
        self.retry_after = retry_after  # seconds
        self.request_id = request_id
        super().__init__(f"{self.detail} ({self.code})")

    def as_problem(self) -> Problem:
        """Return the problem with the fields that each has, also where a proxy in between refused and told little."""
        fields = {"type": "about:blank", "title": self.detail, "detail": self.detail, **self.problem}
        return cast("Problem", {**fields, "status": self.status, "code": self.code, "retryable": self.retryable})
