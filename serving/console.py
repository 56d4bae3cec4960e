"""How the server's commands speak: results on standard output, an error in a line on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from candor.errors import CandorError

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def told() -> Iterator[tuple[Console, Console]]:
    """Yield consoles for standard output and standard error; a CandorError is told in a line there, with exit code 2."""
    from rich.console import Console  # noqa: PLC0415 - a command that is only listed does not need it

    out, err = Console(), Console(stderr=True)
    try:
        yield out, err
    except CandorError as error:
        err.print(f"error: {error.detail}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
