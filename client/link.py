"""What both connections know of the server, and when a request is tried again."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from client.calls import Call
from client.errors import BadKey, ClientError, Refused, Unreachable
from client.responses import refusal
from client.retries import Retries

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(slots=True)
class Link:
    """One server. `answered`: something of Candor has answered there before, so that it may come back."""

    url: str
    retries: Retries = field(default_factory=Retries)
    answered: bool = False

    def settings(self, key: str | None, timeout: float) -> dict[str, Any]:
        """Return what an HTTP client of this server is made with.

        Raises:
            BadKey: the key can't be one.
            Unreachable: the address is none.
        """
        headers = _authorization(key)
        try:
            base_url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise self.no_address() from error
        # a proxy of the environment is for other machines
        timeouts = httpx.Timeout(timeout, connect=10.0)
        return {"base_url": base_url, "headers": headers, "timeout": timeouts, "trust_env": not _is_here(base_url.host)}

    def no_address(self) -> Unreachable:
        """Return the error of an address that is none."""
        return Unreachable(f"{self.url!r} is not an address: give one like {DEFAULT_URL}")

    def unreachable(self, error: httpx.TransportError) -> Unreachable:
        """Return the error of a connection that broke, or never was."""
        if isinstance(error, httpx.UnsupportedProtocol):
            return self.no_address()
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreachable(f"no server answers at {self.url}: start one with `make serve`, or name another with --url")
        return Unreachable(f"the connection to {self.url} broke ({error or type(error).__name__}): is the server still running?")


class Tries:
    """The tries of one request: tells how many seconds to wait before the next one, or raises what the caller gets."""

    def __init__(self, link: Link, call: Call[Any]) -> None:
        self._link = link
        self._call = call
        self._keyed = call.headers is not None and "Idempotency-Key" in call.headers
        self._failures = 0

    def broke(self, error: httpx.TransportError) -> float:
        """Return how long to wait after a connection that broke.

        Raises:
            Unreachable: it is not tried again.
        """
        unconnected = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        # not where nothing ever listened, or the address itself is wrong
        may_pass = not isinstance(error, httpx.UnsupportedProtocol) and (self._link.answered or not unconnected)
        return self._again(self._link.unreachable(error), may_pass and (unconnected or not self._call.once), error)

    def answered(self, response: httpx.Response) -> float | None:
        """Return how long to wait after an answer that refused for a passing reason; None where the answer is good.

        Raises:
            ClientError: it is not tried again.
        """
        self._link.answered = True
        refused = refusal(response)
        if refused is None:
            return None
        return self._again(refused, refused.retryable or self._taken(refused), asked=refused.retry_after)

    def _again(self, told: ClientError, may_pass: bool, cause: Exception | None = None, asked: float | None = None) -> float:
        self._failures += 1
        if not may_pass or self._failures >= self._link.retries.attempts:
            raise told from cause
        return self._link.retries.pause(self._failures, asked)

    def _taken(self, refused: Refused) -> bool:
        # a key that is taken, on a later try: by the earlier try of this very request, which still runs
        return self._keyed and refused.code == "conflict" and self._failures > 0


def _is_here(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _authorization(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:  # or httpx would complain of a header, and show it
        raise BadKey("the API key has characters that no key has: copy it again, it begins with cdr_")
    return {"Authorization": f"Bearer {key}"}
