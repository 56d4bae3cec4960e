"""The command `candor simulate-review`. What is heavy is imported when it runs."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.errors import InvalidRequest
from serving.console import told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from review.scorecard import Line


def simulate_review(
    json: Annotated[Path | None, typer.Option("--json", help="Write all figures here as JSON.")] = None,
    programmes: Annotated[int, typer.Option("--programmes", min=2, help="Simulated programmes of each population.")] = 200,
    replicates: Annotated[int, typer.Option("--replicates", min=20, help="Simulated studies of each interval.")] = 1_000,
) -> None:
    """Run made-up reviewers through the alarms and estimates that real ones go through, and hold what comes of it against what is asked.

    A programme has 40 reviewers and 3,000 items: 30 attentive, 3 weak, 4 who stamp, 3 who begin to at item 1,500. Whoever is to be judged
    by the alarms may want to see how often they err. Fewer programmes are a quick look, in which chance alone breaks limits.

    Exit code: 0 all limits are kept, 1 one is not, 2 it could not be run.
    """
    with told() as (out, err):
        from review.scorecard import SEED  # noqa: PLC0415

        if json is not None and not (json.parent.is_dir() and not json.is_dir()):
            raise InvalidRequest(f"{json} can't be written: its folder is not there, or it is one")
        lines = _run(programmes, replicates, err)
        if json is not None:
            found = {"seed": SEED, "programmes": programmes, "replicates": replicates, "lines": [line.as_json() for line in lines]}
            json.write_text(json_module.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _show(lines, out)
    if any(line.reached is False for line in lines):
        raise typer.Exit(1)


def _run(programmes: int, replicates: int, console: Console) -> list[Line]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    from review.scorecard import WORLDS, scorecard  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("worlds", total=len(WORLDS) + 3)

        def next_one(name: str) -> None:
            if console.is_terminal:
                bars.update(bar, description=name, advance=1)
            else:
                console.print(name, highlight=False)

        return list(scorecard(programmes, replicates, next_one))


def _show(lines: Sequence[Line], console: Console) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("", "measured", "asked", "", title="Simulated programmes", title_justify="left")
    for line in lines:
        reached = "" if line.reached is None else "[green]yes[/]" if line.reached else "[bold red]no[/]"
        table.add_row(escape(line.what), line.measured, line.asked, reached)
    console.print(table)
