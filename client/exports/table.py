"""CSV: a row for each box, image or segment. An item without any has a row too, so that it is not missed."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from client.exports.labelled import Labelled
from client.files import Task

COLUMNS: dict[Task, tuple[str, ...]] = {
    "detection": ("item", "label", "confidence", "x1", "y1", "x2", "y2", "width", "height"),
    "classification": ("item", "label", "confidence"),
    "transcription": ("item", "start", "end", "text", "confidence", "language"),
}
REVIEWED: dict[Task, tuple[str, ...]] = {  # what `candor gold import` takes
    "detection": ("item", "label", "x1", "y1", "x2", "y2"),
    "classification": ("item", "label"),
    "transcription": ("item", "text"),
}
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "'")


class Table:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front, and text that begins with one gets another."""

    def __init__(self, file: IO[str], near: Path | None) -> None:
        del near  # nothing waits
        self._rows = csv.writer(file)  # its lines end as RFC 4180 says: else it would not quote a text with such an end
        self._headed = False

    def add(self, one: Labelled) -> None:
        """Write an item's rows."""
        if not self._headed:
            self._rows.writerow((REVIEWED if one.reviewed else COLUMNS)[one.task])
            self._headed = True
        self._rows.writerows([_cell(value) for value in row] for row in (_rows_of_review(one) if one.reviewed else _rows(one)))

    def end(self) -> None:
        """Have written all."""

    def close(self) -> None:
        """Hold nothing."""


def plain(text: str) -> str:
    """Return what a cell of text says, without the apostrophe."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULAS) else text


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULAS):
        return f"'{value}"
    return value


def _rows(one: Labelled) -> Iterator[tuple[Any, ...]]:
    if one.task == "detection":
        size = one.size or (None, None)
        for label in one.labels:
            yield (one.item, label.name, label.confidence, *(label.xyxy or (None,) * 4), *size)
        if not one.labels:
            yield (one.item, *(None,) * 6, *size)
    elif one.task == "classification":
        first = one.labels[0] if one.labels else None
        yield (one.item, first.name, first.confidence) if first else (one.item, None, None)
    else:
        for segment in one.segments or ():
            yield (one.item, segment["start"], segment["end"], str(segment["text"]), segment.get("confidence"), one.language)
        if not one.segments:
            yield (one.item, None, None, one.text, one.confidence, one.language)


def _rows_of_review(one: Labelled) -> Iterator[tuple[Any, ...]]:
    if one.task == "transcription":
        yield one.item, one.text
    elif one.task == "classification":
        yield one.item, one.labels[0].name if one.labels else None
    else:
        for label in one.labels:
            yield (one.item, label.name, *(label.xyxy or ()))
        if not one.labels:
            yield (one.item, *(None,) * 5)
