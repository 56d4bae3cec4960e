"""What many commands have in common: options, JSON, bars."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from client.connection import DEFAULT_URL
from client.uploads import Progress as Told

__all__ = ["DEFAULT_URL", "Bars", "Json", "Key", "Url", "is_file", "print_json", "progress_on", "split_reference"]

Url: TypeAlias = Annotated[str, typer.Option("--url", envvar="CANDOR_URL", show_envvar=False, help="Address of the server.")]
Key: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="CANDOR_API_KEY",
        show_envvar=False,
        help="API key. Default: the variable CANDOR_API_KEY, which keeps it out of `ps`.",
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the answer as the API gives it, as JSON.")]


def print_json(value: Any) -> None:
    """Print an answer of the API on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def split_reference(reference: str, default: str = "production") -> tuple[str, str]:
    """Return name and version, or alias, of `name@…`."""
    name, at, rest = reference.partition("@")
    return name, rest if at and rest else default


class Bars:
    """Shows progress: a bar for each step on a terminal, and a line for each elsewhere."""

    def __init__(self, console: Console, bars: Progress) -> None:
        self._console = console
        self._bars = bars
        self._rows: dict[str, TaskID] = {}
        self._lines: set[str] = set()

    def __call__(self, step: str, share: float) -> None:
        """Show a step of its own."""
        self._show(step, step, share)

    def phase(self, name: str) -> Told:
        """Return what shows many steps, whose shares are those of the whole, in one bar."""
        return lambda step, share: self._show(name, f"{name}: {step}", share)

    def _show(self, row: str, text: str, share: float) -> None:
        if row not in self._rows:
            for earlier in self._rows.values():
                self._bars.update(earlier, completed=1.0)
            self._rows[row] = self._bars.add_task("", total=1.0)
        self._bars.update(self._rows[row], completed=share, description=text.replace("[", r"\["))
        line = re.sub(r"\d+", "#", text)
        if not self._console.is_terminal and line not in self._lines:
            self._lines.add(line)
            self._console.print(f"{text} …", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress_on(console: Console) -> Iterator[Bars]:
    """Yield bars, which end with the block."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=False, redirect_stderr=False) as bars:
        yield Bars(console, bars)


def is_file(path: Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        FileNotFoundError: it is not, or is a folder.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file" if path.exists() else f"{path} does not exist")
    return path
