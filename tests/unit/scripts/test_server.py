from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from scripts.demo import server
from tests.unit.client.fake_server import FakeServer


def model(state: str, version: str = "m@sha256:0", detail: str = "") -> dict[str, Any]:
    return {"task": "detection", "model": "boxes", "version": version, "state": state, "detail": detail}


def answer(*models: dict[str, Any], ready: bool = False) -> httpx.Response:
    return httpx.Response(200 if ready else 503, json={"ready": ready, "models": models})


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_POLL", 0.0)


def waits(code: str) -> list[str]:
    """Return a process that says `up` and waits for input that never comes."""
    return [sys.executable, "-c", f"import signal, sys, time\n{code}\nprint('up', flush=True)\ntime.sleep(60)"]


def logged(log: Path, text: str) -> None:
    """Wait until a process has written it."""
    until = time.monotonic() + 30
    while text not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        os.sched_yield()


def test_it_waits_until_the_models_are_ready(tmp_path: Path) -> None:
    shown, fake = console(), FakeServer(httpx.ConnectError("refused"), httpx.Response(404, text="not yet"), answer(model("loading")))
    fake.faults += [answer(model("failed", version="")), answer(model("ready"), ready=True)]
    with server.running(waits(""), tmp_path / "log", shown) as process:
        server.wait_ready(process, fake.client(), tmp_path / "log", shown)
    assert "boxes loading" in said(shown)
    assert "boxes ready" in said(shown)
    assert process.returncode is not None


def test_a_failed_model_beside_a_ready_one_is_told(tmp_path: Path) -> None:
    shown, fake = console(), FakeServer(answer(model("failed", detail="wrong hash"), model("ready")))
    with server.running(waits(""), tmp_path / "log", shown) as process:
        server.wait_ready(process, fake.client(), tmp_path / "log", shown)
    assert "boxes failed (wrong hash), boxes ready" in said(shown)


@pytest.mark.parametrize(
    ("command", "faults", "seconds", "told"),
    [
        ([sys.executable, "-c", "print('no such file'); raise SystemExit(3)"], [httpx.ConnectError("refused")] * 10_000, 60.0, "code 3"),
        (waits("print('no such file')"), [answer(model("failed", detail="bad"))], 60.0, "no model could be loaded: boxes failed (bad)"),
        (waits("print('no such file')"), [httpx.ConnectError("refused")], 0.0, "not ready after 0 s"),
    ],
)
def test_a_server_that_does_not_come_up_is_told_with_its_log(
    tmp_path: Path, command: list[str], faults: list[Any], seconds: float, told: str
) -> None:
    log = tmp_path / "log"
    client = FakeServer(*faults).client()
    with server.running(command, log, console()) as process:
        logged(log, "no such file")
        with pytest.raises(server.ServerFailed) as failed:
            server.wait_ready(process, client, log, console(), seconds)
    assert told in str(failed.value)
    assert "no such file" in str(failed.value)
    assert process.returncode is not None


def test_it_is_stopped_with_sigint_after_errors_too(tmp_path: Path) -> None:
    log, shown = tmp_path / "log", console()
    code = "signal.signal(signal.SIGINT, lambda *_: (print('stopping', flush=True), sys.exit(0)))"
    processes = []

    def interrupted() -> None:
        with server.running(waits(code), log, shown) as process:
            processes.append(process)
            logged(log, "up")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [process.returncode for process in processes] == [0]
    assert "stopping" in log.read_text()
    assert "stopped in" in said(shown)


def test_one_that_does_not_stop_is_ended_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, shown = tmp_path / "log", console()
    monkeypatch.setattr(server, "_FORCED_SECONDS", 0.1)
    command = waits("signal.signal(signal.SIGINT, signal.SIG_IGN)")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, start_new_session=True)
    logged(log, "up")
    server.stop(process, shown, seconds=0.1)
    assert process.returncode == -9
    assert "did not stop within 0 s" in said(shown)


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        other.listen()
        with pytest.raises(server.ServerFailed, match=f"port {port} .* can't be used"):
            server.refuse_taken("127.0.0.1", port)
    server.refuse_taken("127.0.0.1", port)


def test_the_server_is_this_environments_own() -> None:
    command = server.serve_command(Path("configs/default.yaml"))
    assert Path(command[0]).parent == Path(sys.executable).parent
    assert command[1:] == ["serve", "--config", "configs/default.yaml", "--no-auth"]
