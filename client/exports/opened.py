"""Opens a file or a folder for items of one format. It appears whole at the end, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.errors import BadOption
from client.exports.forms import FORMS, BeginFile, BeginFolder, Form, Writer, fitting, lost
from client.exports.labelled import Labelled, Unfit
from client.files import Task
from client.replacing import replacing


@dataclass(slots=True)
class _Place:
    """What a format is written with, and how it appears where it was wanted."""

    writer: Writer
    appear: Callable[[], object]


class Sink:
    """Takes items. All are of the task of the first one, or of the one that is given; `left` counts by reason what is not in it."""

    def __init__(self, form: Form, writer: Writer, one_file: bool, task: Task | None) -> None:
        self.taken = 0
        self.left = Counter[str]()
        self._form = form
        self._writer = writer
        self._one_file = one_file
        self._task = task

    def add(self, one: Labelled) -> None:
        """Take an item.

        Raises:
            BadOption: the format does not hold such labels, or one file does not hold several items.
            OSError: it can't be written.
        """
        if self._task is None or not self.taken:
            self._task = self._task or one.task
            fitting(self._form.name, self._task, reviewed=one.reviewed)
        if one.task != self._task:
            self.left[f"of {one.task}"] += 1
        elif self._one_file and self.taken:
            raise _several(self._form)
        else:
            self._put(one)

    def notes(self) -> list[str]:
        """Return what is to be told once: what was left out, and what the format does not hold."""
        told = [f"not in it: {', '.join(f'{count} {reason}' for reason, count in self.left.items())}"] if self.left else []
        if self._task is not None and (without := lost(self._form, self._task)):
            told.append(f"{self._form.name} does not hold {without}")
        if renamed := getattr(getattr(self._writer, "places", None), "renamed", 0):
            told.append(f"{renamed} files have other names than their items, which are taken or are no names of files")
        return told

    def _put(self, one: Labelled) -> None:
        try:
            self._writer.add(one)
        except Unfit as reason:
            self.left[str(reason)] += 1
        else:
            self.taken += 1


@contextmanager
def opened(name: str, out: Path | None, task: Task | None = None, *, items: int | None = None, keep: bool = False) -> Iterator[Sink]:
    """Open standard output, a file or a folder for items in a format. Where nothing was taken, what was there stays as it was.

    With `keep`, what was taken until an error or Ctrl-C appears all the same.

    Raises:
        BadOption: the format does not hold labels of the task, or `out` does not fit the format.
        OSError: it can't be written; told before the work, not after.
    """
    form = FORMS[name] if task is None else fitting(name, task)
    one_file = form.folder is not None and out is not None and bool(form.suffix) and out.suffix == form.suffix
    if one_file and items is not None and items > 1:
        raise _several(form)
    with _place(form, out, one_file) as place:
        sink = Sink(form, place.writer, one_file, task)
        whole = False
        try:
            yield sink
            whole = True
        finally:
            if sink.taken and (whole or keep):
                place.writer.end()
                place.appear()


def _several(form: Form) -> BadOption:
    return BadOption(f"{form.name} has a file for each recording, and there are several: let --out be a folder")


@contextmanager
def _place(form: Form, out: Path | None, one_file: bool) -> Iterator[_Place]:
    if form.folder is not None:
        if out is None:
            raise BadOption(f"{form.name} has a file for each item: name a folder with --out")
        opening = _folder(form.folder, out, form.suffix if one_file else "")
    elif form.file is not None:
        opening = _file(form.file, out)
    else:
        raise NotImplementedError(form.name)
    with opening as place:
        try:
            yield place
        finally:
            place.writer.close()


@contextmanager
def _file(begin: BeginFile, out: Path | None) -> Iterator[_Place]:
    with replacing(out) as target:
        yield _Place(begin(target.file, None if out is None else out.parent), target.appear)


@contextmanager
def _folder(begin: BeginFolder, out: Path, suffix: str) -> Iterator[_Place]:
    """Write beside the folder that is wanted. With `suffix` it is a file that is wanted: the only one that is made."""
    if not suffix and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadOption(f"{out} is not empty: name a new folder, or what an earlier export left would stand among this one's files")
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name[:40]}."))
    try:
        beside.chmod(0o755)

        def appear() -> None:
            made = beside
            if suffix:
                (made,) = beside.rglob(f"*{suffix}")
            os.replace(made, out)

        yield _Place(begin(beside), appear)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
