"""One page about one calibration, for whoever answers for it: the verdict, then the plots, then the tables.

Everything comes from the record, and the page fetches nothing. What a record lacks, as older ones do, is said to be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from calibration.record import Badge, CalibrationRecord, Further
from serving.calibrations import plots
from serving.calibrations.read import (
    METHOD_NAMES,
    Event,
    bins,
    compared,
    events,
    figure,
    figures_in,
    group,
    is_figure,
    methods,
    number,
    slices,
)
from serving.calibrations.wording import NONE, floor_text, in_short, next_steps, percent, plain, sentence, value_text, verdict

__all__ = ["html", "png", "svg"]

svg, png = plots.svg, plots.png

_MEASURES = {
    "nll": "NLL, nats",
    "brier": "Brier",
    "smece": "smECE",
    "ece": "ECE, 15 bins of equal width",
    "ece_equal_mass": "ECE, 15 bins of equal mass",
    "auroc": "AUROC",
}
_LABELS = {
    "aurc": "AURC (area under risk by coverage)",
    "sharpness": "sharpness (variance of the confidence)",
    "laece": "LaECE",
    "class_ece": "ECE, mean over classes of 50 boxes or more",
    "lrp": "LRP error",
    "nce": "NCE (normalised cross entropy)",
    "aupr_wrong": "average precision of finding wrong words",
    "reviewed": "share of words to look at until 80 % of the wrong ones are found",
    "classes_of_ece": "classes of 50 boxes or more",
}
_BADGE_SHARES = {"coverage": "share of labels that are marked", "wrong": "share of them that is wrong"}
_BADGE_COUNTS = {"n": "labels", "labels": "of them marked", "items": "items with a marked one", "wrong": "wrong ones among the marked"}
_MOST_NUMBERS = 8  # that are listed one by one
_EVENTS = {"no_edit": "No edit needed", "segment": "Whole segments"}
_READING = {
    "reliability": (
        "Points on the dashed line mean what they say. Under it the score is too sure, above it not sure enough. A point inside its grey "
        "band can't be told from a perfect predictor's, of which one in twenty lies outside. Bands "
        "take labels as independent: where those of an image or a speaker are not, they are too narrow. Below: how many have such a score."
    ),
    "methods": "All are fitted on the same rows and measured on others. Where intervals overlap, look at the paired differences below.",
    "slices": "A slice whose dot lies left of its tick can't be told from a perfect predictor of as many rows.",
}


@dataclass(frozen=True)
class Table:
    """A table: what it shows, the names of its columns, its rows. The first cell of a row names it."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A plot with what tells how to read it."""

    name: str
    svg: Markup
    reading: str


@dataclass(frozen=True)
class Section:
    """What the page says of one event."""

    title: str
    event: str
    verdict: str
    reason: str
    in_short: Sequence[str]
    pictures: Sequence[Picture]
    missing: str  # the parts that the record has no figures for
    tables: Sequence[Table]


def html(record: CalibrationRecord) -> str:
    """Return the report as one HTML page that needs nothing else. Text of the record is shown as text, whatever it holds.

    Raises:
        InvalidRequest: the record's figures have another shape than `candor calibrate` gives them.
    """
    own, *further = events(record)
    name, _, _ = record.model_version.partition("@")
    return _template().render(
        record=record,
        name=name,
        caveat=str(record.data.get("caveat") or ""),
        verdict=verdict(record),
        sentence=sentence(record, own.unit),
        steps=next_steps(record),
        own=_section(record, own),
        further=[_section(record, event) for event in further],
        badge=_badge(record.badge) if record.badge else [],
        no_badge=str(record.data.get("badge", "none was asked for")).removeprefix("no threshold: "),
        facts=list(_facts(record)),
    )


@cache
def _template() -> Template:
    # autoescape for whatever name: a caveat, or the name of the data, is text from a user
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["marked"] = _marked
    made.globals["colours"] = plots.COLOURS
    return made.get_template("report.html.j2")


