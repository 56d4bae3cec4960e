"""Print a report or a calibration record for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from calibration.record import CalibrationRecord
from serving.evaluation.acceptance import Acceptance

_NAMES = {"nll": "NLL", "brier": "Brier", "ece": "ECE", "ece_equal_mass": "ECE, equal mass", "smece": "smECE", "auroc": "AUROC"}
_OF_IMAGES = {"map": "mAP 0.5:0.95", "ap50": "AP50", "top1": "top-1", "top5": "top-5"}


def show_report(report: Mapping[str, Any], console: Console) -> None:
    """Print what `evaluate` found."""
    model, data, items = report["model"], report["data"], report["items"]
    console.print(f"[bold]{model['name']}[/] on {data['name']}: {items['drafted']} of {data['items']} items, {items['seconds']:.1f} s")
    console.print(model["version"], style="dim", soft_wrap=True)
    for note in data["notes"]:
        console.print(f"note: {note}", style="dim")
    for failure in items["failed"][:20]:
        console.print(f"failed: {failure['file']}: {failure['detail']}", style="red")
    table = Table("quality", "value", "95 % interval", "n")
    for row in _quality_rows(report["quality"]):
        table.add_row(*row)
    console.print(table)
    calibration = report["calibration"]
    _show_figures(calibration["raw"], calibration["confidence"], "raw score", "confidence", console)
    for source, found in calibration["by_source"].items():
        shares = f"right {found['accuracy']:.3f}, mean {found['mean_confidence']:.3f}"
        console.print(f"{source}: {found['n']:,} rows, {found['clusters']} sources: {shares}, smECE {_value(found['smece'])[0]}")
    if calibration["left_out_items"]:
        console.print(f"calibration figures are on held-out rows: {calibration['left_out_items']} items that the fit has seen are left out")
    console.print(f"confidence: [bold]{calibration['status']}[/], {calibration['reason']}")
    if "here" in calibration:
        console.print(f"on these rows alone: {calibration['here']['status']}, {calibration['here']['reason']}")


def show_record(record: CalibrationRecord, console: Console) -> None:
    """Print what `calibrate` made."""
    console.print(f"[bold]{record.id}[/] for {record.model_version}", soft_wrap=True)
    test = record.data["test"]
    numbers = [f"{name} {value:.4f}" for name, value in record.parameters.items() if isinstance(value, int | float)]
    of_fit = f"temperature {record.fit['low']:.3f} to {record.fit['high']:.3f}, 95 %" if "low" in record.fit else ""
    console.print(", ".join(filter(None, [f"method {record.method}", *numbers, of_fit])))
    for source in record.data["sources"]:
        console.print(f"source: {source}", style="dim")
    for name, part in (("fitted on", record.data["fit"]), ("selected on", record.data.get("select")), ("measured on", test)):
        if part is None:
            continue
        console.print(f"{name} {part['rows']} rows of {part['items']} items from {part['clusters']} sources")
    _show_figures(record.figures["before"], record.figures["after"], "before", "after", console)
    for note in record.data.get("selection", ()):
        console.print(f"note: {note}", style="dim", markup=False)
    console.print(f"badge: {record.data.get('badge', 'none')}", markup=False)
    for name, further in record.further.items():
        console.print(f"{name}: {further.status}, {further.reason}", markup=False)
    console.print(f"[bold]{record.status}[/]: {record.reason}")


def show_acceptance(found: Acceptance, console: Console) -> None:
    """Print each criterion, the verdict last."""
    table = Table(
        "criterion", "", "figures", title=f"{found.calibration}: {found.rows:,} rows from {found.clusters} sources", title_justify="left"
    )
    for criterion in found.criteria:
        style = {"pass": "green", "fail": "bold red", "not verified": "yellow"}[criterion.verdict]
        table.add_row(criterion.name, f"[{style}]{criterion.verdict}[/]", escape(criterion.detail))
    console.print(table)
    console.print(f"[bold]{found.verdict}[/]")


def show_assessment(found: Mapping[str, Any], console: Console) -> None:
    """Print the checklist, the answer last."""
    table = Table(
        "condition", "", "measured", "asked", title=f"{found['model']['version']}, stakes {found['stakes']}", title_justify="left"
    )
    for one in found["conditions"]:
        style, word = {True: ("green", "yes"), False: ("bold red", "no"), None: ("yellow", "not known")}[one["holds"]]
        table.add_row(one["name"], f"[{style}]{word}[/]", escape(one["measured"]), escape(one["asked"]))
    console.print(table)
    console.print(f"[bold]{found['fits']}[/]")


def _quality_rows(quality: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for key, name in _OF_IMAGES.items():
        if key in quality:
            yield name, *_value(quality[key]), f"{quality['images']} images"
    if "wer" in quality:
        for name, rate in (("WER", quality["wer"]), *((f"  {source}", rate) for source, rate in quality["wer_by_source"].items())):
            yield name, *_value(rate), f"{rate['recordings']} recordings, {rate['words']} words"
    if "shown" in quality:
        shown = quality["shown"]
        for key, name in (
            ("precision", "right boxes of those shown"),
            ("recall", "true boxes found"),
            ("missed_per_image", "missed per image"),
        ):
            yield f"{name} (from {shown['threshold']:g})", *_value(shown[key]), f"{shown['boxes']} boxes shown"


def _value(figure: Mapping[str, Any]) -> tuple[str, str]:
    value = "-" if figure["value"] is None else f"{figure['value']:.3f}"
    return value, "-" if figure["low"] is None else f"{figure['low']:.3f} to {figure['high']:.3f}"


def _show_figures(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None, first: str, second: str, console: Console) -> None:
    shown = [(name, figures) for name, figures in ((first, one), (second, other)) if figures is not None]
    if not shown:
        console.print("no rows to measure calibration on")
        return
    table = Table("", *(name for name, _ in shown))
    for label, key in (("rows", "n"), ("independent sources", "clusters")):
        table.add_row(label, *(f"{figures[key]:,}" for _, figures in shown))
    for label, key in (("fraction right", "accuracy"), ("mean", "mean_confidence")):
        table.add_row(label, *(f"{figures[key]:.3f}" for _, figures in shown))
    for key, name in _NAMES.items():
        table.add_row(name, *(_with_floor(figures[key]) for _, figures in shown))
    console.print(table)
    console.print("in brackets the 95 % interval; floor: what a perfect predictor of this n shows, mean / 95th percentile", style="dim")


def _with_floor(figure: Mapping[str, Any]) -> str:
    value, interval = _value(figure)
    floor = "" if figure["floor_mean"] is None else f" floor {figure['floor_mean']:.3f} / {figure['floor_95']:.3f}"
    return f"{value} [dim]\\[{interval}][/]{floor}"
