"""What the generator itself can do: the same requests against an application that reads them and answers at once.

The generator has to sustain at least five times what it offers to the server, or it measures itself.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from benchmarks.figures import Bounds
from benchmarks.load import closed_loop
from benchmarks.wire import Connection, Request
from candor.errors import CandorError
from serving.deployments.environment import free_port

HEADROOM = 5.0
_Scope = MutableMapping[str, Any]
_ANSWER = b"x" * 2048


async def app(scope: _Scope, receive: Callable[[], Awaitable[_Scope]], send: Callable[[_Scope], Awaitable[None]]) -> None:
    """Read a request to its end and answer with as many bytes as a draft has."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(_ANSWER)).encode())]})
    await send({"type": "http.response.body", "body": _ANSWER})


async def ceiling(requests: list[Request], clients: int, seconds: float) -> tuple[float, float]:
    """Return items/s of so many clients against the null application, and the cores that this process kept busy meanwhile."""
    with _uvicorn() as port:
        bounds = Bounds(warm=2 * clients, seconds=seconds, least=clients, most=4 * seconds)
        start, before = time.perf_counter(), time.process_time()
        window, _ = await closed_loop(lambda: Connection(port), [itertools.cycle(requests) for _ in range(clients)], bounds)
        return window.rate(), (time.process_time() - before) / (time.perf_counter() - start)


@contextmanager
def _uvicorn() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.null:app", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen([*command, "--log-level", "warning", "--no-access-log"]) as process:
        try:
            _wait(process, port)
            yield port
        finally:
            process.terminate()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise CandorError("the null application did not start")
