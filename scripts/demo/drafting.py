"""Sends the demo's files through the API as a client would, and keeps what came back beside each file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from client.api import Client, DraftOptions, Item
from client.errors import Refused
from client.files import MEDIA_OF, MediaFile, Task

TASKS: tuple[Task, ...] = ("detection", "classification", "transcription")


@dataclass(frozen=True, slots=True)
class Drafted:
    """One file and what the API answered for it in one task: a draft, or the item with its `error`."""

    file: MediaFile
    task: Task
    entry: dict[str, Any]

    @property
    def error(self) -> dict[str, Any] | None:
        """The problem, where there is one."""
        error: dict[str, Any] | None = self.entry.get("error")
        return error


def draft_all(candor: Client, files: Sequence[MediaFile], console: Console) -> list[Drafted]:
    """Draft every image for detection and classification and every recording for transcription.

    Raises:
        ClientError: the server does not answer any more.
    """
    work = {task: [file for file in files if file.kind == MEDIA_OF[task]] for task in TASKS}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    found = []
    with Progress(*columns, console=console) as bar:
        for task, some in work.items():
            if not some:
                continue
            row = bar.add_task(task, total=len(some))
            for file, entry in zip(some, _draft_task(candor, task, some), strict=True):
                found.append(Drafted(file, task, {**entry, "task": entry.get("task", task)}))
                bar.advance(row)
    return found


def _draft_task(candor: Client, task: Task, files: Sequence[MediaFile]) -> Iterator[Mapping[str, Any]]:
    """Yield one entry per file. A request that is refused as a whole, because a model is missing say, fails each of its files."""
    options = DraftOptions(task, fresh=True)  # the demo shows the models at work, also the second time
    answered = 0
    try:
        for entry in _sent(candor, options, files):
            yield entry
            answered += 1
    except Refused as refused:
        for file in files[answered:]:
            yield {"item": file.item, "task": task, "error": refused.problem}


def _sent(candor: Client, options: DraftOptions, files: Sequence[MediaFile]) -> Iterator[Mapping[str, Any]]:
    if options.task != "classification":
        return candor.draft_found(files, options)  # files, in multipart forms

    # bytes, in JSON
    return candor.draft_items((Item(file.item, file.kind, data=file.path.read_bytes()) for file in files), options)
