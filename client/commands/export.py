"""The command `candor export`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from client.commands.draft import TaskName
from client.commands.options import DEFAULT_URL, Key, Url
from client.commands.told import told
from client.exports.asked import ExportClient
from client.output import Format, Wanted, format_of, opened


class What(StrEnum):
    """What is exported of a project."""

    reviews = "reviews"
    drafts = "drafts"


def export(
    project: Annotated[str, typer.Argument(help="Name of the project.")],
    what: Annotated[
        What, typer.Option("--what", help="reviews: labels as people left them. drafts: labels as the model proposed them.")
    ] = What.reviews,
    how: Annotated[Format | None, typer.Option("--format", help="Default: by the file's name, else jsonl.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file, or for formats of many files the new folder. Default: standard output.")
    ] = None,
    task: Annotated[TaskName | None, typer.Option("--task", help="Of a project with several tasks, this one.")] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", help="Stands before each item's name, such as an address: in formats of one file, but json.")
    ] = "",
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Write what a project has, in a format of another tool: the newest reviewed labels of each item, or its newest draft.

    Honeypots are in neither, nor drafts that were withheld. It takes a key with the scope `register` or `admin`: what is missing among
    the drafts tells what was withheld. docs/exports.md tells what each format holds. jsonl and json have all that is known of a label.
    """
    form = how or format_of(out, Format.jsonl)
    with told() as console, ExportClient(url, key=key) as candor:
        entries: Iterable[Mapping[str, Any]] = candor.reviewed(project) if what is What.reviews else candor.drafted(project)
        count = 0
        wanted = Wanted(task.value if task else None, prefix=prefix, keep=False)
        with opened(out, form, wanted) as output:
            for entry in entries:
                if task is not None and entry["task"] != task.value:
                    continue
                output.write(entry)
                count += 1
        kind = {What.reviews: "reviewed items", What.drafts: "drafts"}[what]
        console.print(f"{count} {kind}{'' if count else ': nothing is written'}", markup=False, highlight=False, soft_wrap=True)
        for note in output.notes():
            console.print(note, markup=False, highlight=False, soft_wrap=True)
