"""The command `candor models`: look at models, register versions, move aliases, calibrate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from client.api import Client
from client.commands.aliases import add_aliases
from client.commands.calibrate import calibrate
from client.commands.options import DEFAULT_URL, Json, Key, Url, print_json, progress_on, split_reference
from client.commands.register import finish, register
from client.commands.told import told
from client.reports import short_version, show_version, versions_table

models = typer.Typer(help="Look at a server's models, and register your own.", no_args_is_help=True)
models.command("register")(register)
models.command("calibrate")(calibrate)
add_aliases(models)

Reference = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="NAME, NAME@ALIAS, NAME@sha256:… or NAME@ver_…")]
Name = Annotated[str, typer.Argument(help="Name of the model.")]

_STATES = {"ready": "green", "loading": "yellow", "failed": "red"}


@models.callback()
def _models() -> None:
    """Look at a server's models, and register your own."""


@models.command("list")
def list_models(url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """List the models, the server's own and your team's: name, version, aliases, task, family, confidence, and whether they are loaded.

    The model that drafts a task where a request names none is marked with a star.
    """
    with told(), Client(url, key=key) as candor:
        found = candor.models()
        if json:
            print_json(found)
        else:
            Console().print(models_table(found))


@models.command("versions")
def list_versions(name: Name, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """List the registered versions of a model, newest first, with their states."""
    with told(), Client(url, key=key) as candor:
        found = candor.versions(name)
        if json:
            print_json(found)
        else:
            Console().print(versions_table(found, candor.aliases(name)))


@models.command("show")
def show(reference: Reference, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Show one registered version: what it is, and the report of its validation."""
    with told(), Client(url, key=key) as candor:
        found = candor.version(*split_reference(reference))
        if json:
            print_json(found)
        else:
            show_version(Console(), found)


@models.command("watch")
def watch(reference: Reference, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Wait until a registered version is validated, and show what came of it.

    Exit code: 0 it is ready, 2 it failed or the server can't be asked.
    """
    with told() as console, Client(url, key=key) as candor:
        found = candor.version(*split_reference(reference))
        with progress_on(console) as bars:
            found = candor.wait_version(found, bars.phase("validating"))
        finish(console, found, json)


@models.command("retire")
def retire(reference: Reference, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Let a version draft no more. Its drafts stay readable; refused while an alias points to it."""
    with told() as console, Client(url, key=key) as candor:
        found = candor.retire(*split_reference(reference))
        if json:
            print_json(found)
        else:
            console.print(f"{reference} is retired", highlight=False, soft_wrap=True)


@models.command("delete")
def delete(reference: Reference, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Delete a version and its files. Refused while drafts or an alias refer to it: then retire it."""
    with told() as console, Client(url, key=key) as candor:
        candor.delete_version(*split_reference(reference))
        console.print(f"{reference} is deleted", highlight=False, soft_wrap=True)


def models_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of models, sorted by task and name. Aliases have a column where there are others than production."""
    pointing = any(model.get("splits") or set(model["aliases"]) - {"production"} for model in found)
    table = Table("name", "version", *(["aliases"] if pointing else []), "task", "family", "confidence", "state")
    for model in sorted(found, key=lambda model: (model["task"], model["name"])):
        state = str(model["state"])
        told_state = f"{state}: {model['detail']}" if model.get("detail") else state
        table.add_row(
            f"{model['name']}{' *' if model.get('default') else ''}",
            short_version(str(model["version"])),
            *([_plain(_aliases(model))] if pointing else []),
            model["task"],
            model["family"],
            model["confidence_status"],
            f"[{_STATES[state]}]{_plain(told_state)}[/]" if state in _STATES else _plain(told_state),
        )
    return table


def _aliases(model: Mapping[str, Any]) -> str:
    shares = {split["alias"]: f" ({split['share']:.0%} {short_version(split['canary'])})" for split in model.get("splits") or ()}
    return ", ".join(f"{alias}{shares.get(alias, '')}" for alias in model["aliases"])


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
