"""Labelled folders: COCO `annotations.json` + `images/`, `labels.csv` (classification), `transcripts.csv` (transcription).

A folder is read whole before any model is loaded, and a wrong row is named by file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from candor.errors import InvalidRequest, WrongTask
from candor.manifest import Manifest
from candor.predictions import Task
from serving.evaluation.coco import read_coco
from serving.evaluation.examples import FILES, LabelledFolder
from serving.evaluation.tables import read_labels, read_transcripts

__all__ = ["read_folder"]


def read_folder(folder: Path, manifest: Manifest, split: str | None = None) -> LabelledFolder:
    """Read the labels in `folder` that fit the model's task.

    `split` keeps the rows of that split (`coco_split` of an image, column `split` of a CSV); `all` keeps all. Without it, images
    of a split whose name begins with `train` are left out, as a model is likely to have learnt from them.

    Raises:
        InvalidRequest: no labels, no rows, or a wrong row; the detail names file, line and what is wrong.
        WrongTask: the labels are for another task.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is not a folder")
    if not (folder / FILES[manifest.task]).is_file():
        raise _not_for(folder, manifest)
    readers: Mapping[Task, Callable[[Path, Manifest, str | None], LabelledFolder]] = {
        "detection": read_coco,
        "classification": read_labels,
        "transcription": read_transcripts,
    }
    found = readers[manifest.task](folder, manifest, split)
    if not found.examples:
        raise InvalidRequest(f"{folder / FILES[manifest.task]} has no rows" + (f" of split {split!r}" if split else ""))
    return replace(found, examples=tuple(sorted(found.examples, key=lambda example: example.file)))


def _not_for(folder: Path, manifest: Manifest) -> InvalidRequest | WrongTask:
    wanted = FILES[manifest.task]
    for task, name in FILES.items():
        if (folder / name).is_file():
            return WrongTask(f"{folder} holds {name}, which is for {task}; {manifest.name} is for {manifest.task} and needs {wanted}")
    return InvalidRequest(f"{folder} holds no labels: {manifest.name} is for {manifest.task} and needs {wanted}")
