"""The two kinds of load, bounded in number and time: clients that wait for their answers, and items that come by the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.figures import Bounds, Window
from benchmarks.wire import Request, Response, Sender


@dataclass(frozen=True, slots=True)
class Done:
    """One answered request. `seconds` count from when it was to be sent, also where it was sent late."""

    request: Request
    response: Response
    seconds: float
    counted: bool  # it was answered within the measured window


async def closed_loop(connect: Callable[[], Sender], clients: Sequence[Iterator[Request]], bounds: Bounds) -> tuple[Window, list[Done]]:
    """Let each client send its next request when its last one is answered, until the window is complete; then let all finish.

    Each client has a connection of its own and takes its requests from its own iterator.
    """
    window, done = Window(bounds), list[Done]()

    async def client(requests: Iterator[Request]) -> None:
        sender = connect()
        try:
            while not window.closed and (request := next(requests, None)) is not None:
                start = time.perf_counter()
                response = await sender.send(request)
                end = time.perf_counter()
                window.add(end, len(request.items))
                done.append(Done(request, response, end - start, window.open))
        finally:
            await sender.close()

    async with asyncio.TaskGroup() as tasks:
        for requests in clients:
            tasks.create_task(client(requests))
    return window, done


async def open_loop(connect: Callable[[], Sender], requests: Sequence[Request], period: float) -> list[Done]:
    """Send one request every `period` seconds, whatever became of the earlier ones; return them in order."""
    start, idle = time.perf_counter() + period, list[Sender]()

    async def one(request: Request, due: float) -> Done:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        sender = idle.pop() if idle else connect()
        response = await sender.send(request)
        seconds = time.perf_counter() - due
        idle.append(sender)
        return Done(request, response, seconds, counted=True)

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(request, start + i * period)) for i, request in enumerate(requests)]
        return [task.result() for task in running]
    finally:
        for sender in idle:
            await sender.close()