def _marked(text: str) -> Markup:
    """Escape text, then set what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped a moment ago


def _section(record: CalibrationRecord, event: Event) -> Section:
    prefix = f"{event.name}." if event.name else ""
    there = set(plots.available(record))
    kinds = [kind for kind in _READING if prefix + kind in there]
    lacking = [kind for kind in _READING if kind not in kinds]
    return Section(
        title=_EVENTS.get(event.name, event.name),
        event=event.part.event,
        verdict=verdict(event.part),
        reason=event.part.reason,
        in_short=in_short(event.figures, event.unit),
        pictures=[_picture(record, prefix + kind, _READING[kind]) for kind in kinds],
        missing=", ".join(lacking),
        tables=list(_tables(event)),
    )


def _picture(record: CalibrationRecord, which: str, reading: str) -> Picture:
    return Picture(which, Markup(plots.inline(record, which)), reading)  # noqa: S704 - ours, and it escapes the record's text


def _tables(event: Event) -> Iterator[Table]:
    found = event.figures
    if group(found, "after"):
        yield _before_and_after(event)
    if methods(found):
        yield _side_by_side(event)
    rows = [*_named(group(found, "refinement")), *_named(group(found, "task"))]
    if rows:
        yield Table(f"Further figures ({_rows_of(event)})", ("measure", "value (95 % interval)", "perfect predictor"), rows)
    if slices(found):
        yield _slices(event)
    for side in ("before", "after"):
        if bins(found, side):
            yield _bins(event, side)


def _rows_of(event: Event) -> str:
    after = group(event.figures, "after")
    counts = [number(after.get(key), key) for key in ("n", "clusters")]
    said = [NONE if count is None else f"{count:,.0f}" for count in counts]
    return f"n = {said[0]} {event.unit} from {said[1]} sources"


def _before_and_after(event: Event) -> Table:
    before, after, change = (group(event.figures, key) for key in ("before", "after", "difference"))
    rows = [("fraction right", _share(before), NONE, _share(after), NONE, NONE)]
    rows.append(("mean", percent(_of(before, "mean_confidence")), NONE, percent(_of(after, "mean_confidence")), NONE, NONE))
    for key, label in _MEASURES.items():
        rows.append((label, *_cell(before, key), *_cell(after, key), _cell(change, key, signed=True)[0]))
    whole = group(event.figures, "class_nll")
    if whole:
        raw, confidence = _cell(whole, "raw"), _cell(whole, "confidence")
        rows.append(("NLL over all classes, nats", *raw, *confidence, _cell(whole, "difference", signed=True)[0]))
    head = ("measure", "raw score", "perfect predictor", "confidence", "perfect predictor", "confidence less raw score, paired")
    return Table(f"Before and after ({_rows_of(event)})", head, rows)


def _side_by_side(event: Event) -> Table:
    differences = compared(event.figures, "differences")
    rows = []
    for name, values in methods(event.figures).items():
        nll, brier, ece, auroc = (_cell(values, key)[0] for key in ("nll", "brier", "ece", "auroc"))
        change = _cell(group(differences, name), "nll", signed=True)[0]
        rows.append((METHOD_NAMES.get(name, name), nll, brier, *_cell(values, "smece"), ece, auroc, change))
    paired = "NLL of this calibration less its own, paired"
    head = ("method", "NLL, nats", "Brier", "smECE", "smECE of a perfect predictor", "ECE", "AUROC", paired)
    return Table(f"Methods side by side ({_rows_of(event)})", head, rows)


def _slices(event: Event) -> Table:
    rows = [
        (
            f"{one.by}: {one.name}",
            f"{one.n:,}",
            f"{one.clusters:,}",
            percent(one.accuracy),
            percent(one.mean_confidence),
            value_text(one.smece) if one.shown else "too few rows",
            floor_text(one.smece),
        )
        for one in slices(event.figures)
    ]
    return Table(
        "Slices", ("slice", f"n, {event.unit}", "sources", "fraction right", "mean confidence", "smECE", "perfect predictor"), rows
    )


def _bins(event: Event, side: str) -> Table:
    name = "raw score" if side == "before" else "confidence"
    rows = [
        (
            f"{plain(one.low)} to {plain(one.high)}",
            f"{one.n:,}",
            plain(one.confidence),
            plain(one.correct),
            NONE if one.band is None else f"{plain(one.band[0])} to {plain(one.band[1])}",
        )
        for one in bins(event.figures, side)
    ]
    head = (name, f"n, {event.unit}", f"mean {name}", "fraction right", "95 % band of a perfect predictor")
    return Table(f"Reliability {side}: {name}", head, rows)


def _named(found: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield all figures and numbers of an object, those of objects within it too, as rows of a table."""
    for key, value in found.items():
        label = above + _LABELS.get(key, key.replace("_", " "))
        if is_figure(value):
            one = figure(value, key)
            yield label, value_text(one), floor_text(one)
        elif isinstance(value, Mapping):
            yield from _named(value, f"{label}: ")
        elif value is not None:
            yield label, _said(value), NONE


