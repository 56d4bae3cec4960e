"""The script that becomes HAProxy: what it changes in a configuration as Ray Serve writes it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from serving.deployments.haproxy import write_program

_WRITTEN = """defaults
    mode http
    log global
    option httplog
    option abortonclose
    errorfile 502 /elsewhere/500.http
    errorfile 503 /elsewhere/500.http
    errorfile 504 /elsewhere/500.http
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
backend http-control
    http-reuse always
listen stats
  bind *:8404
"""


def test_the_program_edits_the_configuration_and_runs_haproxy(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(_WRITTEN)
    script = write_program(tmp_path, "/bin/echo")
    told = subprocess.run([script, "-db", "-f", config, "-sf", "17"], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["-db", "-f", str(config), "-sf", "17"]
    edited = config.read_text().splitlines()
    assert "    option http-buffer-request" in edited
    assert "    option http-server-close" in edited
    assert not any("log" in line for line in edited)  # secrets of other tools' addresses
    assert [line.strip() for line in edited if "bind" in line] == ["bind 127.0.0.1:9101", "bind 127.0.0.1:8000", "bind 127.0.0.1:8404"]
    assert [line.split()[-1] for line in edited if "errorfile" in line] == [str(tmp_path / "lost.http")] * 3


def test_the_error_page_is_a_problem_of_its_stated_length(tmp_path: Path) -> None:
    write_program(tmp_path, "/bin/true")
    head, _, body = (tmp_path / "lost.http").read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert f"Content-Length: {len(body)}".encode() in head
    problem = json.loads(body)
    assert problem["code"] == "worker_lost"
    assert problem["retryable"] is True
