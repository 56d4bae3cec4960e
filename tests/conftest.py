"""Marks by folder: tests/unit is `unit`, tests/integration is `integration`. And what makes hundreds of small tests quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest
import structlog

# Here and in what tests start, wherever the shell says otherwise: compiling all modules anew takes each process longer than loading them.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Matrices in tests are small: more threads only wait for one another, and each worker of pytest-xdist would start one for every core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Enough examples to find what is often wrong. `--hypothesis-profile=default` tries more.
hypothesis.settings.register_profile("candor", max_examples=30, deadline=None)
hypothesis.settings.load_profile("candor")

# Without this, structlog draws every logged exception as a page of colors: half of the unit tier's time.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = item.path.relative_to(HERE).parts[0]
        if tier in ("unit", "integration"):
            item.add_marker(tier)
