"""The command: `python -m benchmarks`, which is `make bench`."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import machine, session
from benchmarks.report import as_json, notes, summaries, table_of
from benchmarks.session import Plan
from candor.errors import CandorError
from candor.predictions import TASKS, Task
from client.errors import ClientError
from scripts.demo.installing import install_models
from scripts.demo.server import ServerFailed
from serving.config import load_settings

_OUT = Path("var/bench")
_COULD_NOT_RUN, _INTERRUPTED = 2, 130


def bench(
    task: Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be given again.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of each phase at saturation; it lasts for 6 full batches at least.")] = 15,
    repeats: Annotated[int, typer.Option(min=1, help="How often raw and served take turns.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="One repeat, short phases: to see that it works, not to publish.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Watch each replica with py-spy in a further load at the end.")] = False,
    config: Annotated[Path, typer.Option(help="Configuration of the server.")] = Path("configs/default.yaml"),
    to: Annotated[Path, typer.Option("--json", help="File for all figures.")] = _OUT / "bench.json",
) -> None:
    """Measure, for each task, what the server gives against the same model in a bare loop, and the latency that serving adds.

    Exit code: 0 measured (the table says which floors are reached), 2 it could not be measured, 130 interrupted.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        plan = Plan(config, _tasks(task, config), seconds, repeats, paced=max(10, -(-20 // repeats)), profile=profile)
        if quick:
            plan = Plan(config, plan.tasks, min(seconds, 4), 1, paced=20, profile=profile, least_batches=2)
        _run(plan, to, console)
    except (ServerFailed, ClientError, CandorError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(_COULD_NOT_RUN) from error
    except KeyboardInterrupt as error:
        console.print("interrupted", style="yellow")
        raise typer.Exit(_INTERRUPTED) from error


def _run(plan: Plan, to: Path, console: Console) -> None:
    _OUT.mkdir(parents=True, exist_ok=True)
    install_models(load_settings(plan.config), console)
    facts = machine.facts()
    busy = machine.busy(3)
    console.print(f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, commit {facts['commit'][:12]}", highlight=False)
    if busy > machine.QUIET:
        console.print(f"others keep {busy:.0%} of this machine busy: unless that ends, no floor will be judged", style="bold yellow")
    start = datetime.now(UTC)
    # beside the server's usual database, on the same disk: a commit has to cost what it costs
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=_OUT)).resolve()
    results = session.run(plan, folder, _OUT, console)
    found = summaries(results)
    settings = {"config": str(plan.config), "seconds": plan.seconds, "repeats": plan.repeats, "least_batches": plan.least_batches}
    facts |= {"started_at": start.isoformat(timespec="seconds"), "busy_before": round(busy, 3)}
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(as_json(results, found, facts, settings), indent=1) + "\n")
    console.print(table_of(found, plan.repeats))
    for note in notes(results, found):
        console.print(f"- {note}", highlight=False)
    console.print(f"all runs in {to}; {(datetime.now(UTC) - start).total_seconds() / 60:.1f} minutes", highlight=False)


def _tasks(wanted: list[str] | None, config: Path) -> tuple[Task, ...]:
    """Return the tasks to measure, in the usual order.

    Raises:
        CandorError: the server would not draft one of them.
    """
    drafted = [task for task in TASKS if task in load_settings(config).tasks]
    if unknown := sorted(set(wanted or []) - set(drafted)):
        raise CandorError(f"{config} drafts {', '.join(drafted)}, not {', '.join(unknown)}")
    return tuple(task for task in drafted if not wanted or task in wanted)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(bench)
