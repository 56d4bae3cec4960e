"""The commands `candor reviews` and `candor gold`."""

from __future__ import annotations

import csv
import json as json_module
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote

import typer
from rich.console import Console

from client.commands.options import DEFAULT_URL, Json, Key, Url, is_file, print_json
from client.commands.told import told
from client.connection import Body, Connection
from client.errors import BadOption
from client.responses import list_of, object_of

reviews = typer.Typer(help="Report what people did with drafts.", no_args_is_help=True)
gold = typer.Typer(help="Tell items whose right label is known.", no_args_is_help=True)

FAILED_ENTRIES = 1
_AT_ONCE = 1_000  # reviews in a request
_MOST_TOLD = 20  # errors that are printed
_TYPES = {".csv": "text/csv", ".jsonl": "application/x-ndjson", ".ndjson": "application/x-ndjson", ".json": "application/json"}
_PLAIN = ("event_id", "draft", "item", "project", "reviewer", "finished_at", "guideline_version", "text")
_COLUMNS = frozenset({*_PLAIN, "seconds", "skipped", "deleted", "label"})

Project: TypeAlias = Annotated[str, typer.Argument(help="Name of the project.")]


@reviews.callback()
def _reviews() -> None:
    """Report what people did with drafts."""


@gold.callback()
def _gold() -> None:
    """Tell items whose right label is known."""


@reviews.command("import")
def import_reviews(
    file: Annotated[Path, typer.Argument(help="JSON lines as `POST /v1/reviews` takes them, or CSV with a column for each field.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Send reviews from a file. The same file again changes nothing; a changed line is a new revision.

    CSV has columns event_id, draft (or item and project), reviewer, seconds, finished_at, skipped, deleted, guideline_version, and label or
    text; an empty label means that none is right. Boxes need JSON lines.
    """
    counts = dict.fromkeys(("stored", "already", "refused"), 0)
    with told() as console, Connection(url, key=key) as candor:
        errors: list[dict[str, Any]] = []
        for batch in _batches(read_reviews(file)):
            answer = candor.send("POST", "/v1/reviews", _body(batch))
            for one in list_of(answer, "reviews", len(batch)):
                counts["refused" if "error" in one else str(one["status"])] += 1
                errors += [{"event_id": one["event_id"], **one["error"]}] if "error" in one else []
        _print(
            console, counts, [(str(one["event_id"]), str(one["detail"])) for one in errors], {**counts, "errors": errors} if json else None
        )


@gold.command("import")
def import_gold(
    project: Project,
    file: Annotated[Path, typer.Argument(help="JSON, JSON lines, CSV, or a COCO file.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Make the items of a file gold, or correct them. Whoever only drafts or reviews never learns which items are gold."""
    with told() as console, Connection(url, key=key) as candor:
        kind = _TYPES.get(file.suffix.lower())
        if kind is None:
            raise BadOption(f"{file}: its name ends in none of {', '.join(_TYPES)}")
        content = is_file(file).read_bytes()
        answer = candor.send("POST", f"{_path(project)}/gold", lambda: nullcontext({"content": content}), {"Content-Type": kind})
        found = object_of(answer, "added")
        counts = {name: int(found[name]) for name in ("added", "corrected", "unchanged")} | {"refused": len(found["errors"])}
        _print(console, counts, [(one["item"], one["detail"]) for one in found["errors"]], found if json else None)


@gold.command("remove")
def remove_gold(
    project: Project,
    items: Annotated[list[str], typer.Argument(help="Names of the items.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Let items be gold no more. Their history stays."""
    with told() as console, Connection(url, key=key) as candor:
        query = "&".join(f"item={quote(item, safe='')}" for item in items)
        found = object_of(candor.send("DELETE", f"{_path(project)}/gold?{query}"), "removed")
        console.print(f"{found['removed']} removed", markup=False, highlight=False)


def read_reviews(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the reviews of a file, as the API takes them.

    Raises:
        BadOption: a line is not of the form.
        OSError: it can't be read.
    """
    with is_file(file).open(encoding="utf-8-sig", newline="") as lines:
        try:
            yield from _csv(lines, file) if file.suffix.lower() == ".csv" else _jsonl(lines, file)
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadOption(f"{file} is neither JSON lines nor CSV in UTF-8: {error}") from error


def _jsonl(lines: Any, file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json_module.loads(line)
        except ValueError as error:
            raise BadOption(f"{file}, line {number}: {error}") from error
        if not isinstance(value, dict):
            raise BadOption(f"{file}, line {number}: a review is an object")
        yield value


def _csv(lines: Any, file: Path) -> Iterator[dict[str, Any]]:
    rows = csv.DictReader(lines, strict=True)
    names = list(rows.fieldnames or ())
    if unknown := [name for name in names if name not in _COLUMNS]:
        raise BadOption(f"{file}: there is no column {unknown[0]!r}; the columns are {', '.join(sorted(_COLUMNS))}")
    for row in rows:
        try:
            yield _review(row)
        except (TypeError, ValueError) as error:
            raise BadOption(f"{file}, line {rows.line_num}: {error}") from error


def _review(row: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: row[name] for name in _PLAIN if row.get(name)}
    if row.get("seconds"):
        found["seconds"] = float(row["seconds"])
    for name in ("skipped", "deleted"):
        if row.get(name):
            found[name] = _truth(row[name], name)
    if not (found.get("skipped") or found.get("deleted")):
        if "text" in row and "label" not in row:
            found["text"] = row["text"]
        elif "label" in row and "text" not in found:
            found["labels"] = [{"label": row["label"]}] if row["label"] else []
    return found


def _truth(said: str, name: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if said.strip().lower() not in known:
        raise ValueError(f"{name} is true or false, not {said!r}")
    return known[said.strip().lower()]


def _body(batch: list[dict[str, Any]]) -> Body:
    return lambda: nullcontext({"json": {"reviews": batch}})


def _batches(values: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(values, _AT_ONCE)):
        yield batch


def _print(console: Console, counts: Mapping[str, int], errors: Sequence[tuple[str, str]], whole: Mapping[str, Any] | None) -> None:
    """Print what became of the entries; the exit code says whether one was refused."""
    if whole is not None:
        print_json(whole)
    for name, detail in errors[:_MOST_TOLD]:
        console.print(f"error: {name}: {detail}", style="red", markup=False, highlight=False, soft_wrap=True)
    if len(errors) > _MOST_TOLD:
        console.print(f"… and {len(errors) - _MOST_TOLD} more", markup=False, highlight=False)
    if whole is None:
        console.print(", ".join(f"{count} {name}" for name, count in counts.items()), markup=False, highlight=False)
    if errors:
        raise typer.Exit(FAILED_ENTRIES)


def _path(name: str) -> str:
    return f"/v1/projects/{quote(name, safe='')}"
