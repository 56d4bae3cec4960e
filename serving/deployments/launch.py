"""Start the server on Ray Serve, wait for a signal, and stop it so that what is in flight finishes."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil
import ray
import structlog
from ray import serve
from ray.exceptions import RayError

from candor.errors import InvalidRequest, NotReady
from serving.config import LOOPBACK, Settings
from serving.deployments.environment import replica_environment, uses_haproxy
from serving.deployments.replicas import applications

_log = structlog.get_logger(__name__)
_STOP_SLACK = 10.0  # seconds beyond what drafts get, for Ray Serve itself
_LOOK_SECONDS = 0.2
_OBJECT_STORE = 2**30  # bytes; it holds what passes between deployments, and nothing stays in it


def run(settings: Settings, folder: Path, listening: Callable[[], None]) -> None:
    """Serve until a signal comes. A second one ends everything at once.

    Args:
        settings: with absolute paths.
        folder: this run's own folder, as it stands in the environment.
        listening: called once requests are taken.

    Raises:
        InvalidRequest: the port is taken, or the cluster can't be reached.
        NotReady: a deployment can't be started.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _check_port(settings)
    _connect(settings)
    stop = _signals(folder)
    try:
        with _serving(settings, folder, stop) as deployed:
            if deployed:
                listening()
            stop.wait()
            _log.info("stopping", seconds=settings.server.graceful_stop_seconds)
    finally:
        ray.shutdown()
    _log.info("stopped")


def _check_port(settings: Settings) -> None:
    host, port = settings.server.host, settings.server.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InvalidRequest(
                f"{host}:{port} can't be listened on: {error.strerror}. Stop what runs there, or set CANDOR_SERVER__PORT to another port"
            ) from error


def _connect(settings: Settings) -> None:
    address = settings.server.ray_address
    own = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="error", namespace="candor", **({} if address else own))
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "Ray"
        raise InvalidRequest(f"{where} can't be started or reached: {error}") from error


@contextmanager
def _serving(settings: Settings, folder: Path, stop: threading.Event) -> Iterator[bool]:
    """Serve within the block; False where a stop was asked for before everything ran."""
    server = settings.server
    try:
        serve.start(
            proxy_location="EveryNode" if server.ray_address else "HeadOnly",
            http_options={"host": server.host, "port": server.port, "request_timeout_s": server.request_seconds + 30},
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
        )
    except (RayError, RuntimeError) as error:
        raise NotReady(f"Ray Serve can't be started: {error}") from error
    targets = applications(settings, replica_environment(folder))
    try:
        if deployed := _deployed(targets, stop):
            _announce(settings)
        yield deployed
    finally:
        _drain(targets, server.graceful_stop_seconds + _STOP_SLACK)
        serve.shutdown()


def _deployed(targets: list[serve.RunTarget], stop: threading.Event) -> bool:
    """Deploy and wait until everything runs; False where a stop was asked for meanwhile.

    Raises:
        NotReady: a deployment can't be started; the detail is Ray Serve's own.
    """
    serve.run_many(targets, wait_for_applications_running=False)
    while not stop.wait(_LOOK_SECONDS):
        found = serve.status().applications
        for name, application in found.items():
            if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise NotReady(f"the deployment {name} can't be started: {application.message}")
        if all(name in found and found[name].status == "RUNNING" for name in (target.name for target in targets)):
            return True
    return False


def _drain(targets: list[serve.RunTarget], seconds: float) -> None:
    """Ask all deployments at once to finish what they hold, the control one first, and wait for them."""
    for target in targets[::-1]:
        serve.delete(target.name, _blocking=False)
    until = time.monotonic() + seconds
    while serve.status().applications and time.monotonic() < until:
        time.sleep(0.1)


def _announce(settings: Settings) -> None:
    server = settings.server
    base = f"http://{server.host}:{server.port}"
    how = {"auth": server.auth, "topology": server.topology, "haproxy": uses_haproxy(settings)}
    _log.info("listening", url=base, docs=f"{base}/docs", ready=f"{base}/readyz", **how)
    if server.host not in LOOPBACK:
        note = "API keys and items travel in the open: put a proxy with TLS before it, or a network that is yours"
        _log.warning("listens_beyond_loopback", host=server.host, port=server.port, note=note)
    if others := _open_ports(server.port):
        note = "Ray's own ports listen on every interface and ask for this start's token; close them with a firewall"
        _log.warning("listens_beyond_loopback", ports=others, note=note)


def _open_ports(api: int) -> list[int]:
    """Ports other than the API's on which this process and its children listen beyond loopback."""
    found = set()
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            listening = [connection for connection in process.net_connections("inet") if connection.status == psutil.CONN_LISTEN]
        except psutil.Error:
            continue
        found |= {connection.laddr.port for connection in listening if connection.laddr.ip not in LOOPBACK}
    return sorted(found - {api})


def _signals(folder: Path) -> threading.Event:
    """Return what the first signal sets; the second one kills what this process started, and it."""
    stop = threading.Event()

    def heard(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            for child in psutil.Process().children(recursive=True):
                child.kill()
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(130)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, heard)
    return stop
