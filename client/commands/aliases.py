"""The commands `candor models alias …` and `candor models split`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from client.api import Client
from client.commands.options import DEFAULT_URL, Json, Key, Url, print_json, split_reference
from client.commands.told import told
from client.reports import short_version

alias = typer.Typer(help="Move the aliases of a model: a request for NAME@ALIAS gets the version that it points to.", no_args_is_help=True)

AliasName = Annotated[str, typer.Argument(metavar="NAME@ALIAS", help="The alias; NAME alone means NAME@production.")]
VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="sha256:… (8 digits are enough) or ver_…")]


def add_aliases(models: typer.Typer) -> None:
    """Add the commands to `candor models`."""
    models.add_typer(alias, name="alias")
    models.command("split")(split)


@alias.callback()
def _alias() -> None:
    """Move the aliases of a model: a request for NAME@ALIAS gets the version that it points to. A move holds within a second."""


@alias.command("list")
def list_aliases(
    name: Annotated[str, typer.Argument(help="Name of the model.")], url: Url = DEFAULT_URL, key: Key = None, json: Json = False
) -> None:
    """List the aliases of a model and where they point."""
    with told(), Client(url, key=key) as candor:
        found = candor.aliases(name)
        if json:
            print_json(found)
        else:
            Console().print(_table(found))


@alias.command("set")
def set_alias(reference: AliasName, version: VersionName, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Point an alias to a version that is ready. This ends a split."""
    with told() as console, Client(url, key=key) as candor:
        name, named = split_reference(reference)
        _show(console, name, candor.set_alias(name, named, version), json)


@alias.command("rollback")
def rollback(reference: AliasName, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Point an alias to where it pointed before its newest move."""
    with told() as console, Client(url, key=key) as candor:
        name, named = split_reference(reference)
        _show(console, name, candor.rollback_alias(name, named), json)


@alias.command("remove")
def remove(reference: AliasName, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Remove an alias; the version that it points to stays."""
    with told() as console, Client(url, key=key) as candor:
        name, named = split_reference(reference)
        candor.remove_alias(name, named)
        console.print(f"{name}@{named} is removed", highlight=False, soft_wrap=True)


@alias.command("history")
def history(reference: AliasName, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """List the moves of an alias, newest first."""
    with told(), Client(url, key=key) as candor:
        found = candor.alias_history(*split_reference(reference))
        if json:
            print_json(found)
        else:
            Console().print(_moves(found))


def split(
    reference: AliasName,
    version: VersionName,
    share: Annotated[float, typer.Option("--share", min=0.0, max=1.0, help="Share of the items that the version gets, 0 to 1.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Send a share of an alias's items to another version. `alias set` ends it, `alias rollback` takes it back."""
    with told() as console, Client(url, key=key) as candor:
        name, named = split_reference(reference)
        main = next((one for one in candor.aliases(name) if one["alias"] == named), None)
        if main is None:
            raise FileNotFoundError(f"{name} has no alias {named}: point it to a version first, with `candor models alias set`")
        digest = str(main["version"]).rpartition("@")[2]
        moved = candor.set_alias(name, named, digest, canary=version, share=share, if_revision=int(main["revision"]))
        _show(console, name, moved, json)


def _show(console: Console, name: str, found: Mapping[str, Any], json: bool) -> None:
    if json:
        print_json(found)
    else:
        console.print(f"{name}@{found['alias']} -> {_target(found)}", highlight=False, markup=False, soft_wrap=True)


def _target(found: Mapping[str, Any]) -> str:
    main, canary = short_version(str(found["version"])), found.get("canary")
    if not canary:
        return main
    share = float(canary["share"])
    return f"{main} ({1 - share:.0%}), {short_version(str(canary['version']))} ({share:.0%})"


def _table(found: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("alias", "points to", "moves", "moved")
    for one in found:
        table.add_row(str(one["alias"]), _target(one), str(one.get("revision", "")), str(one.get("moved_at", ""))[:19])
    return table


def _moves(found: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("move", "to", "when", "by")
    for one in found:
        table.add_row(str(one["revision"]), _target(one) if one.get("version") else "(removed)", str(one["at"])[:19], str(one["by"]))
    return table
