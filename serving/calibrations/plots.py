"""Draw a calibration record: reliability diagrams, the methods side by side, the slices. The same record gives the same bytes.

Colours are told apart by all kinds of colour vision, and never without a shape or a word beside them. Text of a record (the name of a
slice) is drawn as it stands, never as a formula.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from calibration.intervals import Figure
from calibration.record import CalibrationRecord
from candor.errors import InvalidRequest
from serving.calibrations.read import (
    METHOD_NAMES,
    Bin,
    Event,
    Slice,
    bins,
    events,
    figure,
    group,
    is_figure,
    methods,
    short,
    slices,
    worst_slice,
)

INK, MUTED, BAND, PAPER, BEFORE, AFTER = "#1a1f26", "#5f6b78", "#ccd3db", "#ffffff", "#c04a00", "#0067a3"
MOST_SLICES = 24  # that a plot has room for; the worst ones are drawn
_WIDTH = 7.2  # inches
COLOURS = {
    INK: "--ink",
    MUTED: "--muted",
    BAND: "--band",
    PAPER: "--paper",
    BEFORE: "--before",
    AFTER: "--after",
}  # the variables of a page that stand for them
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that it is the same everywhere
    "font.size": 8.5,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "svg.hashsalt": "candor",
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_LOCK = threading.Lock()  # matplotlib reads its settings, which are the process's, while it draws


@dataclass(frozen=True)
class _Plot:
    drawn: Callable[[Event], Canvas]
    told: Callable[[Event], str]  # in words, for those who don't see it
    there: Callable[[Event], bool]


def available(record: CalibrationRecord) -> list[str]:
    """Return the names of the plots that a record has figures for: `reliability`, `methods`, `slices`, `no_edit.reliability`, …"""
    return [_named(event, kind) for event in events(record) for kind, plot in _PLOTS.items() if plot.there(event)]


def svg(record: CalibrationRecord, which: str) -> str:
    """Return a plot as an SVG file, on white.

    Raises:
        InvalidRequest: there is no such plot, or the record has no figures for it.
    """
    return _drawn(record, which, "svg").decode()


def png(record: CalibrationRecord, which: str, dpi: int = 160) -> bytes:
    """Return a plot as a PNG file, on white.

    Raises:
        InvalidRequest: see `svg`.
    """
    return _drawn(record, which, "png", dpi)


def inline(record: CalibrationRecord, which: str) -> str:
    """Return a plot as an SVG element for an HTML page: no background, its own ids, described in words.

    A page may give its elements other colours by their `style`: see `COLOURS`.

    Raises:
        InvalidRequest: see `svg`.
    """
    text = _drawn(record, which, "svg", clear=True).decode()
    text = text[text.index("<svg") :]
    name = re.sub(r"[^a-z_]", "-", which)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    box = re.search(r'viewBox="[^"]*"', text)
    described = _escaped(told(record, which))
    head = f'<svg class="plot" role="img" aria-label="{described}" {box[0] if box else ""}>'
    return head + re.sub(r"<style.*?</style>", "", text[text.index(">") + 1 :], flags=re.DOTALL)


def told(record: CalibrationRecord, which: str) -> str:
    """Return in words what a plot shows.

    Raises:
        InvalidRequest: see `svg`.
    """
    event, plot = _found(record, which)
    return plot.told(event)


def _drawn(record: CalibrationRecord, which: str, form: str, dpi: int = 72, *, clear: bool = False) -> bytes:
    event, plot = _found(record, which)
    held = io.BytesIO()
    with _styled():
        metadata = {"Software": None} if form == "png" else _NO_METADATA if clear else {**_NO_METADATA, "Title": plot.told(event)}
        plot.drawn(event).savefig(held, format=form, dpi=dpi, metadata=metadata, facecolor="none" if clear else PAPER)
    return held.getvalue()


def _found(record: CalibrationRecord, which: str) -> tuple[Event, _Plot]:
    for event in events(record):
        for kind, plot in _PLOTS.items():
            if _named(event, kind) == which and plot.there(event):
                return event, plot
    known = ", ".join(available(record)) or "none"
    raise InvalidRequest(f"the record has no figures for a plot {short(which)!r}; it has those for: {known}")


def _named(event: Event, kind: str) -> str:
    return f"{event.name}.{kind}" if event.name else kind


@contextmanager
def _styled() -> Iterator[None]:
    with _LOCK, style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a slice may be named in any script
        yield


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


# Reliability

_SIDES = (("before", "raw score", BEFORE, "s"), ("after", "confidence", AFTER, "o"))


def _has_bins(event: Event) -> bool:
    return any(bins(event.figures, side) for side, *_ in _SIDES)


def _reliability(event: Event) -> Canvas:
    canvas = Canvas(figsize=(_WIDTH, 4.9))
    grid = canvas.add_gridspec(2, 2, height_ratios=(4, 1), left=0.085, right=0.985, bottom=0.155, top=0.93, hspace=0.14, wspace=0.16)
    for column, (side, name, colour, marker) in enumerate(_SIDES):
        found = bins(event.figures, side)
        top, below = canvas.add_subplot(grid[0, column]), canvas.add_subplot(grid[1, column])
        top.set_title(f"{side.capitalize()}: {name}, n = {sum(one.n for one in found):,} {event.unit}")
        _curve(top, found, colour, marker)
        below.bar([b.low for b in found], [b.n for b in found], [b.high - b.low for b in found], align="edge", color=colour, linewidth=0)
        below.set(xlim=(-0.02, 1.02), xlabel=name)
        below.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
        if not column:
            top.set_ylabel("fraction right")
            below.set_ylabel(event.unit)
    shown = [
        Line2D([], [], color=MUTED, linestyle=(0, (4, 3)), linewidth=1),
        Patch(color=BAND),
        Line2D([], [], marker="o", linestyle="", markerfacecolor="none", markeredgecolor=INK),
        Line2D([], [], marker="o", linestyle="", color=INK),
    ]
    words = ["confidence = fraction right", "95 % band of a perfect predictor", "inside its band", "outside"]
    canvas.legend(shown, words, loc="lower center", ncols=4, frameon=False)
    return canvas


def _curve(axes: Axes, found: Sequence[Bin], colour: str, marker: str) -> None:
    banded = [(one.confidence, one.band) for one in found if one.band is not None]
    axes.vlines([x for x, _ in banded], [low for _, (low, _) in banded], [high for _, (_, high) in banded], color=BAND, linewidth=7)
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
    axes.plot([one.confidence for one in found], [one.correct for one in found], color=colour, linewidth=1)
    for outside in (False, True):
        some = [one for one in found if one.outside is outside]
        face = colour if outside else "none"
        places = [one.confidence for one in some], [one.correct for one in some]
        axes.plot(*places, marker, markersize=5.5, markerfacecolor=face, markeredgecolor=colour, markeredgewidth=1.3)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.tick_params(labelbottom=False)


def _reliability_told(event: Event) -> str:
    parts = []
    for side, name, *_ in _SIDES:
        found = bins(event.figures, side)
        if found:
            banded = [one for one in found if one.band is not None]
            above = sum(one.outside and one.correct < one.confidence for one in banded)
            below = sum(one.outside and one.correct > one.confidence for one in banded)
            parts.append(
                f"{side} ({name}, n = {sum(one.n for one in found):,} {event.unit}): of {len(banded)} points with a band, {above} lie "
                f"under it (too sure) and {below} above it (not sure enough)"
            )
    return f"Reliability diagram, fraction right by confidence. {'; '.join(parts)}."


# Methods

_SCORES = (("nll", "NLL, nats: lower is better"), ("brier", "Brier score: lower is better"))


def _scored(event: Event) -> dict[str, Mapping[str, Figure]]:
    """Return the methods that have one of the two scores, each with them."""
    found = {
        name: {key: figure(values[key], f"methods: {name}") for key, _ in _SCORES if is_figure(values.get(key))}
        for name, values in methods(event.figures).items()
    }
    return {name: values for name, values in found.items() if values}


def _methods(event: Event) -> Canvas:
    found = _scored(event)
    names = [short(METHOD_NAMES.get(name, name)) for name in found]
    height = 1.15 + 0.27 * len(names)
    canvas = Canvas(figsize=(_WIDTH, height))
    left = _margin(names)
    grid = canvas.add_gridspec(1, 2, left=left, right=0.98, bottom=0.55 / height, top=1 - 0.4 / height, wspace=0.1)
    for column, (key, label) in enumerate(_SCORES):
        axes = canvas.add_subplot(grid[0, column])
        for row, (name, values) in enumerate(found.items()):
            if key in values:
                own = name == "chosen"
                _interval(axes, row, values[key], AFTER if own else INK, "o", filled=own)
        _rows(axes, names if not column else [""] * len(names))
        axes.set_xlabel(label)
        axes.locator_params(axis="x", nbins=6)
        if not column:
            axes.set_title(f"The same {_count(event)} for all methods, 95 % intervals")
    return canvas


def _count(event: Event) -> str:
    n = group(event.figures, "after").get("n")
    return f"{n:,} {event.unit}" if isinstance(n, int) else event.unit


def _methods_told(event: Event) -> str:
    parts = []
    for key, label in _SCORES:
        values = {name: found[key].value for name, found in _scored(event).items() if key in found}
        said = ", ".join(f"{METHOD_NAMES.get(name, name)} {value:.3f}" for name, value in values.items() if value is not None)
        parts.append(f"{label}: {said}" if said else "")
    return f"Methods side by side on the same rows. {'. '.join(filter(None, parts))}."


# Slices


def _judged_slices(event: Event) -> list[Slice]:
    return [one for one in slices(event.figures) if one.shown and one.smece.value is not None]


def _shown_slices(event: Event) -> list[Slice]:
    kept = sorted(_judged_slices(event), key=lambda one: -(one.smece.value or 0.0))[:MOST_SLICES]
    return sorted(kept, key=lambda one: (one.by, -(one.smece.value or 0.0)))


def _slices(event: Event) -> Canvas:
    found, worst = _shown_slices(event), worst_slice(event.figures)
    names = [f"{short(f'{one.by}: {one.name}')} (n = {one.n:,}, {one.clusters:,} sources)" for one in found]
    height = 1.35 + 0.25 * len(names)
    canvas = Canvas(figsize=(_WIDTH, height))
    axes = canvas.add_axes((_margin(names), 0.85 / height, 0.98 - _margin(names), 1 - 1.25 / height))
    for row, one in enumerate(found):
        own = worst is not None and (one.by, one.name) == (worst.by, worst.name)
        if one.smece.floor_95 is not None:
            axes.plot([one.smece.floor_95], [row], "|", color=MUTED, markersize=11, markeredgewidth=1.6)
        _interval(axes, row, one.smece, BEFORE if own else AFTER, "D" if own else "o", filled=True)
    _rows(axes, names)
    axes.set_xlim(left=0)
    axes.set_xlabel("smECE, 95 % intervals: lower is better")
    count = len(_judged_slices(event))
    axes.set_title(f"{len(found)} slices" if len(found) == count else f"The worst {len(found)} of {count} slices")
    shown = [
        Line2D([], [], marker="o", linestyle="", color=AFTER),
        Line2D([], [], marker="D", linestyle="", color=BEFORE),
        Line2D([], [], marker="|", linestyle="", color=MUTED, markersize=11, markeredgewidth=1.6),
    ]
    canvas.legend(shown, ["slice", "worst slice", "95th percentile of a perfect predictor"], loc="lower center", ncols=3, frameon=False)
    return canvas


def _slices_told(event: Event) -> str:
    found, worst = _shown_slices(event), worst_slice(event.figures)
    said = ", ".join(f"{one.by} {one.name} {one.smece.value:.3f} (n = {one.n:,})" for one in found)
    named = f" Worst: {worst.by} {worst.name}." if worst else ""
    return f"smECE of each slice: {said}.{named}"


# Dots and intervals


def _interval(axes: Axes, row: int, value: Figure, colour: str, marker: str, *, filled: bool) -> None:
    if value.value is None:
        return
    if value.low is not None and value.high is not None:
        axes.hlines(row, value.low, value.high, color=colour, linewidth=1.6)
    face = colour if filled else PAPER
    axes.plot([value.value], [row], marker, markersize=5.5, markerfacecolor=face, markeredgecolor=colour, markeredgewidth=1.3)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), labels=list(names), parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=BAND, linewidth=0.6)
    axes.set_axisbelow(True)


def _margin(names: Sequence[str]) -> float:
    """Return the share of the width that the longest name takes."""
    return min(0.62, (0.25 + 0.074 * max((len(name) for name in names), default=0)) / _WIDTH)


_PLOTS: Mapping[str, _Plot] = {
    "reliability": _Plot(_reliability, _reliability_told, _has_bins),
    "methods": _Plot(_methods, _methods_told, lambda event: bool(_scored(event))),
    "slices": _Plot(_slices, _slices_told, lambda event: bool(_shown_slices(event))),
}