def _badge(badge: Badge) -> list[str]:
    """Return what the high-confidence badge promises, and on what grounds."""
    on_average = ", on average over the items that have one" if badge.unit == "item" else ""
    said = [f"{_said(badge.rows[key])} {label}" for key, label in _BADGE_COUNTS.items() if key in badge.rows]
    counts = {key: value for key, value in badge.figures.items() if not is_figure(value)}
    tested = [f"{_said(counts[key])} {label}" for key, label in _BADGE_COUNTS.items() if key in counts]
    found = figures_in(badge.figures)
    shares = [f"{label}: {value_text(found[key])}" for key, label in _BADGE_SHARES.items() if key in found]
    return [
        f"Labels with confidence {plain(badge.threshold)} or more are marked `high`. With probability {percent(1 - badge.delta)} over the "
        f"rows that the threshold was selected on, at most {percent(badge.epsilon)} of such labels are wrong{on_average}, on data like "
        "those.",
        f"On the rows that it was selected on: {', '.join(said) or NONE}.",
        f"On the test rows, which it has not seen: {'; '.join([', '.join(tested), *shares])}.",
    ]


def _facts(record: CalibrationRecord) -> Iterator[tuple[str, str]]:
    data = record.data
    yield "Calibration", record.id
    yield "Model version", record.model_version
    yield "Made", record.created_at
    yield "A confidence is the probability that", record.event
    yield "Data", ", ".join(str(data[key]) for key in ("name", "split") if data.get(key)) or NONE
    if data.get("sources"):
        yield "Sources", _said(data["sources"])
    for key, label in (("fit", "Fitted on"), ("select", "Selected on"), ("test", "Measured on")):
        part = group(data, key)
        if part:
            yield label, ", ".join(f"{_said(value)} {name}" for name, value in part.items())
    for key, label in (
        ("rule", "Split"),
        ("selection", "Selection"),
        ("sha256", "SHA-256 of the data"),
        ("failed_items", "Items that failed"),
    ):
        if data.get(key):
            yield label, _said(data[key])
    if data.get("logits_reconstructed"):
        yield "Logits", "reconstructed from probabilities, as the model gives no others"
    yield "Method", f"{record.method}: {_parameters(record)}"
    yield "Fit", "; ".join(f"{key.replace('_', ' ')} {_said(value)}" for key, value in record.fit.items() if value is not None) or NONE
    if record.display_threshold is not None:
        yield "Display threshold", f"{record.display_threshold:g}: boxes below it get no confidence"
    if record.normaliser:
        yield "Normaliser", " ".join(str(part) for part in record.normaliser.values())
    yield "Items that were not tested on", f"{len(record.fitted_items):,}, which the record names by hash"
    yield "Libraries", ", ".join(f"{name} {version}" for name, version in record.libraries.items()) or NONE


def _parameters(part: CalibrationRecord | Further) -> str:
    return "; ".join(f"{name} {_said(value)}" for name, value in part.parameters.items())


def _said(value: Any) -> str:
    """Return any JSON value in few words: many numbers as their count and range."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(inner)}" for key, inner in value.items()) or NONE
    if isinstance(value, list | tuple):
        if len(value) > _MOST_NUMBERS and all(isinstance(one, int | float) for one in value):
            return f"{len(value)} values, {plain(min(value))} to {plain(max(value))}"
        return "; ".join(_said(one) for one in value) or NONE
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NONE}[value]
    return plain(value, 4 if isinstance(value, float) else 0) if isinstance(value, int | float) else str(value)


def _of(found: Mapping[str, Any], key: str) -> float | None:
    return number(found.get(key), key)


def _share(found: Mapping[str, Any]) -> str:
    return percent(_of(found, "accuracy"))


def _cell(found: Mapping[str, Any], key: str, *, signed: bool = False) -> tuple[str, str]:
    """Return a figure and its floor as text."""
    one = figures_in({key: found.get(key)}).get(key)
    return (NONE, NONE) if one is None else (value_text(one, signed=signed), floor_text(one))
