"""The `candor` command line. The client's own commands need no server package; the others join by entry point, when they are called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from client.commands.draft import draft
from client.commands.export import export
from client.commands.keys import keys
from client.commands.label_studio import label_studio
from client.commands.models import models
from client.commands.projects import projects
from client.commands.review import review
from client.commands.reviews import gold, reviews
from client.commands.teams import teams
from client.commands.told import FAILED_REQUEST
from client.commands.webhooks import webhooks
from client.cvat.commands import cvat

_GROUP = "candor.commands"
_OWN = frozenset({"candor", "models", "calibration", "store", "serving", "client"})
_INSTALL = "needs the server's packages, which are the extra `server` of the package candor"


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_GROUP)}


class _Commands(TyperGroup):
    """Own commands first, then those of the entry points; a plugin's module is imported when its command or its help is asked for."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override] # typer hides the class that it wraps
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *(name for name in sorted(_plugins()) if name not in self.commands)]

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """Return a command by name, or None."""
        own = super().get_command(ctx, cmd_name)
        point = None if own is not None else _plugins().get(cmd_name)
        return own if point is None else _command(point)


def _command(point: EntryPoint) -> Any:
    """Return the command of an entry point: a function that typer reads, or an application of commands."""
    try:
        function, settings = point.load(), None
    except ModuleNotFoundError as error:
        function, settings = _missing(error), {"allow_extra_args": True, "ignore_unknown_options": True}
    if isinstance(function, typer.Typer):
        return get_command(function)
    alone = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    alone.command(point.name, context_settings=settings)(function)
    return get_command(alone)


def _missing(error: ModuleNotFoundError) -> Callable[[], None]:
    def missing() -> None:
        raise error

    missing.__doc__ = f"Not installed here: {_INSTALL}"
    return missing


app = typer.Typer(
    cls=_Commands,
    help="Draft labels with honest confidence: the command line of a Candor server.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("draft")(draft)
app.command("export")(export)
app.add_typer(models, name="models")
app.add_typer(projects, name="projects")
app.add_typer(gold, name="gold")
app.add_typer(reviews, name="reviews")
app.add_typer(review, name="review")
app.add_typer(label_studio, name="label-studio")
app.add_typer(cvat, name="cvat")
app.add_typer(keys, name="keys")
app.add_typer(teams, name="teams")
app.add_typer(webhooks, name="webhooks")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OWN:
            raise
        typer.echo(f"error: {error.name} is not installed: this command {_INSTALL}", err=True)
        sys.exit(FAILED_REQUEST)
