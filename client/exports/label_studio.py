"""Label Studio JSON: a list of tasks, drafts as `predictions` and reviewed labels as `annotations`.

The names are those of Label Studio's own templates: `label` on `image` for boxes, `choice` on `image`, `transcription` on `audio`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from client.exports.labelled import Label, Labelled, Unfit


class LabelStudio:
    """A task's score is the draft's confidence, a region's that of its label; both are left out where there is none."""

    def __init__(self, file: IO[str], near: Path | None) -> None:
        del near  # nothing waits
        self._file = file
        self._tasks = 0
        file.write("[")

    def add(self, one: Labelled) -> None:
        """Write a task.

        Raises:
            Unfit: its boxes can't be placed, as the image's size is not known.
        """
        task = json.dumps(_task(one), ensure_ascii=False)
        self._file.write(f"{',' if self._tasks else ''}\n{task}")
        self._tasks += 1

    def end(self) -> None:
        """Write the end."""
        self._file.write("\n]\n")

    def close(self) -> None:
        """Hold nothing."""


def _task(one: Labelled) -> dict[str, Any]:
    kind, result = "audio" if one.task == "transcription" else "image", list(_regions(one))
    if one.reviewed:
        made: dict[str, Any] = {"annotations": [{"result": result}]}
    else:
        score = {} if one.confidence is None else {"score": one.confidence}
        made = {"predictions": [{"model_version": one.provenance.get("model_version"), **score, "result": result}]}
    return {"data": {kind: one.item}, "meta": {"candor": one.provenance}, **made}


def _regions(one: Labelled) -> Iterator[dict[str, Any]]:
    if one.task == "transcription":
        yield {"from_name": "transcription", "to_name": "audio", "type": "textarea", "value": {"text": [one.text]}}
    for number, label in enumerate(one.labels):
        names = {"id": label.id or f"candor{number}", "to_name": "image"}
        score = {} if label.confidence is None else {"score": label.confidence}
        if label.xyxy is None:
            yield {**names, "from_name": "choice", "type": "choices", "value": {"choices": [label.name]}, **score}
        else:
            yield {**names, "from_name": "label", "type": "rectanglelabels", **_placed(label, one.size), **score}


def _placed(label: Label, size: tuple[int, int] | None) -> dict[str, Any]:
    if size is None or min(size) <= 0 or label.xyxy is None:
        raise Unfit("of unknown size")
    left, top, right, bottom = label.xyxy
    x, y, width, height = left / size[0], top / size[1], (right - left) / size[0], (bottom - top) / size[1]
    shares = {name: round(100 * value, 6) for name, value in (("x", x), ("y", y), ("width", width), ("height", height))}
    value = {**shares, "rotation": 0, "rectanglelabels": [label.name]}
    return {"original_width": size[0], "original_height": size[1], "image_rotation": 0, "value": value}
