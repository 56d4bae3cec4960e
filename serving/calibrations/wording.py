"""Say a record's figures, its verdict and what to do about it in words, for somebody who leads the work and not the model."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, log10
from typing import Any

from calibration.intervals import Figure
from calibration.record import CalibrationRecord, Further
from calibration.verdict import LEAST_CLUSTERS, LEAST_FITTED, LEAST_ROWS, LIMIT, LIMIT_MANY, MANY_ROWS
from serving.calibrations.read import Slice, figure, figures_in, group, is_figure, number, worst_slice

NONE = "\N{EN DASH}"
_MARGIN = 1.2  # the split is by hash, so that one side may get less than its share
_ROUND = 1e-9  # a half width of 0.0001 may come out as 0.0000999…
_MINUS = "\N{MINUS SIGN}"


def decimals(one: Figure) -> int:
    """Return how many decimals a figure deserves: three, and more only where its interval is narrower than they can show."""
    if one.low is None or one.high is None or one.high <= one.low:
        return 3
    return min(6, max(3, -floor(log10((one.high - one.low) / 2) + _ROUND)))


def plain(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """Return a number with a true minus sign; with its sign in any case where `signed`."""
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    return text.replace("-", _MINUS)


def value_text(one: Figure, *, signed: bool = False) -> str:
    """Return a figure as `0.021 (0.017 to 0.026)`."""
    if one.value is None:
        return "not defined"
    digits = decimals(one)
    said = plain(one.value, digits, signed=signed)
    if one.low is None or one.high is None:
        return f"{said} (no interval)"
    return f"{said} ({plain(one.low, digits, signed=signed)} to {plain(one.high, digits, signed=signed)})"


def floor_text(one: Figure) -> str:
    """Return what a perfect predictor of the same n shows: its mean and its 95th percentile."""
    if one.floor_mean is None or one.floor_95 is None:
        return NONE
    digits = decimals(one)
    return f"{plain(one.floor_mean, digits)} / {plain(one.floor_95, digits)}"


def percent(value: float | None) -> str:
    """Return a share as `40.0 %`."""
    return NONE if value is None else f"{value:.1%}".replace("%", " %")


def verdict(part: CalibrationRecord | Further) -> str:
    """Return the verdict in two words at most."""
    return "Calibrated" if part.status == "calibrated" else "Not verified"


def sentence(part: CalibrationRecord | Further, unit: str) -> str:
    """Return what the verdict means."""
    if part.status == "calibrated":
        return f"On data like those that it was measured on, the confidence of these {unit} means what it says."
    return f"Do not take the confidence of these {unit} at its word: it is not shown that it means what it says."


def in_short(figures: Mapping[str, Any], unit: str) -> list[str]:
    """Return what the figures of one event say, in sentences; empty where it was not measured."""
    before, after = group(figures, "before"), group(figures, "after")
    if not after:
        return []
    said = [
        f"{_count(after, 'n')} held-out {unit} from {_count(after, 'clusters')} independent sources: {_share(after, 'accuracy')} were "
        f"right. The raw score says {_share(before, 'mean_confidence')} on average, the confidence {_share(after, 'mean_confidence')}."
    ]
    if is_figure(after.get("smece")):
        smece = figure(after["smece"], "after: smece")
        was = f" Before: {value_text(figure(before['smece'], 'before: smece'))}." if is_figure(before.get("smece")) else ""
        if smece.floor_mean is None or smece.floor_95 is None:
            noise = ""
        else:
            noise = f"; a perfect predictor would show {plain(smece.floor_mean)} on as many rows, and with bad luck {plain(smece.floor_95)}"
        said.append(f"Confidence and truth are {value_text(smece)} apart on average (smECE){noise}.{was}")
    for key, other in (("difference", "the raw score"), ("against_constant", "one number for all")):
        found = figures_in(group(figures, key))
        if found:
            losses = ", ".join(f"{_NAMES.get(name, name)} {value_text(one, signed=True)}" for name, one in found.items())
            said.append(f"Compared with {other}: {losses}. {_better(found)}")
    worst = worst_slice(figures)
    return [*said, slice_text(worst)] if worst else said


def slice_text(one: Slice) -> str:
    """Return a sentence about the worst slice."""
    said = f"Worst slice: {one.by} {one.name}, smECE {value_text(one.smece)}, n = {one.n:,} from {one.clusters:,} sources."
    if one.smece.value is None or one.smece.floor_95 is None:
        return said
    return f"{said} A perfect predictor would show up to {plain(one.smece.floor_95)} there."


def next_steps(record: CalibrationRecord) -> list[str]:
    """Return what to do about the record's verdict."""
    if record.status == "calibrated":
        return [
            "Use it: of the labels that are shown with confidence 0.8, about 80 % are right, on data like those named below.",
            "It holds on average and not for each part: look at the slices before you rely on one.",
            "It holds for this model version alone. Measure it on your own labels with `candor evaluate`, and again when your data change.",
        ]
    return [
        *_mending(record),
        "Until then drafts made with it say `unverified`: use the confidence to order work, not to skip checks.",
    ]


