"""The command `candor review`: figures of reviewers, agreement, whether drafts pay, and alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote, urlencode

import typer
from rich.console import Console
from rich.table import Table

from client.commands.options import DEFAULT_URL, Json, Key, Url, print_json
from client.commands.told import told
from client.connection import Connection
from client.responses import list_of, object_of

review = typer.Typer(help="See how drafts are reviewed: figures, agreement, effect, alarms.", no_args_is_help=True)

Project: TypeAlias = Annotated[str, typer.Argument(help="Name of the project.")]
_FEW = "not enough"


@review.callback()
def _review() -> None:
    """See how drafts are reviewed: figures, agreement, effect, alarms. It takes a key with the scope register or admin."""


@review.command("figures")
def figures(
    project: Project,
    reviewer: Annotated[str | None, typer.Option("--reviewer", help="Only this one, by month and guideline version.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Print the figures of the reviewers, each with its interval; who catches least comes first."""
    with told(), Connection(url, key=key) as candor:
        if reviewer is not None:
            found = object_of(candor.send("GET", f"{_path(project)}/reviewers/{quote(reviewer, safe='')}"), "reviewer")
            people = [found]
        else:
            found = {"reviewers": list_of(candor.send("GET", f"{_path(project)}/reviewers"), "reviewers")}
            people = found["reviewers"]
        if json:
            print_json(found)
            return
        Console().print(_reviewers(people))
        if reviewer is not None:
            Console().print(_months(found["months"]))


@review.command("agreement")
def agreement(project: Project, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Print how far people agree: blind, with drafts shown, and the gap between both."""
    with told(), Connection(url, key=key) as candor:
        found = object_of(candor.send("GET", f"{_path(project)}/agreement"), "tasks")
        if json:
            print_json(found)
            return
        table = _table("task", "", "items", "value", "measure")
        for task, parts in found["tasks"].items():
            for name in ("blind", "drafted", "gap"):
                part = parts[name]
                table.add_row(task, name, str(part.get("items", "")), _figure(part), part.get("measure", ""))
                for weights, weighted in part.get("weighted", {}).items():
                    table.add_row(task, name, str(weighted.get("n", "")), _figure(weighted), f"kappa, {weights} weights")
        Console().print(table)


@review.command("effect")
def effect(
    project: Project,
    hour: Annotated[float | None, typer.Option("--hour", min=0, help="What an hour of work costs.")] = None,
    error: Annotated[float | None, typer.Option("--error", min=0, help="What a wrong label that gets through costs.")] = None,
    draft: Annotated[float | None, typer.Option("--draft", min=0, help="What a draft costs.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Say whether drafts pay: time and errors with drafts against those without, by chance. Prices left out are the project's own."""
    given = {name: value for name, value in (("hour", hour), ("error", error), ("draft", draft)) if value is not None}
    with told() as console, Connection(url, key=key) as candor:
        found = object_of(candor.send("GET", f"{_path(project)}/effect?{urlencode(given)}"), "verdict")
        if json:
            print_json(found)
            return
        console.print(f"{found['says']}\n{found['why']}; it rests on {found['rests_on']}.", markup=False, highlight=False)
        table = _table("", "value", "with drafts", "without")
        items = found["items"]
        table.add_row("time, times as long", _figure(found["time_ratio"]), f"{items['assisted']:,}", f"{items['control']:,}")
        errors = found["errors"]
        wrong = [f"{errors[arm]['wrong']} of {errors[arm]['n']}" for arm in ("assisted", "control")]
        table.add_row("errors on gold, difference", _figure(errors["difference"] or {}), *wrong)
        Console().print(table)


@review.command("alarms")
def alarms(
    project: Project,
    everything: Annotated[bool, typer.Option("--all", help="Cleared ones too.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """List the alarms about reviewers that nobody has cleared, with what they rest on."""
    with told() as console, Connection(url, key=key) as candor:
        found = list_of(candor.send("GET", f"{_path(project)}/alarms?open={str(not everything).lower()}"), "alarms")
        if json:
            print_json(found)
            return
        for one in found:
            state = "open" if one["cleared_at"] is None else f"cleared by {one['cleared_by']}: {one['reason']}"
            console.print(f"{one['id']}  {one['reviewer']}  {state}", markup=False, highlight=False)
            items = ", ".join(missed["item"] for missed in one["evidence"]["missed"][:10])
            console.print(f"  {one['evidence']['says']}\n  missed in: {items}", markup=False, highlight=False)
        if not found:
            console.print("none", highlight=False)


@review.command("clear")
def clear(
    project: Project,
    alarm: Annotated[str, typer.Argument(help="The alarm's id, ral_…")],
    reason: Annotated[str, typer.Option("--reason", help="What you found. It is kept.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Clear an alarm, having looked into it: the reviewer's evidence begins anew."""
    with told() as console, Connection(url, key=key) as candor:
        path = f"{_path(project)}/alarms/{quote(alarm, safe='')}/clear"
        found = object_of(candor.send("POST", path, lambda: nullcontext({"json": {"reason": reason}})), "reviewer")
        console.print(f"{found['id']}: cleared", markup=False, highlight=False)


def _reviewers(people: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("reviewer", "reviews", "catch", "corrections made / expected", "false corrections", "seconds", "alarm")
    for one in people:
        made = one["corrections"]
        ratio = _figure({"value": made["ratio"], "low": made["low"], "high": made["high"]})
        cells = (_figure(one["catch"]), ratio, _figure(one["false_corrections"]), _figure(one["seconds"]["shown"]))
        table.add_row(str(one["reviewer"]), f"{one['reviews']:,}", *cells, one.get("alarm") or "")
    return table


def _months(months: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("month", "reviews", "catch", "corrected", "seconds")
    for one in months:
        table.add_row(
            one["month"], f"{one['reviews']:,}", _figure(one["catch"]), _figure(one["corrected"]), _figure(one["seconds"]["shown"])
        )
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name)
    return table


def _figure(found: Mapping[str, Any]) -> str:
    if found.get("value") is None:
        return f"{_FEW} (n {found['n']})" if "n" in found else _FEW
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})" if found.get("low") is not None else f"{found['value']:.2f}"


def _path(project: str) -> str:
    return f"/v1/projects/{quote(project, safe='')}"
