"""How soon alarms tell people who don't look, and how seldom they err: `python -m benchmarks.alarms`.

The scorecard of `review.scorecard`, printed as a table and written as JSON; the same numbers, the same figures.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.figures import verdict
from review.scorecard import SEED, WORLDS, Line, scorecard


def table_of(lines: list[Line]) -> Table:
    """Return the table: a line for each figure."""
    table = Table(title="Alarms and estimates in simulated programmes of 40 reviewers, 3,000 items each", title_justify="left")
    for column in ("", "measured", "asked", ""):
        table.add_column(column)
    for line in lines:
        table.add_row(line.what, line.measured, line.asked, "" if line.reached is None else verdict(line.reached))
    return table


def main(
    programmes: Annotated[int, typer.Option(min=5, help="Simulated programmes of each population.")] = 200,
    replicates: Annotated[int, typer.Option(min=50, help="Simulated studies of each interval.")] = 1_000,
    to: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("var/bench/alarms.json"),
) -> None:
    """Simulate, print the table and write the figures. Exit code 1 where one is not as asked."""
    console = Console(width=170)
    start = time.monotonic()
    lines = list(
        scorecard(programmes, replicates, lambda name: console.print(f"{time.monotonic() - start:6.0f} s  {name}", highlight=False))
    )
    populations = {name: {"draft_error": one.draft_error, "rate": one.rate} for name, one in WORLDS.items()}
    found = {
        "seed": SEED,
        "programmes": programmes,
        "replicates": replicates,
        "populations": populations,
        "lines": [x.as_json() for x in lines],
    }
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console.print(table_of(lines))
    if any(line.reached is False for line in lines):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
