"""Writes drafts: as the API gives them in JSON, each as soon as it is there in JSON lines, or in a format of another tool."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Protocol

from client.errors import BadOption
from client.exports import opened as exports
from client.exports.forms import FORMS
from client.exports.labelled import left_out, of_draft, of_review
from client.files import Task
from client.replacing import replacing


class Format(StrEnum):
    """How drafts are written."""

    json = "json"
    jsonl = "jsonl"
    coco = "coco"
    yolo = "yolo"
    yolo_predictions = "yolo-predictions"
    voc = "voc"
    cvat = "cvat"
    label_studio = "label-studio"
    csv = "csv"
    srt = "srt"
    vtt = "vtt"
    textgrid = "textgrid"


_BY_SUFFIX = {f".{how}": how for how in (Format.jsonl, Format.csv, Format.srt, Format.vtt, Format.textgrid)}


def format_of(path: Path | None, otherwise: Format) -> Format:
    """Tell a format by a file's name."""
    return otherwise if path is None else _BY_SUFFIX.get(path.suffix.lower(), otherwise)


class Output(Protocol):
    """Takes drafts, or reviewed labels, one after another."""

    def write(self, entry: Mapping[str, Any]) -> None:
        """Take one, as the API gives it."""

    def notes(self) -> list[str]:
        """Return what is to be told of what was written."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a format is written with: the task and the number of items, where they are known, what an item is called, and what stands
    before that.

    The API's own JSON needs none of these. `keep`: what was taken until an error or Ctrl-C is written all the same.
    """

    task: Task | None = None
    name: Callable[[str], str] = str
    prefix: str = ""
    items: int | None = None
    keep: bool = True


ANY = Wanted()


class _Lines:
    def __init__(self, file: IO[str], replace: bool = False) -> None:
        self.taken = 0
        self._file = file
        self._replace = replace

    def write(self, entry: Mapping[str, Any]) -> None:
        if self._replace:
            self._file.truncate(0)
            self._replace = False
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()
        self.taken += 1

    def end(self) -> None:
        pass

    def notes(self) -> list[str]:
        return []


class _List:
    def __init__(self, file: IO[str]) -> None:
        self.taken = 0
        self._file = file

    def write(self, entry: Mapping[str, Any]) -> None:
        text = json.dumps([entry], ensure_ascii=False, indent=2)
        self._file.write(f"{',' if self.taken else '['}\n{text[2:-2]}")
        self.taken += 1

    def end(self) -> None:
        self._file.write("\n]\n")

    def notes(self) -> list[str]:
        return []


class _Exported:
    def __init__(self, sink: exports.Sink, name: Callable[[str], str]) -> None:
        self._sink = sink
        self._name = name

    def write(self, entry: Mapping[str, Any]) -> None:
        if (reason := left_out(entry)) is not None:
            self._sink.left[reason] += 1
            return
        record = of_review if "final" in entry else of_draft
        self._sink.add(record(entry, self._name(str(entry["item"]))))

    def notes(self) -> list[str]:
        return self._sink.notes()


@contextmanager
def opened(path: Path | None, how: Format, wanted: Wanted = ANY) -> Iterator[Output]:
    """Open standard output, a file, or a folder, for drafts. What was taken is written also where an error or Ctrl-C ends the work early.

    What is not JSON lines appears in one step at the end, so that nobody ever reads half of it. Where nothing was taken, an earlier file
    stays as it was.

    Raises:
        BadOption: the format does not fit the task, or the path.
        OSError: the file can't be written; told before the work, not after.
    """
    if wanted.prefix and (how.value not in FORMS or FORMS[how.value].folder is not None):
        raise BadOption(f"--prefix is for formats of one file that name images, and {how.value} is none")
    if how is Format.jsonl and (path is None or wanted.keep):
        with _file(path) as file:
            yield _Lines(file, replace=path is not None)
    elif how in (Format.json, Format.jsonl):
        with replacing(path) as target:
            output = _List(target.file) if how is Format.json else _Lines(target.file)
            whole = False
            try:
                yield output
                whole = True
            finally:
                if output.taken and (whole or wanted.keep):
                    output.end()
                    target.appear()
    else:
        with exports.opened(how.value, path, wanted.task, items=wanted.items, keep=wanted.keep) as sink:
            yield _Exported(sink, lambda item: wanted.prefix + wanted.name(item))


@contextmanager
def _file(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        yield file