def _mending(record: CalibrationRecord) -> list[str]:
    after = group(record.figures, "after")
    if not after:
        return ["It was never measured. Make a new record with `candor calibrate` on a labelled folder."]
    return _too_little(record, after) or _dishonest(after) or _not_better(record) or ["Make a new record when the reason above is gone."]


def _too_little(record: CalibrationRecord, after: Mapping[str, Any]) -> list[str]:
    rows, fitted, sources = number(after.get("n"), "n"), number(record.fit.get("n"), "fit"), number(after.get("clusters"), "clusters")
    short = [
        least / max(found, 1.0) for least, found in ((LEAST_ROWS, rows), (LEAST_FITTED, fitted)) if found is not None and found < least
    ]
    few_sources = sources is not None and sources < LEAST_CLUSTERS
    if not short and not few_sources:
        return []
    items = [number(part.get("items"), "data") for part in record.data.values() if isinstance(part, Mapping) and "items" in part]
    total = sum(item or 0.0 for item in items)
    many = f"about {_rounded_up(total * max(short) * _MARGIN):,} items in all instead of {total:,.0f}" if total and short else "more items"
    steps = [f"Label {many}, of the kind that the model will see and from as many sources as you can, and run `candor calibrate` on them."]
    if few_sources:
        steps.append(
            f"Take them from more sources (images, speakers, recordings): it was measured on {sources:.0f}, and a claim takes at least "
            f"{LEAST_CLUSTERS}."
        )
    return steps


def _dishonest(after: Mapping[str, Any]) -> list[str]:
    if not is_figure(after.get("smece")):
        return []
    smece, rows = figure(after["smece"], "after: smece"), number(after.get("n"), "n") or 0.0
    limit = LIMIT_MANY if rows >= MANY_ROWS else LIMIT
    if smece.high is None or smece.value is None or smece.high <= limit:
        return []
    if smece.value <= limit:
        return [
            f"The distance itself, {plain(smece.value)}, is within the {limit:.0%} that it may be; its interval is too wide. Label more "
            "items from more sources: four times as many halve the interval."
        ]
    said, right = number(after.get("mean_confidence"), "after"), number(after.get("accuracy"), "after")
    side = "" if said is None or right is None else " It is too high on average." if said > right else " It is too low on average."
    return [
        f"The confidence is off.{side} See in the reliability diagram where, and in the slices for what. Fit it on labels more like those "
        "that it is to hold for."
    ]


def _not_better(record: CalibrationRecord) -> list[str]:
    raw, constant = (figures_in(group(record.figures, key)) for key in ("difference", "against_constant"))
    if any(one.high is None or one.high > 0 for one in raw.values()):
        return ["It is not shown to be better than the raw score. More labels may show it, or another method: see them side by side below."]
    if any(one.high is None or one.high >= 0 for one in constant.values()):
        return [
            "It says hardly more than one number for all labels would. Another calibration will not mend that: the model has to tell right "
            "from wrong better."
        ]
    return []


def _better(found: Mapping[str, Figure]) -> str:
    shown = [_NAMES.get(name, name) for name, one in found.items() if one.high is not None and one.high < 0]
    if len(shown) == len(found):
        return "It is shown to be better."
    return f"It is shown to be better on {' and '.join(shown)} alone." if shown else "It is not shown to be better."


def _count(found: Mapping[str, Any], key: str) -> str:
    value = number(found.get(key), key)
    return "an unknown number of" if value is None else f"{value:,.0f}"


def _share(found: Mapping[str, Any], key: str) -> str:
    return percent(number(found.get(key), key))


def _rounded_up(value: float) -> int:
    """Round up to two digits: 583 to 590."""
    step = int(10 ** max(0, floor(log10(max(value, 1.0))) - 1))
    return ceil(value / step) * step


_NAMES = {"nll": "NLL", "brier": "Brier"}
