"""Labelled data that lies beside the checkout on development machines, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(*parts: str) -> Path:
    """Return a path under ../shared/data, or skip the test where it is absent."""
    path = _DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"../shared/data/{'/'.join(parts)} is not on this machine")
    return path
