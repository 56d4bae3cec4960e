"""Starts the process that tries a model, watches its time, memory and disk, and tells how it ended where it can't itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import structlog

import serving
from candor.errors import CandorError, UnsafeArtifact
from models.artifacts import sizes
from serving.jobs.problems import as_problem
from serving.jobs.worker import Progress
from serving.validation.order import ORDER, PROGRESS, RESULT, Order

_LOOKS_EVERY = 0.05  # seconds: memory fills by some hundred MB meanwhile
_SLOW_LOOKS = 10  # of those between two looks at the progress and the disk
_RESULT_BYTES = 32 * 2**20
_LOG_TOLD = 4_000
_MACHINE_KILLED = "the machine ended it for want of memory: use a smaller model, or let the operator give it more"
_log = structlog.get_logger(__name__)


async def tried(order: Order, scratch: Path, progress: Progress) -> dict[str, Any]:
    """Try a model in a process of its own and return what was found, also where that process was ended.

    Args:
        order: what to try; its paths are in `scratch`.
        scratch: a folder for this process alone, which is its home too.
        progress: told what the process says that it does.
    """
    (scratch / ORDER).write_text(json.dumps(order.as_json()), encoding="utf-8")
    started = time.monotonic()
    with (scratch / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "serving.validation.sandbox", str(scratch),
            cwd=scratch, env=_environment(scratch, order.threads), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        ended = await _watched(process, order, scratch, progress)
    finally:
        _kill(process)
        await process.wait()
    if ended is None:
        try:
            return _result(scratch, process.returncode or 0)
        except UnsafeArtifact as error:
            ended = error
    _log.warning("model_trial_ended", model=order.model, step=progress.step, detail=ended.detail, log=_end_of_log(scratch))
    return _told(ended, progress.step, time.monotonic() - started)


async def _watched(process: asyncio.subprocess.Process, order: Order, scratch: Path, progress: Progress) -> CandorError | None:
    """Wait for the process; return why it had to be ended, or None where it ended by itself."""
    most_disk = sum(sizes(scratch).values()) * 6 + 2**30
    ends, looks = time.monotonic() + order.seconds, 0
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _LOOKS_EVERY)
            return None
        if _memory(process.pid) > order.memory_bytes:
            return UnsafeArtifact(
                f"it took more than {order.memory_bytes:,} bytes of memory: use a smaller model, or let the operator raise "
                "validation.memory_bytes"
            )
        if time.monotonic() > ends:
            return UnsafeArtifact(
                f"trying it out took longer than {order.seconds:g} s: use a smaller model, or let the operator raise validation.seconds"
            )
        looks += 1
        if looks % _SLOW_LOOKS == 0:
            _read_progress(scratch, progress)
            if sum(sizes(scratch).values()) > most_disk:
                return UnsafeArtifact("it fills the disk with far more than the file holds: save it without compression")


def _environment(scratch: Path, threads: int) -> dict[str, str]:
    """Nothing of the server's own: no address, no password, no key. Threads that wait do so asleep: hot models need the cores."""
    home = str(scratch / "home")
    root = str(Path(serving.__file__).parents[1])
    Path(home).mkdir(exist_ok=True)
    system = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home, "XDG_CACHE_HOME": home, "PYTHONPATH": root}
    caches = {"MPLCONFIGDIR": home, "YOLO_CONFIG_DIR": home, "TORCH_HOME": home, "HF_HOME": home, "NUMBA_CACHE_DIR": home}
    quiet = {"HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "true", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**system, **caches, **quiet, "OMP_NUM_THREADS": str(threads)}


def _memory(pid: int) -> int:
    """Bytes that a process and its children have filled."""
    taken = 0
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        for one in (parent, *parent.children(recursive=True)):
            with suppress(psutil.Error):
                taken += one.memory_info().rss
    return taken


def _kill(process: asyncio.subprocess.Process) -> None:
    """End the process and whatever it started."""
    children: list[psutil.Process] = []
    with suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for child in children:
        with suppress(psutil.Error):
            child.kill()


def _read_progress(scratch: Path, progress: Progress) -> None:
    with suppress(OSError, ValueError, TypeError, LookupError):
        told = json.loads((scratch / PROGRESS).read_text(encoding="utf-8"))
        progress.at(min(max(float(told["share"]), progress.share), 0.9), str(told["step"])[:200])


def _result(scratch: Path, code: int) -> dict[str, Any]:
    """Read what the process found.

    Raises:
        UnsafeArtifact: it ended without saying, or says what it can't have found.
    """
    path = scratch / RESULT
    if code == 0 and path.is_file() and path.stat().st_size <= _RESULT_BYTES:
        with suppress(ValueError, RecursionError):
            found = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(found, dict) and isinstance(found.get("passed"), bool) and isinstance(found.get("checks"), list):
                return found
    if code == -signal.SIGXCPU:
        raise UnsafeArtifact("trying it out took more computing time than it may: use a smaller model, or raise validation.seconds")
    if code == -signal.SIGKILL:
        raise UnsafeArtifact(_MACHINE_KILLED)
    how = f"by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"with code {code}"
    raise UnsafeArtifact(f"the process that tried it ended {how}: the file is broken, or made to break its reader. Export it again")


def _told(error: CandorError, step: str, seconds: float) -> dict[str, Any]:
    problem: Mapping[str, Any] = as_problem(error)
    checks = [{"name": step, "passed": False, "detail": error.detail}]
    measured: dict[str, Any] = {"memory_bytes": None, "speed": [], "device": "cpu", "max_batch": None, "samples": "", "scan": {}}
    return {**measured, "passed": False, "checks": checks, "problem": problem, "seconds": round(seconds, 3), "adopted": None}


def _end_of_log(scratch: Path) -> str:
    with (scratch / "log").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TOLD))
        return file.read().decode("utf-8", "replace")
