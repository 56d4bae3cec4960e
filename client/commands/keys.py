"""The command `candor keys`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from client.commands.options import DEFAULT_URL, Json, Key, Url, print_json
from client.commands.told import FAILED_REQUEST, told
from client.connection import Connection
from client.responses import list_of, object_of
from client.retries import Retries

keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

Team: TypeAlias = Annotated[str | None, typer.Option("--team", help="Another team, for the operator. Default: your own.")]
_SCOPES = "draft,review,register,admin"


@keys.callback()
def _keys() -> None:
    """Make, list and revoke API keys."""


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, in your own words.")],
    scopes: Annotated[str, typer.Option("--scopes", help=f"What it may do, of {_SCOPES}, with commas.")] = "draft,review",
    days: Annotated[int | None, typer.Option("--expires-in-days", min=1, max=3650, help="Days until it expires. Default: never.")] = None,
    team: Team = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="On the server's own machine: make it in the database of this configuration, where nobody has a key any more."
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Make an API key. It is printed on standard output, this once: only its hash is kept.

    `draft`: drafts and uploads. `review`: outcomes. `register`: models, projects, calibrations. `admin`: keys and the audit log.
    """
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    if config is not None:
        typer.echo(_offline(config, team or "default", name, wanted, days))
        return
    body: dict[str, Any] = {"name": name, "scopes": wanted}
    if days is not None:
        body["expires_in_seconds"] = days * 86_400
    # once: a second try after a broken connection could leave a key that nobody knows of
    with told() as console, Connection(url, key=key, retries=Retries(attempts=1)) as candor:
        made = object_of(candor.send("POST", _path(team), lambda: nullcontext({"json": body})), "key")
        if json:
            print_json(made)
            return
        console.print(f"{made['id']} of team {made['team']}: {', '.join(made['scopes'])}. It is shown only now:", highlight=False)
        typer.echo(made["key"])


@keys.command("list")
def list_keys(team: Team = None, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """List API keys, the newest first."""
    with told(), Connection(url, key=key) as candor:
        found = list_of(candor.send("GET", _path(team)), "keys")
        if json:
            print_json(found)
        else:
            Console().print(keys_table(found))


@keys.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, key_….")], team: Team = None, url: Url = DEFAULT_URL, key: Key = None
) -> None:
    """Revoke an API key: within two seconds it opens nothing any more."""
    with told() as console, Connection(url, key=key) as candor:
        gone = object_of(candor.send("DELETE", f"{_path(team)}/{quote(key_id, safe='')}"), "id")
        console.print(f"{gone['id']} ({gone['name']}) is revoked", highlight=False, markup=False)


def keys_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of keys."""
    table = Table("id", "name", "scopes", "made", "expires", "revoked")
    for one in found:
        moments = [str(one[moment] or "")[:16].replace("T", " ") for moment in ("created_at", "expires_at", "revoked_at")]
        table.add_row(one["id"], str(one["name"]).replace("[", r"\["), ", ".join(one["scopes"]), *moments)
    return table


def _path(team: str | None) -> str:
    return "/v1/keys" if team is None else f"/v1/teams/{quote(team, safe='')}/keys"


def _offline(config: Path, team: str, name: str, scopes: Sequence[str], days: int | None) -> str:
    # imported by name: of all that a client does only this needs the server's packages, which may not be there
    server, errors = importlib.import_module("serving.keys"), importlib.import_module("candor.errors")
    try:
        return str(server.create_key(config, team, name, scopes, days))
    except errors.CandorError as error:
        typer.secho(f"error: {error.detail}", fg="red", err=True)
        raise typer.Exit(FAILED_REQUEST) from error
