"""Marks by folder: tests/unit is `unit`, tests/integration is `integration`."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

# Without this, structlog draws every logged exception as a page of colors: half of the unit tier's time.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = item.path.relative_to(HERE).parts[0]
        if tier in ("unit", "integration"):
            item.add_marker(tier)
