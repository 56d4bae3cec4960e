"""Records made by hand, a full one and an old one: the figures need not be true, but they hang together."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

from calibration.record import Badge, CalibrationRecord, Further


def figure(value: float, half: float = 0.01, *, floor: float | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"value": value, "low": value - half, "high": value + half}
    return answer if floor is None else {**answer, "floor_mean": floor, "floor_95": floor * 1.3}


def measured(n: int, smece: float, nll: float) -> dict[str, Any]:
    return {
        "n": n,
        "clusters": n // 10,
        "accuracy": 0.72,
        "mean_confidence": 0.72 + smece,
        "nll": figure(nll, 0.02, floor=0.45),
        "brier": figure(nll / 3, 0.008, floor=0.15),
        "ece": figure(smece * 1.1, 0.006, floor=0.013),
        "ece_equal_mass": figure(smece * 1.05, 0.006, floor=0.012),
        "smece": figure(smece, 0.005, floor=0.014),
        "auroc": {**figure(0.8123), "floor_mean": None, "floor_95": None},
    }


def diagram(n: int, lift: float, count: int = 15) -> dict[str, Any]:
    bins = []
    for i in range(count):
        low, high = i / count, (i + 1) / count
        mid, rows = (low + high) / 2, n * (i + 1) // (count * (count + 1) // 2)
        half = 1.96 * sqrt(mid * (1 - mid) / rows)
        band = {"band_low": max(0.0, mid - half), "band_high": min(1.0, mid + half)}
        bins.append({"low": low, "high": high, "n": rows, "confidence": mid, "correct": mid * (1 - lift) + 0.003 * (i % 3), **band})
    return {"n": sum(one["n"] for one in bins), "bins": [*bins, {"low": 1.0, "high": 1.0, "n": 0, "confidence": None, "correct": None}]}


def slice_(by: str, name: str, n: int, smece: float) -> dict[str, Any]:
    floor = 0.9 / sqrt(n)
    return {
        "by": by,
        "name": name,
        "n": n,
        "clusters": n // 8,
        "accuracy": 0.7,
        "mean_confidence": 0.71,
        "smece": figure(smece, 0.01, floor=floor),
    }


def full_figures(n: int = 6000) -> dict[str, Any]:
    cut = [slice_("size", "small", 2000, 0.041), slice_("size", "middle", 2000, 0.018), slice_("size", "large", 2000, 0.016)]
    cut += [slice_("class", "person", 3100, 0.017), slice_("class", "all other classes", 2900, 0.023)]
    cut.append({**slice_("source", "farm", 40, 0.2), "smece": {"value": 0.2, "low": None, "high": None}, "shown": False})
    scores = {"uncalibrated": 0.56, "temperature": 0.49, "chosen": 0.462, "isotonic": 0.47, "histogram": 0.481, "constant": 0.593}
    difference = {"nll": figure(-0.098), "brier": figure(-0.0312, 0.004)}
    return {
        "before": measured(n, 0.091, 0.56),
        "after": measured(n, 0.017, 0.462),
        "difference": difference,
        "against_constant": difference,
        "methods": {name: measured(n, 0.02, nll) for name, nll in scores.items()},
        "refinement": {"aurc": figure(0.121), "sharpness": figure(0.0412, 0.0007)},
        "task": {"n": n, "objects": 9000, "laece": figure(0.082, floor=0.06), "recall": figure(0.613)},
        "slices": cut,
        "worst_slice": cut[0],
        "reliability": {"before": diagram(n, 0.12), "after": diagram(n, 0.0)},
    }


def full_record(**changes: Any) -> CalibrationRecord:
    figures = full_figures()
    no_edit = Further(
        method="temperature_bias",
        parameters={"temperature": 1.2, "bias": -1.1},
        event="the box matches a true box of its class at IoU >= 0.75",
        fit={"n": 6100},
        figures={key: figures[key] for key in ("before", "after", "difference", "reliability")},
        status="unverified",
        reason="the upper bound of smECE is 6.1% on 6,000 held-out rows from 600 sources; it may be 3%",
    )
    badge = Badge(
        threshold=0.874,
        epsilon=0.05,
        delta=0.05,
        unit="item",
        rows={"n": 3000, "labels": 1210, "wrong": 31, "items": 400},
        figures={"n": 6000, "labels": 2460, "items": 810, "coverage": figure(0.41), "wrong": figure(0.027, 0.006)},
    )
    counts = {"rows": 6100, "items": 900, "clusters": 880}
    made = replace(
        old_record(),
        method="class_temperature_bias",
        parameters={"slope": [0.7 + i / 100 for i in range(80)], "bias": [-0.5] * 80},
        fit={"n": 6100, "notes": ["isotonic did not win against class_temperature_bias: NLL -0.0004 (-0.0021 to +0.0013)"]},
        figures=figures,
        further={"no_edit": no_edit},
        badge=badge,
        data={**old_record().data, "fit": counts, "select": counts, "test": {**counts, "rows": 6000}},
        status="calibrated",
        reason="smECE is at most 2.2% (97.5 % bound) on 6,000 held-out rows from 600 sources",
    )
    return replace(made, **changes)


def old_record(**changes: Any) -> CalibrationRecord:
    """A record of the first kind: two sides of data, and figures before and after alone."""

    def bounded(value: float, low: float, high: float, *floor: float) -> dict[str, Any]:
        return {"value": value, "low": low, "high": high, **dict(zip(("floor_mean", "floor_95"), floor, strict=False))}

    before = {**measured(200, 0.1, 0.706), "clusters": 49, "accuracy": 0.4, "mean_confidence": 0.512}
    after = {**before, "mean_confidence": 0.377, "smece": bounded(0.05735, 0.041515, 0.131604, 0.051204, 0.073343)}
    made = CalibrationRecord(
        task="detection",
        method="temperature_bias",
        parameters={"temperature": 1.3584, "bias": -0.6536},
        model_version="spotter@sha256:" + "0f" * 32,
        event="the box matches a not-yet-matched true box of its class at IoU >= 0.5",
        data={
            "name": "109 street scenes",
            "sha256": "ab" * 32,
            "split": "val",
            "sources": ["farm", "zoo"],
            "caveat": "CC BY 4.0. The model's authors trained on most of them.",
            "rule": "by hash",
            "fit": {"rows": 268, "items": 53, "clusters": 47},
            "test": {"rows": 200, "items": 56, "clusters": 49},
            "failed_items": 0,
            "logits_reconstructed": False,
        },
        fit={"temperature": 1.3584, "low": 1.0023, "high": 2.018, "at_bound": False, "n": 268},
        figures={
            "before": {**before, "smece": bounded(0.117119, 0.085639, 0.184626, 0.051888, 0.071888)},
            "after": after,
            "difference": {"nll": bounded(-0.055852, -0.099285, -0.004202), "brier": bounded(-0.019754, -0.038062, 0.003536)},
            "against_constant": {"nll": bounded(-0.022719, -0.079434, 0.043425), "brier": bounded(-0.013072, -0.037534, 0.014647)},
        },
        status="unverified",
        reason="200 held-out rows; a claim takes at least 1,000",
        created_at="2026-11-24T15:58:09+00:00",
        libraries={"candor": "0.1.0", "numpy": "2.4.6"},
        display_threshold=0.25,
        fitted_items=("00132e042709fc7a",),
    )
    return replace(made, **changes)
