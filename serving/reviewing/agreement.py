"""How far people agree on items that several of them labelled: blind, with drafts shown, and the gap between the two.

People who label from the same draft agree too well, since both hold on to it. So agreement is that of items whose draft was withheld from
both; what drafts add to it is anchoring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np

from candor.predictions import Floats, Task
from review.agreement import Weights, ac1, alpha, alpha_of_distance, interval_of_alpha, kappa, table_of
from review.boxes import box_agreement, box_alpha, boxes_of, match
from review.figures import LEAST
from review.words import disagreement, transcript_agreement
from serving.reviewing.people import Judged

_MOST = 400  # items that alpha of boxes and words is computed of: it takes time by their square
_RESAMPLES = 400
_SEED = 20260101
_WEIGHTS: tuple[Weights, ...] = ("linear", "quadratic")
Pair = tuple[Mapping[str, Any], Mapping[str, Any]]


def agreement(rows: Sequence[Judged], scale: Sequence[str] = ()) -> dict[str, Any]:
    """Return agreement by task: `blind`, `drafted` and the `gap`, drafted less blind.

    `scale` are the labels of classification where their order is a scale: then it is told `weighted`, too.
    """
    tasks = sorted({one.row.task for one in rows})
    return {"tasks": {task: _of_task(task, [one for one in rows if one.row.task == task], scale) for task in tasks}}


def scale_of(project: Mapping[str, Any]) -> Sequence[str]:
    """Return the labels of a project's stored body where they are a scale, else none."""
    return tuple(project.get("labels") or ()) if project.get("ordered") else ()


def _of_task(task: Task, rows: Sequence[Judged], scale: Sequence[str]) -> dict[str, Any]:
    blind, drafted = (_in_arm(task, overlapping(rows, arm), scale) for arm in ("withheld", "assisted"))
    told = {"blind": blind, "drafted": drafted, "gap": _gap(drafted, blind)}
    if "weighted" in blind and "weighted" in drafted:
        told["gap"]["weighted"] = {name: _gap(drafted["weighted"][name], blind["weighted"][name]) for name in _WEIGHTS}
    return told


def _in_arm(task: Task, items: Sequence[Mapping[str, Mapping[str, Any]]], scale: Sequence[str]) -> dict[str, Any]:
    found = _figures(task, items)
    if task == "classification" and scale and found["status"] == "ok":
        found["weighted"] = _weighted(items, scale)
    return found


def overlapping(rows: Sequence[Judged], arm: str) -> list[dict[str, Mapping[str, Any]]]:
    """Return, for each item that two people or more labelled in an arm, the last label of each of them."""
    items: dict[str, dict[str, Mapping[str, Any]]] = {}
    for one in rows:  # in the order in which they were finished
        if one.row.arm == arm and one.row.final is not None:
            items.setdefault(one.row.item, {})[one.row.reviewer] = one.row.final
    return [dict(sorted(people.items())) for _, people in sorted(items.items()) if len(people) >= 2]


