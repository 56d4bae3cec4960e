"""The connection under the Python client: one request, tried again where that may help."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from client.calls import Body, Call, Flow, Pause, Step, no_body
from client.link import DEFAULT_URL, Link, Tries
from client.pages import Pages
from client.retries import Retries

__all__ = ["DEFAULT_URL", "Body", "Connection"]

T = TypeVar("T")


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
        self._link = Link(self.url, self.retries)
        self._http = httpx.Client(**self._link.settings(key, timeout), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, method: str, path: str, body: Body = no_body, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Send one request and return its answer. One that fails for a passing reason is sent again, with a body made afresh.

        Raises:
            ClientError: it was refused, or nothing of Candor answers.
        """
        return self._answer(Call(method, path, lambda response: response, body, headers))

    def run(self, flow: Flow[T]) -> T:
        """Take the steps of a flow, and return what it ends with.

        Raises:
            ClientError: a request was refused, or nothing of Candor answers.
        """
        go: Callable[[], Step] = partial(next, flow)
        try:
            while True:
                try:
                    step = go()
                except StopIteration as ended:
                    result: T = ended.value
                    return result
                try:
                    go = partial(flow.send, self._take(step))
                except Exception as error:  # noqa: BLE001 - the flow may know what to do about it, else it raises it
                    go = partial(flow.throw, error)
        finally:
            flow.close()

    def each(self, pages: Pages[T]) -> Iterator[T]:
        """Yield the entries of a list; its pages are asked for as they are needed.

        Raises:
            ClientError: a request was refused, or nothing of Candor answers.
        """
        after: str | None = None
        while True:
            call = pages.page(after)
            page = call.read(self._answer(call))
            yield from page.entries
            after = page.next
            if after is None:
                return

    def _take(self, step: Step) -> Any:
        if isinstance(step, Call):
            return step.read(self._answer(step))
        return self.wait(step.seconds) if isinstance(step, Pause) else step.do()

    def _answer(self, call: Call[Any]) -> httpx.Response:
        tries = Tries(self._link, call)
        while True:
            try:
                with call.body() as arguments:
                    response = self._http.request(call.method, call.path, headers=call.headers, **arguments)
            except httpx.TransportError as error:
                seconds: float | None = tries.broke(error)
            else:
                seconds = tries.answered(response)
            if seconds is None:
                return response
            self.wait(seconds)
