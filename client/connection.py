"""The connection under the Python client: one request, tried again where that may help."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self, TypeAlias

import httpx

from client.errors import BadKey, Refused, Unreachable
from client.responses import refusal
from client.retries import Retries

DEFAULT_URL = "http://127.0.0.1:8000"

Body: TypeAlias = Callable[[], AbstractContextManager[Mapping[str, Any]]]
"""Makes the body of one try afresh, as arguments of `httpx.Client.request`: a file that was sent half is read from its start again."""


class Connection:
    """A connection to one Candor server; may be used from many threads. What may be asked is up to the classes on top.

    `key` is an API key; a server that was started with `--no-auth` needs none. `timeout` is the longest wait for an answer, in seconds.
    A server that never answered yet is not waited for.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout: float = 300.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.retries = retries or Retries()
        self.wait = wait
        self._answered = False
        headers = _authorization(key)
        try:
            local = httpx.URL(self.url).host in ("127.0.0.1", "localhost", "::1")
            # a proxy of the environment is for other machines
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=httpx.Timeout(timeout, connect=10.0), transport=transport, trust_env=not local
            )
        except httpx.InvalidURL as error:
            raise Unreachable(f"{url!r} is not an address: give one like {DEFAULT_URL}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(
        self, method: str, path: str, body: Body = lambda: nullcontext({}), headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send one request and return its answer. One that fails for a passing reason is sent again, with a body made afresh.

        Raises:
            ClientError: it was refused, or nothing of Candor answers.
        """
        keyed = headers is not None and "Idempotency-Key" in headers
        failures = 0
        while True:
            asked = None
            try:
                with body() as arguments:
                    response = self._http.request(method, path, headers=headers, **arguments)
            except httpx.TransportError as error:
                failures += 1
                if failures >= self.retries.attempts or not self._may_pass(error):
                    raise self._unreachable(error) from error
            else:
                self._answered = True
                refused = refusal(response)
                if refused is None:
                    return response
                failures += 1
                if failures >= self.retries.attempts or not (refused.retryable or (keyed and _taken(refused, failures))):
                    raise refused
                asked = refused.retry_after
            self.wait(self.retries.pause(failures, asked))

    def _may_pass(self, error: httpx.TransportError) -> bool:
        """Say whether a broken connection is worth another try: not where nothing ever listened, or the address itself is wrong."""
        if isinstance(error, httpx.UnsupportedProtocol):
            return False
        return self._answered or not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        if isinstance(error, httpx.UnsupportedProtocol):
            return Unreachable(f"{self.url!r} is not an address: give one like {DEFAULT_URL}")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreachable(f"no server answers at {self.url}: start one with `make serve`, or name another with --url")
        return Unreachable(f"the connection to {self.url} broke ({error or type(error).__name__}): is the server still running?")


def _taken(refused: Refused, failures: int) -> bool:
    # a key that is taken, on a later try: by the earlier try of this very request, which still runs
    return refused.code == "conflict" and failures > 1


def _authorization(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:  # or httpx would complain of a header, and show it
        raise BadKey("the API key has characters that no key has: copy it again, it begins with cdr_")
    return {"Authorization": f"Bearer {key}"}
