"""Turns errors that people can do something about into one line on standard error and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from client.errors import ClientError, Refused

FAILED_REQUEST = 2


@contextmanager
def told() -> Iterator[Console]:
    """Yield a console on standard error; an error of the request or of a file is told there in a line, with exit code 2."""
    console = Console(stderr=True)
    try:
        yield console
    except BrokenPipeError:  # whoever read our output has enough
        raise
    except (ClientError, OSError) as error:
        traced = f" [request {error.request_id}]" if isinstance(error, Refused) and error.request_id else ""
        console.print(f"error: {_line(error)}{traced}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(FAILED_REQUEST) from error


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
