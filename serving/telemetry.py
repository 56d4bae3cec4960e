"""Structured logs: one line an event, with the id of the request that it belongs to."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from serving.config import ServerSettings, log_destination


def configure_logs(settings: ServerSettings, process: str) -> None:
    """Send this process's logs where `candor serve` sends its own, in the configured form. `process` is named on every line."""
    level = getattr(logging, settings.log_level.upper())
    renderer: Any = structlog.processors.JSONRenderer() if settings.log_format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _named(process),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=_destination()),
        cache_logger_on_first_use=False,
    )


def _named(process: str) -> Any:
    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "process": process}

    return add


def _destination() -> TextIO:
    """The standard error of `candor serve`, also from a process that Ray started; this process's own where that can't be opened."""
    path = log_destination()
    if path is None:
        return sys.stderr
    try:
        return open(path, "a", buffering=1, encoding="utf-8")
    except OSError:
        return sys.stderr
