"""One process of a team's own family, seen from the server: calls by number, and an end that fails everything which still waits."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import structlog

from candor import __version__, frames
from candor.errors import ModelUnavailable, WorkerLost
from candor.frames import Header

START_SECONDS = 120.0  # to import the family
_CLOSE_SECONDS = 5.0
_LINE_BYTES, _LINES = 2_000, 1_000  # of what the family prints: a longer line is cut, and later ones are dropped until it ends

_log = structlog.get_logger(__name__)


class FamilyProcess:
    """A running `candor.host`. Methods may be called from any thread.

    Raises, when it is made:
        ModelUnavailable: the family can't be imported, or the process has another version of Candor.
    """

    def __init__(self, family: str) -> None:
        self.family = family
        self.dead = False
        self._closing = False
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[tuple[Header, memoryview]]] = {}
        self._released: deque[int] = deque()
        self._state, self._sending = threading.Lock(), threading.Lock()
        self._sock, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "candor.host", family, str(theirs.fileno())]
            # A session of its own: an interrupt from the terminal is for the server, which then closes this.
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        threading.Thread(target=_retell, args=(family, self._process.stdout), name=f"{family}-says", daemon=True).start()
        self.tasks = self._greeted()
        threading.Thread(target=self._read, name=f"{family}-answers", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def resident(self) -> int:
        """Bytes that the process holds in memory; 0 where it has gone."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError):
            return 0
        return pages * _PAGE

    def call(self, op: str, header: Mapping[str, Any], body: bytes = b"", *, seconds: float) -> tuple[Header, memoryview]:
        """Ask for something and wait for the answer; a process that gives none within `seconds` is killed.

        Raises:
            WorkerLost: the process has gone, or was killed.
            CandorError: what the family raised. A bug of theirs comes as RuntimeError.
        """
        number = next(self._numbers)
        answer: Future[tuple[Header, memoryview]] = Future()
        with self._state:
            if self.dead:
                raise self._lost()
            self._waiting[number] = answer
        try:
            self._send({"id": number, "op": op, **header}, body, seconds)
            told, data = answer.result(seconds)
        except TimeoutError as error:
            self.kill(f"it did not answer {op!r} within {seconds:g} seconds")
            raise self._lost() from error
        finally:
            self._waiting.pop(number, None)
        if "error" in told:
            raise frames.error_from(told["error"])
        return told, data

    def release(self, item: int) -> None:
        """Let the process forget an item. Waits for nothing: the garbage collector calls it, at any moment and in any thread."""
        if self.dead:
            return
        self._released.append(item)
        if self._sending.acquire(blocking=False):
            try:
                with suppress(OSError):  # it has gone, or does not read: a call finds out
                    frames.send(self._sock, {"op": "release", "release": self._drained()})
            finally:
                self._sending.release()

    def kill(self, reason: str) -> None:
        """End it now; everything that waits for it fails with WorkerLost."""
        with self._state:
            if self.dead:
                return
            self.dead = True
            waiting = list(self._waiting.values())
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)  # and what it started
        status = self._process.wait()
        if reason:
            _log.warning("family_process_lost", family=self.family, pid=self.pid, status=status, reason=reason)
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes the reader, who closes it
        for answer in waiting:
            with suppress(InvalidStateError):  # it came just now
                answer.set_exception(self._lost())

    def close(self) -> None:
        """End it in its own time, which is short."""
        self._closing = True
        with self._sending, suppress(OSError, subprocess.TimeoutExpired):
            frames.send(self._sock, {"op": "close"})
            self._process.wait(_CLOSE_SECONDS)
        self.kill("")

    def _send(self, header: Header, body: bytes, seconds: float) -> None:
        try:
            with self._sending:
                _set_patience(self._sock, seconds)
                frames.send(self._sock, {**header, "release": self._drained()}, body)
        except OSError as error:
            self.kill(f"it takes no requests: {error}")
            raise self._lost() from error

    def _drained(self) -> list[int]:
        found = []
        while self._released:
            found.append(self._released.popleft())
        return found

    def _greeted(self) -> frozenset[str]:
        self._sock.settimeout(START_SECONDS)
        frame = None
        try:
            frame = frames.receive(self._sock)
        except frames.BrokenFrame as error:
            _log.warning("family_process_speaks_otherwise", family=self.family, error=str(error))
        self._sock.settimeout(None)
        hello = frame[0] if frame else {}
        reason = ""
        if "error" in hello:
            reason = f"the family {self.family} can't be imported: {hello['error'].get('detail')}"
        elif (hello.get("kernel"), hello.get("protocol")) != (__version__, frames.PROTOCOL):
            reason = f"the process of the family {self.family} did not start with Candor {__version__}; what it printed is in the log"
        if reason:
            self.kill(reason)
            self._sock.close()
            raise ModelUnavailable(reason)
        return frozenset(hello["tasks"])

    def _read(self) -> None:
        reason = "it ended"
        try:
            while (frame := frames.receive(self._sock)) is not None:
                answer = self._waiting.get(frame[0].get("id", 0))
                if answer is not None:
                    with suppress(InvalidStateError):
                        answer.set_result(frame)
        except frames.BrokenFrame as error:
            reason = f"it answered {error}"
        if not self._closing:
            self.kill(reason)
        self._sock.close()

    def _lost(self) -> WorkerLost:
        return WorkerLost(f"the process of the family {self.family} stopped while it had the item: send the item again", retry_after=1.0)


_PAGE = resource.getpagesize()


def _set_patience(sock: socket.socket, seconds: float) -> None:
    """A process that reads nothing must not hold a thread of ours for ever."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(seconds) + 1, 0))


def _retell(family: str, stream: IO[bytes] | None) -> None:
    """Put what the family prints into the log, as much of it as a log bears."""
    if stream is None:
        return
    told = 0
    with stream:
        while line := stream.readline(_LINE_BYTES):
            told += 1
            if told <= _LINES:
                _log.info("family_says", family=family, line=line.decode(errors="replace").rstrip())
            elif told == _LINES + 1:
                _log.warning("family_says_too_much", family=family, note="the rest is dropped")
