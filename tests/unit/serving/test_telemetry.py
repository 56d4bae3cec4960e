"""Logs: one line an event, where and how the settings say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from serving.config import ServerSettings
from serving.telemetry import configure_logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before: Any = structlog.get_config()
    yield
    opened = structlog.get_config()["logger_factory"]._file
    structlog.configure(**before)
    if str(getattr(opened, "name", "")).startswith("/"):  # the log, not standard error
        opened.close()


def server(**values: Any) -> ServerSettings:
    return ServerSettings.model_validate(values)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CANDOR_LOG_TO", str(tmp_path / "log"))
    return tmp_path / "log"


def test_an_event_is_one_line_of_json(log: Path) -> None:
    configure_logs(server(), "serve")
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        structlog.get_logger("x").info("drafted", items=3, text="a\nb")
    (told,) = lines(log)
    assert told.pop("timestamp").endswith("Z")
    assert told == {"event": "drafted", "items": 3, "text": "a\nb", "level": "info", "request_id": "req_1", "process": "serve"}


def test_a_traceback_is_part_of_its_line(log: Path) -> None:
    configure_logs(server(), "serve")
    try:
        raise ValueError("broken")
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
        structlog.get_logger().exception("failed")
    one, other = lines(log)
    assert "ValueError: broken" in one["exception"]
    assert "ValueError: broken" in other["exception"]


def test_what_is_below_the_level_is_left_out(log: Path) -> None:
    configure_logs(server(log_level="warning"), "serve")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [told["event"] for told in lines(log)] == ["loud"]


def test_people_get_text(log: Path) -> None:
    configure_logs(server(log_format="text"), "detection-7")
    structlog.get_logger().info("drafted", items=3)
    text = log.read_text()
    assert "drafted" in text
    assert "items=3" in text
    assert "process=detection-7" in text
    assert "\x1b" not in text


def test_a_logger_that_was_made_before_follows(log: Path) -> None:
    early = structlog.get_logger("early")
    configure_logs(server(), "serve")
    early.info("told")
    assert [told["event"] for told in lines(log)] == ["told"]


@pytest.mark.parametrize("place", [None, "/nowhere/at/all"])
def test_logs_go_to_standard_error_where_nothing_else_is_named(
    place: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CANDOR_LOG_TO", raising=False)
    if place:
        monkeypatch.setenv("CANDOR_LOG_TO", place)
    configure_logs(server(), "serve")
    structlog.get_logger().info("told")
    assert json.loads(capsys.readouterr().err)["event"] == "told"
