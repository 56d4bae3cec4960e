"""Read a record's figures back from its JSON. Older records lack some of them, which is no error; another shape is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from calibration.intervals import Figure
from calibration.record import CalibrationRecord, Further
from candor.errors import InvalidRequest

METHOD_NAMES = {
    "uncalibrated": "raw score",
    "temperature": "temperature scaling",
    "chosen": "this calibration",
    "isotonic": "isotonic",
    "histogram": "histogram binning",
    "constant": "one number for all",
}
UNITS = {"classification": "images", "detection": "boxes", "transcription": "words", "no_edit": "boxes", "segment": "segments"}


@dataclass(frozen=True, slots=True)
class Bin:
    """Labels of one range of confidence: how many, their mean confidence, the fraction that was right, and the 95 % band of that
    fraction if the confidences were exactly right.
    """

    low: float
    high: float
    n: int
    confidence: float
    correct: float
    band: tuple[float, float] | None

    @property
    def outside(self) -> bool:
        """Whether the fraction right lies outside its band."""
        return self.band is not None and not self.band[0] <= self.correct <= self.band[1]


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of the rows: those whose `by` is `name`. One that is not `shown` has too few of them to judge its error."""

    by: str
    name: str
    n: int
    clusters: int
    accuracy: float | None
    mean_confidence: float | None
    smece: Figure
    shown: bool


@dataclass(frozen=True, slots=True)
class Event:
    """What a record claims about one event: its own (`name` empty) or a further one."""

    name: str
    unit: str  # of a row, in words
    part: CalibrationRecord | Further

    @property
    def figures(self) -> Mapping[str, Any]:
        """The figures as they are stored."""
        return self.part.figures


def events(record: CalibrationRecord) -> list[Event]:
    """Return the record's own event, then its further ones by name."""
    return [Event("", UNITS[record.task], record), *(Event(name, UNITS[name], part) for name, part in sorted(record.further.items()))]


def group(figures: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object under a key; empty where there is none.

    Raises:
        InvalidRequest: something else is there.
    """
    found = figures.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise _unreadable(key, "is not an object")
    return found


def number(value: Any, where: str) -> float | None:
    """Return a number, or None for null.

    Raises:
        InvalidRequest: it is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _unreadable(where, "is not a number")
    return float(value)


def figure(value: Any, where: str) -> Figure:
    """Return a figure with its interval and floor.

    Raises:
        InvalidRequest: it is something else.
    """
    if not is_figure(value):
        raise _unreadable(where, "is not a figure")
    low, high = (number(value.get(key), where) for key in ("low", "high"))
    floor_mean, floor_95 = (number(value.get(key), where) for key in ("floor_mean", "floor_95"))
    if low is None or high is None:
        low, high = None, None
    return Figure(number(value["value"], where), low, high, floor_mean, floor_95)


def is_figure(value: Any) -> bool:
    """Whether a JSON value is a figure."""
    return isinstance(value, Mapping) and "value" in value


def figures_in(found: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures among an object's values, in their order."""
    return {name: figure(value, name) for name, value in found.items() if is_figure(value)}


def compared(figures: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return `methods` or `differences` (this calibration less another) of the comparison of methods; empty where there is none."""
    found = group(figures, "methods")
    nested = "methods" in found
    return group(found, key) if nested else found if key == "methods" else {}


def methods(figures: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the methods that were compared on the same rows, each with its figures, those known here first."""
    found = compared(figures, "methods")
    order = [*(name for name in METHOD_NAMES if name in found), *(name for name in found if name not in METHOD_NAMES)]
    return {on_a_line(name): group(found, name) for name in order}


def bins(figures: Mapping[str, Any], which: str) -> list[Bin]:
    """Return the bins that hold rows, of `before` or `after`; empty where the record has no reliability diagram."""
    rows = group(group(figures, "reliability"), which).get("bins") or []
    return [_bin(row) for row in _objects(rows, "reliability") if row.get("n")]


def slices(figures: Mapping[str, Any]) -> list[Slice]:
    """Return the slices; empty where the record has none."""
    return [_slice(row) for row in _objects(figures.get("slices") or [], "slices")]


def worst_slice(figures: Mapping[str, Any]) -> Slice | None:
    """Return the slice that the record names as its worst."""
    found = group(figures, "worst_slice")
    return _slice(found) if found else None


def on_a_line(text: object) -> str:
    """Return text on one line, without characters that XML forbids."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def short(text: object, longest: int = 30) -> str:
    """Return text for a plot: on one line, and no longer than it has room for."""
    line = on_a_line(text)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _bin(row: Mapping[str, Any]) -> Bin:
    low, high, confidence, correct = (_needed(row, key, "reliability") for key in ("low", "high", "confidence", "correct"))
    lower, upper = (number(row.get(key), "reliability") for key in ("band_low", "band_high"))
    band = None if lower is None or upper is None else (lower, upper)
    return Bin(low, high, int(_needed(row, "n", "reliability")), confidence, correct, band)


def _slice(row: Mapping[str, Any]) -> Slice:
    return Slice(
        by=on_a_line(row.get("by", "")),
        name=on_a_line(row.get("name", "")),
        n=int(_needed(row, "n", "slices")),
        clusters=int(_needed(row, "clusters", "slices")),
        accuracy=number(row.get("accuracy"), "slices"),
        mean_confidence=number(row.get("mean_confidence"), "slices"),
        smece=figure(row.get("smece"), "slices"),
        shown=bool(row.get("shown", True)),
    )


def _objects(rows: Any, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(rows, list | tuple) or not all(isinstance(row, Mapping) for row in rows):
        raise _unreadable(where, "is not a list of objects")
    return list(rows)


def _needed(row: Mapping[str, Any], key: str, where: str) -> float:
    found = number(row.get(key), f"{where}: {key}")
    if found is None:
        raise _unreadable(where, f"lacks {key}")
    return found


def _unreadable(where: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"the record's figures can't be read: {where} {why}. Make a new record with `candor calibrate`")
