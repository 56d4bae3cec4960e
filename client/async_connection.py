"""The connection under the client that awaits: the same steps as the plain one takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from client.calls import Call, Flow, Pause, Step
from client.link import DEFAULT_URL, Link, Tries
from client.pages import Pages
from client.retries import Retries

T = TypeVar("T")


class AsyncConnection:
    """A connection to one Candor server, for one event loop. What may be asked is up to the classes on top.

    `key` is an API key; a server that was started with `--no-auth` needs none. `timeout` is the longest wait for an answer, in seconds.
    A server that never answered yet is not waited for. Files are read in threads, so that the loop goes on.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout: float = 300.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.retries = retries or Retries()
        self.wait = wait
        self._link = Link(self.url, self.retries)
        self._http = httpx.AsyncClient(**self._link.settings(key, timeout), transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """Take the steps of a flow, and return what it ends with. Where this is cancelled, the flow closes what it has open.

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
                    go = partial(flow.send, await self._take(step))
                except Exception as error:  # noqa: BLE001 - the flow may know what to do about it, else it raises it
                    go = partial(flow.throw, error)
        finally:
            flow.close()

    async def each(self, pages: Pages[T]) -> AsyncIterator[T]:
        """Yield the entries of a list; its pages are asked for as they are needed.

        Raises:
            ClientError: a request was refused, or nothing of Candor answers.
        """
        after: str | None = None
        while True:
            call = pages.page(after)
            page = call.read(await self._answer(call))
            for entry in page.entries:
                yield entry
            after = page.next
            if after is None:
                return

    async def _take(self, step: Step) -> Any:
        if isinstance(step, Call):
            return step.read(await self._answer(step))
        return await (self.wait(step.seconds) if isinstance(step, Pause) else asyncio.to_thread(step.do))

    async def _answer(self, call: Call[Any]) -> httpx.Response:
        tries = Tries(self._link, call)
        while True:
            try:
                response = await self._try(call)
            except httpx.TransportError as error:
                seconds: float | None = tries.broke(error)
            else:
                seconds = tries.answered(response)
            if seconds is None:
                return response
            await self.wait(seconds)

    async def _try(self, call: Call[Any]) -> httpx.Response:
        with call.body() as arguments:
            request = self._http.build_request(call.method, call.path, headers=call.headers, **arguments)
            if not isinstance(request.stream, httpx.ByteStream):  # it reads a file
                request.stream = _Threaded(iter(request.stream))  # type: ignore[arg-type]
            return await self._http.send(request)


class _Threaded(httpx.AsyncByteStream):
    """A body that is read in threads."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await asyncio.to_thread(next, self._chunks, None)) is not None:
            yield chunk
