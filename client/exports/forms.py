"""The formats: what each holds, what it can't hold, and who writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol, TypeAlias

from client.errors import BadOption
from client.exports.coco import Coco
from client.exports.cvat import Cvat
from client.exports.label_studio import LabelStudio
from client.exports.labelled import Labelled
from client.exports.table import Table
from client.exports.transcripts import Save, Transcripts, srt, textgrids, vtt
from client.exports.voc import Voc
from client.exports.yolo import Yolo
from client.files import Task


class Writer(Protocol):
    """Writes items one after another, and with `end` what has to wait for the last one. `close` frees what it holds."""

    def add(self, one: Labelled) -> None:
        """Take an item."""

    def end(self) -> None:
        """Take no more."""

    def close(self) -> None:
        """Free what is held."""


BeginFile: TypeAlias = Callable[[IO[str], Path | None], Writer]
BeginFolder: TypeAlias = Callable[[Path], Writer]


@dataclass(frozen=True, slots=True)
class Form:
    """One format: a file, which `file` begins, or a folder of files, which `folder` does.

    `lost` says what of a task it can't hold. `times`: it holds nothing without times, which no text has that a person wrote.
    """

    name: str
    tasks: tuple[Task, ...]
    file: BeginFile | None = None
    folder: BeginFolder | None = None
    suffix: str = ""
    lost: str = ""
    times: bool = False


_BOXES: tuple[Task, ...] = ("detection",)
_IMAGES: tuple[Task, ...] = ("detection", "classification")
_SPEECH: tuple[Task, ...] = ("transcription",)
_ALL: tuple[Task, ...] = (*_IMAGES, *_SPEECH)


def _transcripts(suffix: str, save: Save) -> BeginFolder:
    return partial(Transcripts, suffix=suffix, save=save)


FORMS = {
    form.name: form
    for form in (
        Form("coco", _BOXES, file=Coco),
        Form("yolo", _BOXES, folder=partial(Yolo, scores=False), lost="confidences, which yolo-predictions has"),
        Form("yolo-predictions", _BOXES, folder=partial(Yolo, scores=True)),
        Form("voc", _BOXES, folder=Voc),
        Form("cvat", _IMAGES, file=Cvat),
        Form("label-studio", _ALL, file=LabelStudio, lost="times and confidences of words and segments"),
        Form("csv", _ALL, file=Table, lost="words"),
        Form("srt", _SPEECH, folder=_transcripts(".srt", srt), suffix=".srt", lost="confidences", times=True),
        Form("vtt", _SPEECH, folder=_transcripts(".vtt", vtt), suffix=".vtt", lost="confidences", times=True),
        Form("textgrid", _SPEECH, folder=textgrids, suffix=".TextGrid", times=True),
    )
}


def fitting(name: str, task: Task, *, reviewed: bool = False) -> Form:
    """Return a format by its name.

    Raises:
        BadOption: it does not hold such labels; the message says which do.
    """
    form = FORMS[name]
    if task in form.tasks and not (reviewed and form.times):
        return form
    others = [one.name for one in FORMS.values() if task in one.tasks and not (reviewed and one.times)]
    what = "texts that people wrote, which have no times" if task in form.tasks else f"labels of {task}"
    raise BadOption(f"{name} does not hold {what}: take one of {', '.join([*others, 'json', 'jsonl'])}")


def lost(form: Form, task: Task) -> str:
    """Return what of a task's drafts a format can't hold; empty where it holds all of the labels."""
    return form.lost if task == "transcription" or form.tasks == _BOXES else ""
