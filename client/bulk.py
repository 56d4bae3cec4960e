"""Drafts many files: batches, a bounded number of requests at once, answers in the files' order."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from client.errors import Refused
from client.files import MediaFile, batches
from client.retries import Retries

_BATCH_BYTES = 64 * 2**20  # of one request, far under what a server takes, so that a retry costs little
_ITEM_ROUNDS = 3  # times that an item which failed alone, for a passing reason, is sent

T = TypeVar("T")
R = TypeVar("R")
Send: TypeAlias = Callable[[Sequence[MediaFile]], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a bulk goes: `batch` files a request, `jobs` requests at once."""

    batch: int = 16
    jobs: int = 4
    retries: Retries = field(default_factory=Retries)
    wait: Callable[[float], object] = time.sleep


def draft_in_batches(send: Send, files: Sequence[MediaFile], pace: Pace) -> Iterator[dict[str, Any]]:
    """Yield one entry per file, in order. `send` drafts the files of one request.

    Raises:
        ClientError: a request as a whole failed; what came before has been yielded.
    """
    for answers in in_order(lambda batch: _draft_batch(send, batch, pace), batches(files, pace.batch, _BATCH_BYTES), pace.jobs):
        yield from answers


def in_order(work: Callable[[T], R], tasks: Iterable[T], jobs: int) -> Iterator[R]:
    """Run `work` on the tasks, `jobs` at a time, and yield the results in the tasks' order.

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
                future.set_result(work(task))
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the result
                future.set_exception(error)

    for _ in range(jobs):
        threading.Thread(target=run, daemon=True).start()
    try:
        for task in tasks:
            if len(running) >= 4 * jobs:  # results that wait for a slow one before them take memory
                yield running.popleft().result()
            running.append(Future())
            waiting.put((task, running[-1]))
        while running:
            yield running.popleft().result()
    finally:
        stopped.set()
        for _ in range(jobs):
            waiting.put(None)


def _draft_batch(send: Send, files: Sequence[MediaFile], pace: Pace) -> list[dict[str, Any]]:
    """Draft one batch; items that failed alone for a passing reason are sent again."""
    answers: dict[int, dict[str, Any]] = {}
    waiting = []
    for index, file in enumerate(files):
        if (error := _unreadable(file)) is not None:
            answers[index] = error
        else:
            waiting.append(index)
    for failures in range(1, _ITEM_ROUNDS + 1):
        if waiting:
            answers.update(zip(waiting, _send_or_split(send, [files[index] for index in waiting]), strict=True))
        waiting = [index for index in waiting if answers[index].get("error", {}).get("retryable")]
        if not waiting or failures == _ITEM_ROUNDS:
            break
        pace.wait(pace.retries.pause(failures))
    return [answers[index] for index in range(len(files))]


def _send_or_split(send: Send, files: Sequence[MediaFile]) -> list[dict[str, Any]]:
    """Send one request; where it is too much for the server, its halves, down to the one file that is too much alone."""
    try:
        return send(files)
    except Refused as refused:
        if refused.status not in (413, 504):
            raise
        if len(files) == 1:
            return [{"item": files[0].item, "error": refused.problem}]
    half = len(files) // 2
    return [*_send_or_split(send, files[:half]), *_send_or_split(send, files[half:])]


def _unreadable(file: MediaFile) -> dict[str, Any] | None:
    try:
        with file.path.open("rb"):
            return None
    except OSError as error:
        problem = {
            "type": "about:blank",
            "title": "The file can't be read",
            "status": 0,
            "code": "unreadable_file",
            "detail": f"{file.path}: {error.strerror or error}",
            "retryable": False,
        }
        return {"item": file.item, "error": problem}
