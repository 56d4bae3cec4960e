from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, UploadFile
from fastapi import Request as Incoming

from benchmarks.figures import Bounds
from benchmarks.load import Done, closed_loop, open_loop
from benchmarks.null import app as null_app
from benchmarks.served import fresh_drafts
from benchmarks.wire import Request, Response, Sender, draft_request, read_response
from candor.errors import CandorError


class InProcess:
    """Sends to an application in this process."""

    def __init__(self, app: Any) -> None:
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench")
        self.closed = False

    async def send(self, request: Request) -> Response:
        answer = await self._client.post(request.path, headers=request.headers, content=request.body)
        return Response(answer.status_code, answer.content)

    async def close(self) -> None:
        await self._client.aclose()
        self.closed = True


class Server:
    """Answers like a server of drafts; keeps what came."""

    def __init__(self, **wrong: Any) -> None:
        self.app = FastAPI()
        self.seen: list[list[tuple[str, bytes, str]]] = []
        self.held = self.most_held = 0

        @self.app.post("/v1/{task}/drafts")
        async def draft(task: str, request: Incoming) -> dict[str, Any]:
            self.held += 1
            self.most_held = max(self.held, self.most_held)
            async with request.form() as form:
                files = [(name, file) for name, file in form.multi_items() if not isinstance(file, str)]
                self.seen.append([(file.filename or "", await file.read(), name) for name, file in files])
            await asyncio.sleep(0)
            self.held -= 1
            if "status" in wrong:
                raise HTTPException(wrong["status"], "full")
            fresh = "no-cache" in request.headers["cache-control"]
            return {"drafts": [self._entry(file, fresh, wrong) for _, file in files]}

    def _entry(self, file: UploadFile | Any, fresh: bool, wrong: dict[str, Any]) -> dict[str, Any]:
        timings = {"batch_size": 1, "cached": wrong.get("cached", not fresh)}
        return {"item": wrong.get("item", file.filename), "timings": timings, **wrong.get("entry", {})}


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"image-{i}.jpg" for i in range(4)]
    for i, path in enumerate(paths):
        path.write_bytes(b"\xff\xd8\r\n--" + bytes([i]) * 3 + b"\r\n")
    return paths


def senders(app: Any) -> tuple[list[InProcess], Callable[[], Sender]]:
    made: list[InProcess] = []

    def connect() -> Sender:
        made.append(InProcess(app))
        return made[-1]

    return made, connect


def endless(requests: list[Request], clients: int) -> list[Any]:
    return [itertools.cycle(requests) for _ in range(clients)]


async def test_a_request_carries_its_files_unchanged(pictures: list[Path]) -> None:
    server = Server()
    _, connect = senders(server.app)
    done = await open_loop(connect, [draft_request("detection", pictures)], period=0)
    assert server.seen == [[(path.name, path.read_bytes(), "image") for path in pictures]]
    assert [draft["item"] for draft in fresh_drafts(done)] == [path.name for path in pictures]


async def test_clients_of_a_closed_loop_wait_for_their_answers(pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    made, connect = senders(server.app)
    ticks = itertools.count()
    monkeypatch.setattr("benchmarks.load.time.perf_counter", lambda: next(ticks) * 0.05)  # a clock of our own: nothing is timed
    requests = [draft_request("detection", [path]) for path in pictures]
    window, done = await closed_loop(connect, endless(requests, 3), Bounds(warm=3, seconds=2, least=10, most=100))
    assert window.closed
    assert window.items == sum(one.counted for one in done) >= 10
    assert server.most_held <= 3
    assert len(server.seen) == len(done)  # what was in flight at the end was waited for
    assert len(made) == 3
    assert all(sender.closed for sender in made)


async def test_clients_stop_where_their_requests_end(pictures: list[Path]) -> None:
    server = Server()
    _, connect = senders(server.app)
    window, done = await closed_loop(connect, [iter([draft_request("detection", pictures)])], Bounds(1, 60, 1, 60))
    assert (len(done), window.closed) == (1, False)


async def test_an_open_loop_sends_whatever_became_of_earlier_requests(pictures: list[Path]) -> None:
    gate, waiting = asyncio.Event(), list[Request]()

    class Held:
        async def send(self, request: Request) -> Response:
            waiting.append(request)
            await gate.wait()
            return Response(200, b"")

        async def close(self) -> None:
            pass

    requests = [draft_request("detection", [path]) for path in pictures]
    running = asyncio.create_task(open_loop(Held, requests, period=0))
    async with asyncio.timeout(5):
        while len(waiting) < len(requests):
            await asyncio.sleep(0)
    gate.set()
    assert [done.request for done in await running] == requests


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"status": 503}, "answered 503"),
        ({"cached": True}, "a stored draft answered"),
        ({"item": "another"}, "answered others"),
        ({"entry": {"error": {"detail": "it is truncated"}}}, "it is truncated"),
    ],
)
async def test_anything_but_fresh_drafts_ends_the_measurement(pictures: list[Path], wrong: dict[str, Any], said: str) -> None:
    _, connect = senders(Server(**wrong).app)
    done = await open_loop(connect, [draft_request("detection", pictures[:1])], period=0)
    with pytest.raises(CandorError, match=said):
        fresh_drafts(done)


async def test_a_failing_client_ends_the_load() -> None:
    class Broken:
        async def send(self, request: Request) -> Response:
            raise ConnectionResetError

        async def close(self) -> None:
            pass

    with pytest.raises(ExceptionGroup):
        await closed_loop(Broken, [itertools.repeat(Request(("a",), "/", {}, b""))], Bounds(1, 1, 1, 1))


async def test_the_null_application_answers_at_once(pictures: list[Path]) -> None:
    _, connect = senders(null_app)
    done: list[Done] = await open_loop(connect, [draft_request("detection", pictures)], period=0)
    assert [one.response.status for one in done] == [200]


def stream(data: bytes, *, ended: bool = True) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    if ended:
        reader.feed_eof()
    return reader


async def test_responses_are_read_one_after_another() -> None:
    body = json.dumps({"drafts": []}).encode()
    first = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-A: b\r\n\r\n%s" % (len(body), body)
    second = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length:0\r\nConnection: close\r\n\r\n"
    reader = stream(first + second)
    assert await read_response(reader) == (Response(200, body), True)
    assert await read_response(reader) == (Response(503, b""), False)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
async def test_a_response_that_ends_early_is_an_error(data: bytes) -> None:
    with pytest.raises(EOFError):
        await read_response(stream(data))


@pytest.mark.parametrize(
    ("data", "said"), [(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Content-Length"), (b"220 mail\r\n\r\n", "not an HTTP")]
)
async def test_a_response_that_can_not_be_read_is_an_error(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        await read_response(stream(data))
