"""Sends many things: in batches, a bounded number of requests at once, with the answers in the order of what was sent."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeAlias, TypeVar

from client.answers import Draft, Problem
from client.calls import Flow, pause, work
from client.errors import Refused
from client.files import Batch, MediaFile, S, Sendable, batches
from client.retries import Retries

BATCH_BYTES = 64 * 2**20  # of one request, far under what a server takes, so that a retry costs little
HELD_BYTES = 16 * 2**20  # the same of items that are held in memory, in several batches at once
AHEAD = 4  # times as many batches as run at once are held: those that run, that wait, and whose answers wait for a slower one before them
_ITEM_ROUNDS = 3  # times that an item which failed alone, for a passing reason, is sent

T = TypeVar("T")
R = TypeVar("R")
Send: TypeAlias = Callable[[Sequence[S]], Flow[list[Draft]]]


def in_order(do: Callable[[T], R], tasks: Iterable[T], jobs: int) -> Iterator[R]:
    """Do something with each task, `jobs` at a time, and yield the results in the tasks' order.

    When the caller stops early, what has not begun never will; what runs is left behind in daemon threads, so that Ctrl-C need not
    wait for an answer.
    """
    waiting: queue.SimpleQueue[tuple[T, Future[R]] | None] = queue.SimpleQueue()
    stopped = threading.Event()
    running: deque[Future[R]] = deque()

    def run() -> None:
        while (taken := waiting.get()) is not None and not stopped.is_set():
            task, future = taken
            try:
                future.set_result(do(task))
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the result
                future.set_exception(error)

    for _ in range(jobs):
        threading.Thread(target=run, daemon=True).start()
    try:
        for task in tasks:
            while running and (running[0].done() or len(running) >= AHEAD * jobs):
                yield running.popleft().result()
            running.append(Future())
            waiting.put((task, running[-1]))
        while running:
            yield running.popleft().result()
    finally:
        stopped.set()
        for _ in range(jobs):
            waiting.put(None)


async def in_order_async(do: Callable[[T], Coroutine[Any, Any, R]], tasks: AsyncIterable[T], jobs: int) -> AsyncGenerator[R, None]:
    """Do something with each task, `jobs` at a time, and yield the results in the tasks' order.

    When the caller stops early or is cancelled, what runs is cancelled, and has ended before this ends.
    """
    gate = asyncio.Semaphore(jobs)
    running: deque[asyncio.Task[R]] = deque()

    async def run(task: T) -> R:
        async with gate:
            return await do(task)

    try:
        async for task in tasks:
            while running and (running[0].done() or len(running) >= AHEAD * jobs):
                yield await _first(running)
            running.append(asyncio.create_task(run(task)))
        while running:
            yield await _first(running)
    finally:
        for left in running:
            left.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def batches_async(entries: Iterable[T] | AsyncIterable[T], items: int, most_bytes: float = math.inf) -> AsyncGenerator[list[T], None]:
    """Cut the entries, in order, into batches, as `batches` does."""
    batch = Batch[T](items, most_bytes)
    if isinstance(entries, AsyncIterable):
        async for entry in entries:
            if (full := batch.add(entry)) is not None:
                yield full
    else:
        for full in batches(entries, items, most_bytes):
            yield full
    if batch.held:
        yield batch.held


async def _first(running: deque[asyncio.Task[R]]) -> R:
    """Return the first result; only then it is no longer one that runs, or nobody would cancel it."""
    result = await running[0]
    running.popleft()
    return result


def draft_batch(send: Send[S], entries: Sequence[S], retries: Retries) -> Flow[list[Draft]]:
    """Draft one batch; items that failed alone for a passing reason are sent again."""
    answers = yield from work(partial(_unreadable, entries))
    waiting = [index for index in range(len(entries)) if index not in answers]
    for failures in range(1, _ITEM_ROUNDS + 1):
        if waiting:
            got = yield from _send_or_split(send, [entries[index] for index in waiting])
            answers.update(zip(waiting, got, strict=True))
        waiting = [index for index in waiting if "error" in answers[index] and answers[index]["error"]["retryable"]]
        if not waiting or failures == _ITEM_ROUNDS:
            break
        yield from pause(retries.pause(failures))
    return [answers[index] for index in range(len(entries))]


def _send_or_split(send: Send[S], entries: Sequence[S]) -> Flow[list[Draft]]:
    """Send one request; where it is too much for the server, its halves, down to the one entry that is too much alone."""
    try:
        return (yield from send(entries))
    except Refused as refused:
        if refused.status not in (413, 504):
            raise
        if len(entries) == 1:
            return [{"item": entries[0].item, "error": refused.as_problem()}]
    half = len(entries) // 2
    first = yield from _send_or_split(send, entries[:half])
    return [*first, *(yield from _send_or_split(send, entries[half:]))]


def _unreadable(entries: Sequence[Sendable]) -> dict[int, Draft]:
    """Return the answers of the files that can't be read, by their places."""
    answers: dict[int, Draft] = {}
    for index, entry in enumerate(entries):
        if isinstance(entry, MediaFile):
            try:
                with entry.path.open("rb"):
                    pass
            except OSError as error:
                answers[index] = {"item": entry.item, "error": _problem(entry, error)}
    return answers


def _problem(file: MediaFile, error: OSError) -> Problem:
    return {
        "type": "about:blank",
        "title": "The file can't be read",
        "status": 0,
        "code": "unreadable_file",
        "detail": f"{file.path}: {error.strerror or error}",
        "retryable": False,
    }
