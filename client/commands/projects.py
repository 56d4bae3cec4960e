"""The command `candor projects`."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote

import typer
import yaml
from rich.console import Console
from rich.table import Table

from client.commands.options import DEFAULT_URL, Json, Key, Url, is_file, print_json
from client.commands.told import told
from client.connection import Connection
from client.errors import BadOption
from client.responses import list_of, object_of

projects = typer.Typer(help="Say what your projects want: labels, guideline, model, policy.", no_args_is_help=True)

Name: TypeAlias = Annotated[str, typer.Argument(help="Name of the project.")]
Revision: TypeAlias = Annotated[
    int | None,
    typer.Option("--if-revision", min=0, help="Do it only where the project still has this revision; 0: where there is none yet."),
]


@projects.callback()
def _projects() -> None:
    """Say what your projects want: labels, guideline, model, policy."""


@projects.command("list")
def list_projects(url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """List your team's projects."""
    with told(), Connection(url, key=key) as candor:
        found = list(_all(candor))
        if json:
            print_json(found)
        else:
            Console().print(projects_table(found))


@projects.command("show")
def show(name: Name, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Print a project as YAML, in the form that `set` takes; with --json as the API gives it."""
    with told(), Connection(url, key=key) as candor:
        found = object_of(candor.send("GET", _path(name)), "project")
        if json:
            print_json(found)
        else:
            typer.echo(_yaml(found), nl=False)


@projects.command("set")
def set_project(
    name: Name,
    file: Annotated[Path, typer.Argument(help="YAML or JSON: labels, label_map, guideline, model, task, policy.")],
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Make a project, or change it to what a file says. New drafts follow it within a second.

    The file holds the whole project: what it leaves out has its default.
    """
    with told() as console, Connection(url, key=key) as candor:
        body = read_project(file)
        found = object_of(candor.send("PUT", _path(name), lambda: nullcontext({"json": body}), _headers(revision)), "project")
        if json:
            print_json(found)
        else:
            console.print(f"{name}: revision {found['revision']}", markup=False, highlight=False)


@projects.command("delete")
def delete(name: Name, revision: Revision = None, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Delete a project. Its history and its drafts stay; new drafts under its name have the server's defaults."""
    with told() as console, Connection(url, key=key) as candor:
        candor.send("DELETE", _path(name), headers=_headers(revision))
        console.print(f"{name}: deleted", markup=False, highlight=False)


@projects.command("history")
def history(name: Name, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Show who changed a project and when, the newest first; also of one that was deleted."""
    with told(), Connection(url, key=key) as candor:
        found = list_of(candor.send("GET", f"{_path(name)}/history"), "history")
        if json:
            print_json(found)
        else:
            Console().print(history_table(found))


def read_project(file: Path) -> dict[str, Any]:
    """Return the project that a YAML or JSON file describes.

    Raises:
        BadOption: it is neither, or no mapping.
        OSError: it can't be read.
    """
    try:
        value = yaml.safe_load(is_file(file).read_text(encoding="utf-8"))
        json_module.dumps(value)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise BadOption(f"{file} is neither YAML nor JSON of plain values: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise BadOption(f"{file} is no mapping of labels, label_map, guideline, model, task and policy")
    return value


def projects_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of projects."""
    table = Table("name", "revision", "model", "labels", "mapped", "guideline", "changed")
    for one in found:
        body = one["project"]
        guideline = body.get("guideline") or {}
        cells = (
            one["name"],
            one["revision"],
            body.get("model") or "",
            len(body["labels"]) if body.get("labels") else "",
            len(body["label_map"]) if body.get("label_map") else "",
            guideline.get("version", ""),
            one["changed_at"][:19],
        )
        table.add_row(*(_plain(cell) for cell in cells))
    return table


def history_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of a project's revisions, with the fields that each changed."""
    table = Table("revision", "at", "by", "what")
    for position, one in enumerate(found):
        before = (found[position + 1]["project"] if position + 1 < len(found) else None) or {}
        now = one["project"]
        changed = [] if now is None else [field for field in now if now[field] != before.get(field)]
        table.add_row(*(_plain(cell) for cell in (one["revision"], one["at"][:19], one["by"], ", ".join(changed) if now else "deleted")))
    return table


def _all(candor: Connection) -> Iterator[dict[str, Any]]:
    query = ""
    while True:
        answer = candor.send("GET", f"/v1/projects{query}")
        yield from list_of(answer, "projects")
        after = object_of(answer, "projects").get("next")
        if after is None:
            return
        query = f"?after={quote(after, safe='')}"


def _path(name: str) -> str:
    return f"/v1/projects/{quote(name, safe='')}"


def _headers(revision: int | None) -> dict[str, str]:
    return {} if revision is None else {"If-Match": f'"{revision}"'}


def _yaml(found: Mapping[str, Any]) -> str:
    body = {field: value for field, value in found["project"].items() if value is not None}
    body["policy"] = {field: value for field, value in (body.get("policy") or {}).items() if value is not None}
    if not body["policy"]:
        del body["policy"]
    return str(yaml.safe_dump(body, sort_keys=False, allow_unicode=True)) if body else ""


def _plain(value: object) -> str:
    return str(value).replace("[", r"\[")
