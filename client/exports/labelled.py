"""One neutral record of an item with its labels: what every format is written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from client.files import Task

Left: TypeAlias = Literal["failed", "to be labelled from scratch"]


class Unfit(Exception):
    """A format can't hold this item; the message says why, as `3 <message>` counts them."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label. `xyxy` are pixels of the image; `confidence` is calibrated, or not there."""

    name: str
    confidence: float | None = None
    xyxy: tuple[float, float, float, float] | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """An item with its labels, as a draft has them or as a person left them (`reviewed`).

    Of a classified image `labels` has the answer alone. `segments` is None where the times of a transcript are not known. `provenance`
    tells where the labels come from.
    """

    item: str
    task: Task
    labels: tuple[Label, ...] = ()
    size: tuple[int, int] | None = None
    text: str = ""
    segments: Sequence[Mapping[str, Any]] | None = None
    duration: float | None = None
    language: str | None = None
    confidence: float | None = None
    reviewed: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)


def left_out(entry: Mapping[str, Any]) -> Left | None:
    """Tell why an entry of an answer goes into no data set; None: it goes.

    What is to be labelled from scratch is shown without labels, and would be read as an image with nothing in it.
    """
    if "error" in entry:
        return "failed"
    return "to be labelled from scratch" if entry.get("route") == "from_scratch" else None


def of_draft(entry: Mapping[str, Any], name: str) -> Labelled:
    """Return the record of a draft, as the API gives it, under the name that its item is to have."""
    honest = entry.get("confidence_status") == "calibrated"  # no format but JSON can say that a number is in doubt
    task: Task = entry["task"]
    labels = tuple(_label(one, honest) for one in entry.get("labels", ()))
    return Labelled(
        name,
        task,
        labels[:1] if task == "classification" else labels,
        _size(entry),
        str(entry.get("text", "")),
        tuple(_segment(one, honest) for one in entry["segments"]) if "segments" in entry else None,
        entry.get("duration"),
        entry.get("language"),
        entry.get("confidence") if honest else None,
        provenance={"draft": entry.get("id"), **{key: entry.get(key) for key in ("model_version", "calibration", "confidence_status")}},
    )


def of_review(record: Mapping[str, Any], name: str) -> Labelled:
    """Return the record of a reviewed item, as the API exports it. People's labels have no confidence, and their texts no times."""
    final = record["final"]
    named = [final["label"]] if final.get("label") is not None else []
    boxes = tuple(Label(str(box["label"]), None, _box(box["xyxy"])) for box in final.get("boxes", ()))
    return Labelled(
        name,
        record["task"],
        boxes or tuple(Label(str(label)) for label in named),
        _size(record),
        str(final.get("text", "")),
        reviewed=True,
        provenance=dict(record.get("provenance", {})),
    )


def _label(one: Mapping[str, Any], honest: bool) -> Label:
    box = _box(one["xyxy"]) if "xyxy" in one else None
    return Label(str(one["label"]), one.get("confidence") if honest else None, box, one.get("id"))


def _segment(one: Mapping[str, Any], honest: bool) -> Mapping[str, Any]:
    if honest:
        return one
    return {**one, "confidence": None, "words": [{**word, "confidence": None} for word in one.get("words", ())]}


def _box(xyxy: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = map(float, xyxy)
    return left, top, right, bottom


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    size = entry.get("image_size")
    return (int(size[0]), int(size[1])) if size else None
