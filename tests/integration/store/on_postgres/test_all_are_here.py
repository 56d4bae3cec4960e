from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
UNIT = HERE.parents[2] / "unit" / "store"


def test_each_unit_test_of_the_store_runs_here_too() -> None:
    """A new file tests/unit/store/test_x.py needs one here, of one line: from tests.unit.store.test_x import *"""
    there = {path.name for path in UNIT.glob("test_*.py")}
    assert there == {path.name for path in HERE.glob("test_*.py")} - {Path(__file__).name}
