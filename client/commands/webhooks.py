"""The command `candor webhooks`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote, urlsplit

import typer
from rich.console import Console
from rich.table import Column, Table

from client.commands.options import DEFAULT_URL, Json, Key, Url, print_json
from client.commands.told import FAILED_REQUEST, told
from client.connection import Connection
from client.responses import list_of, object_of
from client.retries import Retries

webhooks = typer.Typer(help="Have other systems told of what happens.", no_args_is_help=True)

Id: TypeAlias = Annotated[str, typer.Argument(help="Id of the webhook, whk_….")]
_EVENTS = "drafts.ready,job.done,job.failed,alarm.raised,alarm.cleared,calibration.alarm"
_LOOKS, _SECONDS = 20, 1.0  # how often and after how long `test` asks what became of its ping


@webhooks.callback()
def _webhooks() -> None:
    """Have other systems told of what happens."""


@webhooks.command("create")
def create(
    address: Annotated[str, typer.Argument(help="What gets a signed POST for each event.")],
    events: Annotated[str, typer.Option("--events", help=f"What it is told of, with commas: {_EVENTS}.")],
    project: Annotated[str | None, typer.Option("--project", help="Only of this project. Default: of all of your team's.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Make a webhook. The secret that bodies are signed with is printed on standard output, this once."""
    body = {"url": address, "events": [event.strip() for event in events.split(",") if event.strip()], "project": project}
    # once: a second try after a broken connection could leave a webhook whose secret nobody knows
    with told() as console, Connection(url, key=key, retries=Retries(attempts=1)) as candor:
        made = object_of(candor.send("POST", "/v1/webhooks", lambda: nullcontext({"json": body})), "secret")
        _print_secret(console, made, json=json)


@webhooks.command("rotate")
def rotate(webhook: Id, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Give a webhook another secret, which is printed on standard output. For 24 hours bodies are signed with the one before too."""
    with told() as console, Connection(url, key=key, retries=Retries(attempts=1)) as candor:
        _print_secret(console, object_of(candor.send("POST", f"{_path(webhook)}/rotate"), "secret"), json=json)


@webhooks.command("list")
def list_webhooks(url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """List your team's webhooks, the newest first."""
    with told(), Connection(url, key=key) as candor:
        found = list_of(candor.send("GET", "/v1/webhooks"), "webhooks")
        if json:
            print_json(found)
        else:
            Console().print(webhooks_table(found))


@webhooks.command("show")
def show(webhook: Id, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Print a webhook as JSON."""
    with told(), Connection(url, key=key) as candor:
        print_json(object_of(candor.send("GET", _path(webhook)), "id"))


@webhooks.command("delete")
def delete(webhook: Id, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Delete a webhook. What waits for it is not sent any more."""
    with told() as console, Connection(url, key=key) as candor:
        candor.send("DELETE", _path(webhook))
        console.print(f"{webhook}: deleted", markup=False, highlight=False)


@webhooks.command("deliveries")
def deliveries(
    webhook: Id,
    state: Annotated[str | None, typer.Option("--state", help="Only those that are waiting, delivered or dead.")] = None,
    most: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, the newest first.")] = 50,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """List what a webhook was told, and what became of it."""
    query = f"?limit={most}" + (f"&state={quote(state, safe='')}" if state is not None else "")
    with told(), Connection(url, key=key) as candor:
        found = list_of(candor.send("GET", f"{_path(webhook)}/deliveries{query}"), "deliveries")
        if json:
            print_json(found)
        else:
            Console().print(deliveries_table(found))


@webhooks.command("replay")
def replay(
    webhook: Id,
    delivery: Annotated[str | None, typer.Argument(help="Id of one delivery, dlv_…. Default: all dead ones.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Send a delivery again, or all that were given up."""
    with told() as console, Connection(url, key=key) as candor:
        if delivery is None:
            number = object_of(candor.send("POST", f"{_path(webhook)}/replay"), "replayed")["replayed"]
        else:
            candor.send("POST", f"{_path(webhook)}/deliveries/{quote(delivery, safe='')}/replay")
            number = 1
        console.print(f"{number} sent again", markup=False, highlight=False)


@webhooks.command("test")
def ping(webhook: Id, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Send a ping to a webhook, and say whether it arrived: exit code 2 where it did not."""
    with told() as console, Connection(url, key=key) as candor:
        for found in _watched(candor, webhook):
            if found["state"] == "delivered":
                console.print(f"it was taken: {found['status']}", markup=False, highlight=False)
                return
            if found["error"] is not None:
                console.print(f"error: {found['error']}", style="red", markup=False, highlight=False, soft_wrap=True)
                raise typer.Exit(FAILED_REQUEST)
        console.print("error: it is not sent yet: candor webhooks deliveries tells what becomes of it", style="red", highlight=False)
        raise typer.Exit(FAILED_REQUEST)


def webhooks_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of webhooks; of an address only its host, for the rest may be a secret."""
    table = Table(Column("id", no_wrap=True), "host", "events", "project", "made")
    for one in found:
        cells = (one["id"], urlsplit(one["url"]).hostname, ", ".join(one["events"]), one["project"] or "", _moment(one["created_at"]))
        table.add_row(*(_plain(cell) for cell in cells))
    return table


def deliveries_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of deliveries. Ids are whole: they are what `replay` takes."""
    table = Table(*(Column(name, no_wrap=True) for name in ("id", "event", "state")), "tried", "error")
    for one in found:
        cells = (*(one[name] for name in ("id", "event", "state", "attempts")), one["error"] or "")
        table.add_row(*(_plain(cell) for cell in cells))
    return table


def _watched(candor: Connection, webhook: str) -> Iterator[dict[str, Any]]:
    """Yield a ping's delivery as it is after each second."""
    made = object_of(candor.send("POST", f"{_path(webhook)}/test"), "id")
    for _ in range(_LOOKS):
        candor.wait(_SECONDS)
        yield object_of(candor.send("GET", f"{_path(webhook)}/deliveries/{quote(made['id'], safe='')}"), "state")


def _print_secret(console: Console, made: Mapping[str, Any], *, json: bool) -> None:
    if json:
        print_json(made)
        return
    console.print(
        f"{made['id']}: {', '.join(made['events'])}. Its secret is shown only now:", markup=False, highlight=False, soft_wrap=True
    )
    typer.echo(made["secret"])


def _path(webhook: str) -> str:
    return f"/v1/webhooks/{quote(webhook, safe='')}"


def _moment(value: str | None) -> str:
    return (value or "")[:19].replace("T", " ")


def _plain(value: object) -> str:
    return str(value).replace("[", r"\[")
