"""The command `candor models`."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from client.api import DEFAULT_URL, Client
from client.commands.told import told

models = typer.Typer(help="Look at the models that a server has.", no_args_is_help=True)

_STATES = {"ready": "green", "loading": "yellow", "failed": "red"}


@models.callback()
def _models() -> None:
    """Look at the models that a server has."""


@models.command("list")
def list_models(
    url: Annotated[str, typer.Option("--url", help="Address of the server.")] = DEFAULT_URL,
    json: Annotated[bool, typer.Option("--json", help="Print the list as the API gives it, as JSON.")] = False,
) -> None:
    """List the models: name, version, task, family, whether their confidence is calibrated, and whether they are loaded.

    The model that drafts a task where a request names none is marked with a star.
    """
    with told(), Client(url) as candor:
        found = candor.models()
        if json:
            typer.echo(json_module.dumps(found, indent=2, ensure_ascii=False))
        else:
            Console().print(models_table(found))


def models_table(found: Sequence[dict[str, Any]]) -> Table:
    """Return a table of models, sorted by task and name."""
    table = Table("name", "version", "task", "family", "confidence", "state")
    for model in sorted(found, key=lambda model: (model["task"], model["name"])):
        state = str(model["state"])
        told_state = f"{state}: {model['detail']}" if model.get("detail") else state
        table.add_row(
            f"{model['name']}{' *' if model.get('default') else ''}",
            short_version(str(model["version"])),
            model["task"],
            model["family"],
            model["confidence_status"],
            f"[{_STATES[state]}]{_plain(told_state)}[/]" if state in _STATES else _plain(told_state),
        )
    return table


def short_version(version: str) -> str:
    """Return a version, `name@sha256:<hex>`, without its name and with so many digits as name it: `sha256:4b1c…`."""
    digest = version.rpartition("@")[2]
    kind, colon, digits = digest.partition(":")
    return f"{kind}{colon}{digits[:12]}"


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
