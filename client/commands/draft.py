"""The command `candor draft`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from os.path import commonpath
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from client.api import Client, DraftOptions
from client.commands.options import DEFAULT_URL, Key, Url
from client.commands.told import told
from client.files import MediaFile, Task, find_media, item_name
from client.output import Format, Wanted, format_of, opened

_SHOWN_FAILURES = 20
_SOME_FAILED, _INTERRUPTED = 1, 130


class TaskName(StrEnum):
    """The tasks, as the command line takes them."""

    detection = "detection"
    classification = "classification"
    transcription = "transcription"


@dataclass(slots=True)
class _Tally:
    """What came of the items."""

    drafted: int = 0
    failures: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # of the format
    started: float = field(default_factory=time.monotonic)

    def add(self, entry: Mapping[str, Any]) -> None:
        error = entry.get("error")
        if error is None:
            self.drafted += 1
        else:
            self.failures.append((str(entry.get("item", "")), error))


def draft(  # noqa: PLR0913, PLR0917 - one argument per option
    paths: Annotated[list[Path], typer.Argument(help="Images and recordings, or folders of them.")],
    task: Annotated[
        TaskName | None,
        typer.Option("--task", help="What to draft. Default: the model's task, else transcription where there are only recordings."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Model that drafts: name, name@alias or name@version. Default: the task's default model.")
    ] = None,
    project: Annotated[str | None, typer.Option("--project", help="Project that the drafts belong to.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the drafts to this file, or new folder. Default: standard output.")
    ] = None,
    how: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="json: one list, at the end. jsonl: a line per item, at once. The others are other tools' formats: docs/exports.md. "
            "Default: by the file's name, else json.",
        ),
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", help="Stands before each item's name, such as an address: in formats of one file, but json.")
    ] = "",
    include_raw: Annotated[
        bool, typer.Option("--include-raw", help="Also give the models' raw scores, which are not confidences.")
    ] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, max=256, help="Most files in one request.")] = 16,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Most requests at once.")] = 4,
) -> None:
    """Draft labels for images and recordings, by files and folders.

    Drafts come in the order of the files. In json and jsonl they are as the API gives them, and an item that failed carries its error;
    the other formats leave it out, and name files by their place in the folder that is drafted. Files of other kinds are skipped and
    counted. Progress and a summary go to standard error.

    Exit code: 0 all were drafted, 1 some failed, 2 a request as a whole failed, 130 interrupted. What was drafted until then is
    written all the same.
    """
    chosen: Task | None = task.value if task else None
    with told() as console, Client(url, key=key) as candor:
        found = find_media(paths)
        if not found.files:
            raise FileNotFoundError(f"there is nothing to draft under {', '.join(map(str, paths))}{_skipped(found.skipped)}")
        options = candor.settle(found, DraftOptions(chosen, model, project, include_raw))
        if not found.files:
            raise FileNotFoundError(f"there is nothing for {options.task} under {', '.join(map(str, paths))}{_skipped(found.skipped)}")
        how = how or format_of(out, Format.json)
        tally, code = _Tally(), 0
        wanted = Wanted(options.task, _named_in(paths, found.files), prefix, len(found.files))
        try:
            with opened(out, how, wanted) as output:
                with _progress(console, len(found.files), out is None and how is Format.jsonl) as (bar, row):
                    for entry in candor.draft_found(found.files, options, batch=batch, jobs=jobs):
                        output.write(entry)
                        tally.add(entry)
                        bar.advance(row)
                tally.notes = output.notes()
        except KeyboardInterrupt:
            console.print("interrupted: what was drafted until now is written", style="yellow")
            code = _INTERRUPTED
        finally:
            _summary(console, tally, len(found.files), found.skipped)
    raise typer.Exit(code or (_SOME_FAILED if tally.failures else 0))


def _named_in(paths: Sequence[Path], files: Sequence[MediaFile]) -> Callable[[str], str]:
    """Return what names items in other tools' formats: by their place in the folder that is drafted, so that the tool finds the images."""
    places = {file.item: item_name(file.path.absolute()) for file in files}
    inside = (
        paths[0].absolute() if len(paths) == 1 and paths[0].is_dir() else Path(commonpath(file.path.parent.absolute() for file in files))
    )
    above = item_name(inside / "_").removesuffix("_")
    return lambda item: places.get(item, item).removeprefix(above)


@contextmanager
def _progress(console: Console, total: int, lines_on_screen: bool) -> Iterator[tuple[Progress, TaskID]]:
    """Show a bar on a terminal, unless the drafts themselves run over the same screen."""
    hidden = not console.is_terminal or (lines_on_screen and sys.stdout.isatty())
    columns = (TextColumn("drafting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    # rich would send standard output to its own console, which is standard error
    with Progress(*columns, console=console, disable=hidden, redirect_stdout=False, redirect_stderr=False) as bar:
        yield bar, bar.add_task("drafting", total=total)


def _summary(console: Console, tally: _Tally, total: int, skipped: Counter[str]) -> None:
    if not tally.drafted and not tally.failures:
        return
    seconds = time.monotonic() - tally.started
    left = total - tally.drafted - len(tally.failures)
    parts = [f"{tally.drafted} drafted", f"{len(tally.failures)} failed", *([f"{left} not answered"] if left else [])]
    console.print(f"{', '.join(parts)}{_skipped(skipped)}, {seconds:.1f} s", highlight=False, soft_wrap=True)
    for note in tally.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    if not tally.failures:
        return
    table = Table("item", "code", "detail", show_edge=False)
    for item, error in tally.failures[:_SHOWN_FAILURES]:
        table.add_row(*(str(text).replace("[", r"\[") for text in (item, error.get("code", ""), error.get("detail", ""))))
    console.print(table)
    if len(tally.failures) > _SHOWN_FAILURES:
        console.print(f"… and {len(tally.failures) - _SHOWN_FAILURES} more: each is in the output with its error")


def _skipped(skipped: Counter[str]) -> str:
    """Return how many files were skipped and why, as the end of a sentence; empty where none were."""
    return f" (skipped: {', '.join(f'{n} {reason}' for reason, n in skipped.items())})" if skipped else ""
