"""The command `candor teams`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from client.commands.options import DEFAULT_URL, Json, Key, Url, print_json
from client.commands.told import told
from client.connection import Connection
from client.responses import list_of, object_of

teams = typer.Typer(help="Make, limit and remove teams, and read who changed what.", no_args_is_help=True)

_Name: TypeAlias = Annotated[str, typer.Argument(help="Name of the team: lower-case letters, digits and `-`.")]
_Items: TypeAlias = Annotated[
    int | None, typer.Option("--items-per-minute", min=1, help="Most items that it may have drafted in a minute.")
]
_Bytes: TypeAlias = Annotated[int | None, typer.Option("--storage-bytes", min=1, help="Most bytes of its uploads and models.")]


@teams.callback()
def _teams() -> None:
    """Make, limit and remove teams, and read who changed what."""


@teams.command("list")
def list_teams(url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """List the teams: all of them for the operator, else your own."""
    with told(), Connection(url, key=key) as candor:
        found = list_of(candor.send("GET", "/v1/teams"), "teams")
        if json:
            print_json(found)
        else:
            Console().print(teams_table(found))


@teams.command("create")
def create(name: _Name, items: _Items = None, storage: _Bytes = None, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Make a team. Make its first key with `candor keys create NAME --team TEAM --scopes draft,review,register,admin`."""
    body = {"name": name, "limits": {"items_per_minute": items, "storage_bytes": storage}}
    with told() as console, Connection(url, key=key) as candor:
        made = object_of(candor.send("POST", "/v1/teams", lambda: nullcontext({"json": body})), "name")
        console.print(f"team {made['name']} is made", highlight=False, markup=False)


@teams.command("limit")
def limit(name: _Name, items: _Items = None, storage: _Bytes = None, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Give a team limits of its own, in place of those that it had; what is not given is as configured."""
    body = {"items_per_minute": items, "storage_bytes": storage}
    with told() as console, Connection(url, key=key) as candor:
        candor.send("PUT", f"/v1/teams/{quote(name, safe='')}/limits", lambda: nullcontext({"json": body}))
        console.print(f"team {name} is limited anew", highlight=False, markup=False)


@teams.command("remove")
def remove(name: _Name, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Remove a team that has nothing but keys."""
    with told() as console, Connection(url, key=key) as candor:
        candor.send("DELETE", f"/v1/teams/{quote(name, safe='')}")
        console.print(f"team {name} is removed", highlight=False, markup=False)


@teams.command("audit")
def audit(
    team: Annotated[str | None, typer.Option("--team", help="Another team, for the operator. Default: your own.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this action, such as key.created.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only what was done to this.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Most entries.")] = 50,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Show who changed what, the newest first."""
    asked = {"team": team, "action": action, "target": target, "limit": limit}
    query = {name: value for name, value in asked.items() if value is not None}
    with told(), Connection(url, key=key) as candor:
        found = list_of(candor.send("GET", "/v1/audit", lambda: nullcontext({"params": query})), "entries")
        if json:
            print_json(found)
            return
        table = Table("at", "key", "action", "target")
        for one in found:
            table.add_row(
                str(one["at"])[:19].replace("T", " "), *(str(one[name]).replace("[", r"\[") for name in ("key", "action", "target"))
            )
        Console().print(table)


def teams_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of teams."""
    table = Table("name", "items a minute", "bytes stored at most", "made")
    for one in found:
        limits = [str(one["limits"][name] or "as configured") for name in ("items_per_minute", "storage_bytes")]
        table.add_row(one["name"], *limits, str(one["created_at"])[:16].replace("T", " "))
    return table
