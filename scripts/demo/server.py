"""Runs the server beside the demo: starts it, waits until its models are loaded, and stops it whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from client.api import Client
from client.errors import ClientError

READY_SECONDS = 180.0
STOP_SECONDS = 30.0
_TAIL = 30  # lines of the log
_POLL = 0.5
_FORCED_SECONDS = 5.0


class ServerFailed(Exception):
    """The server can't be used; the text says why and ends with the end of its log."""


def refuse_taken(host: str, port: int) -> None:
    """Raise ServerFailed where something listens already: its answers would be taken for ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerFailed(
                f"port {port} of {host} can't be used ({error.strerror}): stop what listens there, a `make serve` perhaps, or take "
                f"another with CANDOR_SERVER__PORT={port + 1} make demo"
            ) from error


@contextmanager
def running(command: Sequence[str], log: Path, console: Console) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server, its output in `log`, and stop it at the end, after errors and Ctrl-C too."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # a session of its own: Ctrl-C in the terminal reaches the demo alone, which then stops the server in order
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield process
    finally:
        stop(process, console)


def serve_command(config: Path) -> list[str]:
    """Return the command of the server in this environment. It is for this machine alone, and so asks for no API key."""
    return [str(Path(sys.executable).with_name("candor")), "serve", "--config", str(config), "--no-auth"]


def wait_ready(process: subprocess.Popen[bytes], candor: Client, log: Path, console: Console, seconds: float = READY_SECONDS) -> None:
    """Wait until the models are loaded, showing how each fares. One that failed is told; its items will say so too.

    Raises:
        ServerFailed: the server ended, no model can be used, or the time is over.
    """
    start, shown = time.monotonic(), ""
    with console.status("starting the server") as status:
        while (elapsed := time.monotonic() - start) < seconds:
            if process.poll() is not None:
                raise ServerFailed(f"the server ended with code {process.returncode}{tail(log)}")
            try:
                answer = candor.ready()
            except ClientError:
                answer = {"ready": False, "models": []}
            states = told_states(answer["models"])
            status.update(f"starting the server ({elapsed:.0f} s){': ' if states else ''}{states}")
            if states != shown and not console.is_terminal:
                console.print(f"server: {states}", highlight=False)
            shown = states
            if answer["ready"] or (settled := _settled(answer["models"])) == "some":
                console.print(f"server: up in {elapsed:.0f} s: {states}", highlight=False)
                return
            if settled == "none":
                raise ServerFailed(f"no model could be loaded: {states}{tail(log)}")
            time.sleep(_POLL)
    raise ServerFailed(f"the server is not ready after {seconds:.0f} s: {shown or 'it does not answer'}{tail(log)}")


def told_states(models: Sequence[Mapping[str, Any]]) -> str:
    """Return each model's state in one line."""
    told = []
    for model in models:
        reason = f" ({model['detail']})" if model.get("detail") else ""
        told.append(f"{model['model']} {model['state']}{reason}")
    return ", ".join(told)


def _settled(models: Sequence[Mapping[str, Any]]) -> str | None:
    """Say whether loading is over, with `some` or with `none` of the models. A model without a version has not begun."""
    if not models or any(model["state"] not in ("ready", "failed") or not model.get("version") for model in models):
        return None
    return "some" if any(model["state"] == "ready" for model in models) else "none"


def stop(process: subprocess.Popen[bytes], console: Console, seconds: float = STOP_SECONDS) -> None:
    """Ask the server to stop and wait; after that time, or another Ctrl-C, end it at once with all that it started."""
    if process.poll() is None:
        started = time.monotonic()
        try:
            with console.status("stopping the server"):
                process.send_signal(signal.SIGINT)
                process.wait(seconds)
            console.print(f"server: stopped in {time.monotonic() - started:.1f} s", highlight=False)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as reason:
            why = "interrupted" if isinstance(reason, KeyboardInterrupt) else f"it did not stop within {seconds:.0f} s"
            console.print(f"server: {why}, so it is ended at once", style="red", highlight=False)
            process.send_signal(signal.SIGINT)  # the second one: the server kills its own processes, of other groups too
            with suppress(subprocess.TimeoutExpired):
                process.wait(_FORCED_SECONDS)
    with suppress(ProcessLookupError):  # what is left of its group; mostly nothing is
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(log: Path) -> str:
    """Return the end of the log, as the end of a message."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"; its log {log} can't be read: {error.strerror}"
    return "\n".join((f"; the end of {log}:", *(f"  {line}" for line in lines[-_TAIL:])))