def _figures(task: Task, items: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return coefficients over items; one pair of each item counts, so that items are the units that intervals are over."""
    if len(items) < LEAST:
        return {"items": len(items), "status": "not enough", "needed": LEAST}
    pairs = [_pair(people, at) for at, people in enumerate(items)]
    found = {"classification": _classes, "detection": _boxes, "transcription": _texts}[task](items, pairs)
    return {"items": len(items), "status": "ok", **found}


def _pair(people: Mapping[str, Mapping[str, Any]], at: int) -> Pair:
    """Take two of an item's people in turn, so that no two names make up the whole."""
    finals = list(people.values())
    first = at % len(finals)
    return finals[first], finals[(first + 1) % len(finals)]


def _classes(items: Sequence[Mapping[str, Mapping[str, Any]]], pairs: Sequence[Pair]) -> dict[str, Any]:
    counts = table_of([str(one.get("label")) for one, _ in pairs], [str(other.get("label")) for _, other in pairs])
    ratings = _ratings(items)
    both = kappa(counts)
    bounds = interval_of_alpha(ratings, resamples=_RESAMPLES)
    return {
        "measure": "kappa",
        **{name: both.as_json()[name] for name in ("value", "low", "high", "observed", "chance")},
        "ac1": ac1(counts).as_json(),
        "alpha": {"value": alpha(ratings), "low": bounds and bounds[0], "high": bounds and bounds[1]},
    }


def _weighted(items: Sequence[Mapping[str, Mapping[str, Any]]], scale: Sequence[str]) -> dict[str, Any]:
    """Return kappa weighted by how far apart labels stand. Those that are not on the scale, as of an older label set, are left out."""
    at = {label.strip().casefold(): index for index, label in enumerate(scale)}
    pairs = [
        (at[one], at[other])
        for one, other in ([str(final.get("label")).strip().casefold() for final in _pair(people, i)] for i, people in enumerate(items))
        if one in at and other in at
    ]
    if len(pairs) < LEAST:
        return {name: {"n": len(pairs), "status": "not enough", "needed": LEAST, "value": None} for name in _WEIGHTS}
    counts = table_of([one for one, _ in pairs], [other for _, other in pairs], range(len(scale)))
    return {name: {"status": "ok", **kappa(counts, name).as_json()} for name in _WEIGHTS}


def _ratings(items: Sequence[Mapping[str, Mapping[str, Any]]]) -> Floats:
    people = sorted({name for one in items for name in one})
    labels = sorted({str(final.get("label")) for one in items for final in one.values()})
    table = np.full((len(people), len(items)), np.nan)
    for column, one in enumerate(items):
        for name, final in one.items():
            table[people.index(name), column] = labels.index(str(final.get("label")))
    return table


def _boxes(items: Sequence[Mapping[str, Mapping[str, Any]]], pairs: Sequence[Pair]) -> dict[str, Any]:
    images = [(boxes_of(one.get("boxes", ())), boxes_of(other.get("boxes", ()))) for one, other in pairs]
    found = box_agreement(images)
    shares = np.array([[2 * len(match(a, b, same_class=True)), len(a) + len(b)] for a, b in images], np.float64)
    low, high = resampled(shares)
    everybody = [[boxes_of(final.get("boxes", ())) for final in one.values()] for one in items[:_MOST]]
    return {
        "measure": "F1 of boxes at IoU 0.5",
        "value": found.f1,
        "low": low,
        "high": high,
        "mean_iou": found.mean_iou,
        "classes": found.classes and found.classes.as_json(),
        "alpha": {"value": box_alpha(everybody), "items": len(everybody)},
    }


def _texts(items: Sequence[Mapping[str, Mapping[str, Any]]], pairs: Sequence[Pair]) -> dict[str, Any]:
    texts = [(str(one.get("text", "")), str(other.get("text", ""))) for one, other in pairs]
    lengths = [len(a.split()) + len(b.split()) for a, b in texts]
    shares = np.array([[(1 - disagreement(a, b)) * n, n] for (a, b), n in zip(texts, lengths, strict=True)], np.float64)
    low, high = resampled(shares)
    everybody = [[str(final.get("text", "")) for final in one.values()] for one in items[:_MOST]]
    return {
        "measure": "1 - symmetric word error rate",
        "value": transcript_agreement(texts),
        "low": low,
        "high": high,
        "alpha": {"value": alpha_of_distance(everybody, disagreement), "items": len(everybody)},
    }


def resampled(shares: Floats) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a ratio of sums (n, 2) over items drawn anew."""
    rng = np.random.default_rng(_SEED)
    sums = [shares[rng.integers(0, len(shares), len(shares))].sum(axis=0) for _ in range(_RESAMPLES)]
    ratios = [float(top / bottom) for top, bottom in sums if bottom > 0]
    if 2 * len(ratios) < _RESAMPLES:
        return None, None
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def _gap(drafted: Mapping[str, Any], blind: Mapping[str, Any]) -> dict[str, Any]:
    """Return drafted less blind: what people agree on because of the draft. Both stand on different items.

    Source of the interval: Zou and Donner, "Construction of confidence limits about effect measures" (Statistics in Medicine, 2008).
    """
    values = [part.get(name) for part in (drafted, blind) for name in ("value", "low", "high")]
    if any(one is None for one in values):
        return {"status": "not enough", "value": None, "low": None, "high": None}
    d, dl, dh, b, bl, bh = (float(one) for one in values if one is not None)
    low, high = d - b - sqrt((d - dl) ** 2 + (bh - b) ** 2), d - b + sqrt((dh - d) ** 2 + (b - bl) ** 2)
    return {"status": "ok", "value": d - b, "low": low, "high": high}
