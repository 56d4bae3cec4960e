"""The command `candor label-studio`: the server does all of the work."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote

import typer
from rich.console import Console

from client.commands.options import DEFAULT_URL, Json, Key, print_json, progress_on
from client.commands.told import told
from client.connection import Connection
from client.errors import BadOption
from client.responses import list_of, object_of

label_studio = typer.Typer(help="Give the people who label in Label Studio drafts, and learn from what they do.", no_args_is_help=True)

SOMETHING_WRONG = 1
_LOOK_SECONDS = 1.0
_MOST_TOLD = 20  # failed tasks that are printed

Server: TypeAlias = Annotated[str, typer.Option("--server", envvar="CANDOR_URL", show_envvar=False, help="Address of the Candor server.")]
Project: TypeAlias = Annotated[str, typer.Option("--project", help="Project of Candor.")]
Which: TypeAlias = Annotated[str | None, typer.Option("--connection", help="Id of the connection, where the project has more than one.")]


@label_studio.callback()
def _label_studio() -> None:
    """Give the people who label in Label Studio drafts, and learn from what they do."""


@label_studio.command("connect")
def connect(  # noqa: PLR0913, PLR0917 - one argument per option
    project: Annotated[str, typer.Option("--project", help="Project of Label Studio: its id, or its title.")],
    label_studio_url: Annotated[
        str, typer.Option("--url", envvar="LABEL_STUDIO_URL", help="Address of Label Studio, as the Candor server reaches it.")
    ],
    token: Annotated[
        str, typer.Option("--token", envvar="LABEL_STUDIO_API_KEY", help="Personal access token (or legacy token) of an owner there.")
    ],
    server: Server = DEFAULT_URL,
    candor_url: Annotated[
        str | None, typer.Option("--candor-url", help="Address of the Candor server as Label Studio reaches it. Default: that of --server.")
    ] = None,
    name: Annotated[str | None, typer.Option("--as", help="Project of Candor, made where there is none. Default: label-studio-ID.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model that drafts. Default: the project's, else the task's.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="detection, transcription or classification. Default: what the labeling config has.")
    ] = None,
    gold: Annotated[bool, typer.Option("--gold-from-ground-truth", help="What is marked as ground truth becomes a gold item.")] = False,
    key: Key = None,
    json: Json = False,
) -> None:
    """Connect a project of Label Studio: Candor drafts its tasks from now on, and its annotations are reviews.

    Makes or mends the ML backend and the webhook there, and says what works and what does not. Again: mends what is broken.
    """
    own = name or f"label-studio-{project}"
    body = {
        "tool": "label-studio",
        "url": label_studio_url,
        "token": token,
        "remote_project": project,
        "candor_url": candor_url or server,
        "gold_from_ground_truth": gold,
        **({"model": model} if model else {}),
        **({"task": task} if task else {}),
    }
    with told() as console, Connection(server, key=key) as candor:
        found = object_of(candor.send("POST", _path(own), lambda: nullcontext({"json": body})), "findings")
        if not json:
            console.print(f"project {own!r}: {found['id']}", markup=False, highlight=False)
        _tell(found, json=json)


@label_studio.command("push")
def push(
    project: Project,
    connection: Which = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until every task has its draft, with a bar.")] = False,
    server: Server = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Draft all tasks that nobody has annotated yet and put the drafts into Label Studio, however many there are."""
    with told() as console, Connection(server, key=key) as candor:
        path = _one(candor, project, connection)
        found = object_of(candor.send("POST", f"{path}/push"), "counts")
        if not wait:
            if json:
                print_json(found)
            else:
                console.print(f"{found['queued']} tasks are queued; `candor label-studio status` tells how far they are", highlight=False)
            return
        counts = _waited(candor, path, console)
        failed = list_of(candor.send("GET", f"{path}/tasks?state=failed&limit={_MOST_TOLD}"), "tasks") if counts.get("failed") else []
        if json:
            print_json({"queued": found["queued"], "counts": counts, "failed": failed})
        else:
            console.print(f"{found['queued']} tasks were queued; all in all {_counted(counts)}", highlight=False)
            _tell_failed(failed)
        if failed:
            raise typer.Exit(SOMETHING_WRONG)


@label_studio.command("status")
def status(project: Project, connection: Which = None, server: Server = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Check each part of a connection, and tell how far its tasks are."""
    with told() as console, Connection(server, key=key) as candor:
        path = _one(candor, project, connection)
        counts = object_of(candor.send("GET", f"{path}/tasks?limit=1"), "counts")["counts"]
        found = object_of(candor.send("POST", f"{path}/check"), "findings")
        if not json:
            console.print(f"tasks: {_counted(counts)}", highlight=False)
            if counts.get("failed"):
                _tell_failed(list_of(candor.send("GET", f"{path}/tasks?state=failed&limit={_MOST_TOLD}"), "tasks"))
        _tell({**found, "tasks": counts}, json=json)


def _tell(found: Mapping[str, Any], *, json: bool) -> None:
    """Print what was found; exit code 1 where something is wrong."""
    if json:
        print_json(found)
    else:
        for one in found["findings"]:
            typer.echo(f"{'ok   ' if one['ok'] else 'WRONG'}  {one['name']}: {one['told']}")
    if not all(one["ok"] for one in found["findings"]):
        raise typer.Exit(SOMETHING_WRONG)


def _tell_failed(failed: Sequence[Mapping[str, Any]]) -> None:
    for one in failed:
        typer.echo(f"WRONG  task {one['task']}: {one['error']}")


def _waited(candor: Connection, path: str, console: Console) -> dict[str, int]:
    """Return how many tasks are in which state, when none waits any more."""
    start: int | None = None
    with progress_on(console) as bar:
        while True:
            counts: dict[str, int] = object_of(candor.send("GET", f"{path}/tasks?limit=1"), "counts")["counts"]
            left = counts.get("queued", 0) + counts.get("processing", 0)
            start = max(left, start or 1)
            bar("drafting", 1 - left / start)
            if not left:
                return counts
            time.sleep(_LOOK_SECONDS)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "none yet"


def _one(candor: Connection, project: str, connection: str | None) -> str:
    """Return the path of the connection that is meant."""
    if connection is not None:
        return f"{_path(project)}/{quote(connection, safe='')}"
    found = [one for one in list_of(candor.send("GET", _path(project)), "connections") if one["tool"] == "label-studio"]
    if len(found) != 1:
        some = ", ".join(f"{one['id']} (project {one['remote_project']})" for one in found)
        raise BadOption(
            f"project {project!r} has more than one connection: name one with --connection, of {some}"
            if found
            else f"project {project!r} is not connected to Label Studio: `candor label-studio connect` does that"
        )
    return f"{_path(project)}/{quote(found[0]['id'], safe='')}"


def _path(project: str) -> str:
    return f"/v1/projects/{quote(project, safe='')}/connections"
