"""Start and stop: in-flight drafts finish, a second signal ends at once, and what can't start says why."""

from __future__ import annotations

import base64
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.integration.serving.running import FAKES, Server, launch, merged, running, write_config

_ONE = {**FAKES, "tasks": {"classification": FAKES["tasks"]["classification"]}}  # starts sooner than all three
_ITEM = {"id": "a", "image": {"base64": base64.b64encode(b"slow").decode()}}


@contextmanager
def sent(server: Server, answers: list[httpx.Response | httpx.HTTPError]) -> Iterator[None]:
    """Send a request that takes two seconds, and enter once the server holds it."""

    def send() -> None:
        try:
            answers.append(httpx.post(f"{server.url}/v1/classification/drafts", json={"items": [_ITEM]}, timeout=30))
        except httpx.HTTPError as error:
            answers.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    until = time.monotonic() + 20
    while 'candor_held_items{task="classification"} 1.0' not in httpx.get(f"{server.url}/metrics", timeout=10).text:
        assert time.monotonic() < until, "the request did not arrive"
    yield
    thread.join(60)


def test_a_stop_lets_drafts_in_flight_finish(tmp_path: Path) -> None:
    answers: list[httpx.Response | httpx.HTTPError] = []
    with running(write_config(tmp_path, FAKES)) as server:
        family = psutil.Process(server.process.pid).children(recursive=True)
        with sent(server, answers):
            code = server.stop(signal.SIGTERM)
    (answer,) = answers
    assert isinstance(answer, httpx.Response), answer
    assert answer.status_code == 200, answer.text
    assert "error" not in answer.json()["drafts"][0]
    assert code == 0
    assert '"event": "stopped"' in server.log.read_text()
    gone, alive = psutil.wait_procs(family, timeout=30)
    assert not alive, f"{len(gone)} processes ended; these did not: {alive}"


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    answers: list[httpx.Response | httpx.HTTPError] = []
    with running(write_config(tmp_path, _ONE)) as server, sent(server, answers):
        start = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        while '"event": "stopping"' not in server.log.read_text():
            time.sleep(0.02)
        code = server.stop(signal.SIGINT, 10)
        assert code == 130
        assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"server": {"prot": 8000}}, "prot"),
        ({"server": {"host": "0.0.0.0"}}, "allow_remote"),  # noqa: S104 - refused
        ({"tasks": {"detection": {"model": "nowhere"}}}, "nowhere"),
        ({"models": {"fake-detector": {"calibration": "/nowhere.json"}}}, "/nowhere.json"),
        ({"storage": {"database_url": "sqlite+aiosqlite:////etc/passwd/candor.db"}}, "database"),
    ],
)
def test_a_wrong_configuration_is_told_in_words(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    config = write_config(tmp_path, merged(FAKES, changes))
    server = launch(config)
    assert server.process.wait(60) == 2
    told = server.log.read_text()
    assert said in told
    assert "Traceback" not in told


def test_a_taken_port_is_told_in_words(tmp_path: Path) -> None:
    config = write_config(tmp_path, FAKES)
    server_port = int(next(line.split(":")[1] for line in config.read_text().splitlines() if "port:" in line))
    holder = subprocess.Popen(["python3", "-m", "http.server", str(server_port), "--bind", "127.0.0.1"], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while not any(c.laddr.port == server_port for c in psutil.Process(holder.pid).net_connections() if c.status == "LISTEN"):
            assert time.monotonic() < until
            time.sleep(0.05)
        server = launch(config)
        assert server.process.wait(60) == 2
    finally:
        holder.terminate()
        holder.wait(10)
    assert "Address already in use" in server.log.read_text()


def test_a_signal_during_the_start_stops_it(tmp_path: Path) -> None:
    server = launch(write_config(tmp_path, _ONE))
    until = time.monotonic() + 90
    while not any("ServeController" in " ".join(child.cmdline()) for child in psutil.Process(server.process.pid).children(recursive=True)):
        assert time.monotonic() < until, server.log.read_text()
        time.sleep(0.1)
    assert server.stop(signal.SIGINT, 60) == 0
    assert '"event": "stopped"' in server.log.read_text()
