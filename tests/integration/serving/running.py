"""A real server, as `candor serve` starts it, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from serving.deployments.environment import free_port

ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 240


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def client(self, seconds: float = 120) -> httpx.Client:
        """Return a client for its API."""
        return httpx.Client(base_url=self.url, timeout=seconds)

    def replica(self, deployment: str) -> psutil.Process:
        """Return the process of a deployment's replica."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if child.is_running() and f"ServeReplica:{deployment}" in " ".join(child.cmdline()):
                return child
        raise AssertionError(f"no replica of {deployment} runs")

    def stop(self, number: signal.Signals = signal.SIGINT, seconds: float = 60) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


def write_config(folder: Path, changes: Mapping[str, Any]) -> Path:
    """Write a configuration for a server that keeps to `folder`, with `changes` merged in."""
    port = free_port()
    base: dict[str, Any] = {
        "server": {"port": port, "auth": "none"},
        "storage": {
            "database_url": f"sqlite+aiosqlite:///{folder}/candor.db",
            "blobs": str(folder / "blobs"),
            "models": str(folder / "models"),
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(merged(base, changes)))
    return path


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return `other` laid over `one`, mapping by mapping."""
    found = dict(one)
    for key, value in other.items():
        found[key] = merged(found[key], value) if isinstance(found.get(key), Mapping) and isinstance(value, Mapping) else value
    return found


def launch(config: Path) -> Server:
    """Start a server and return at once."""
    port = yaml.safe_load(config.read_text())["server"]["port"]
    log = config.parent / "server.log"
    command = [str(Path(sys.executable).parent / "candor"), "serve", "--config", str(config)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    return Server(f"http://127.0.0.1:{port}", process, log)


def wait_ready(server: Server) -> None:
    """Wait until every task's default model can draft."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if server.process.poll() is not None:
            break
        try:
            if httpx.get(f"{server.url}/readyz", timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"the server is not ready:\n{server.log.read_text()[-4000:]}")


@contextmanager
def running(config: Path) -> Iterator[Server]:
    """Start a server, wait until it is ready, and stop it."""
    server = launch(config)
    try:
        wait_ready(server)
        yield server
    finally:
        if server.process.poll() is None:
            try:
                server.stop()
            except subprocess.TimeoutExpired:
                for child in psutil.Process(server.process.pid).children(recursive=True):
                    child.kill()
                server.process.kill()
                server.process.wait(10)


FAKES: dict[str, Any] = {
    "tasks": {
        "detection": {"model": "fake-detector"},
        "classification": {"model": "fake-classifier"},
        "transcription": {"model": "fake-listener"},
    },
    "models": {
        "fake-detector": {"task": "detection", "family": "fake", "source": "official:fake", "options": {"task": "detection"}},
        "fake-classifier": {
            "task": "classification",
            "family": "fake",
            "source": "official:fake",
            "options": {"task": "classification", "base": 2.0},
        },
        "fake-listener": {"task": "transcription", "family": "fake", "source": "official:fake", "options": {"task": "transcription"}},
    },
}
