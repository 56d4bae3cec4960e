"""Shows what came of a registration: the checks, memory and speed of a version, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_STATES = {"ready": "green", "validating": "yellow", "failed": "red", "retired": "dim"}
_SIGNS = {True: ("passed", "green"), False: ("failed", "red")}
_LEAST_SHOWN = 0.001  # seconds


def show_version(console: Console, version: Mapping[str, Any]) -> None:
    """Print one version with its report."""
    state = str(version["state"])
    name = version.get("version") or f"{version['model']}, {version['id']}"
    console.print(Text.assemble((str(name), "bold"), "  ", (state, _STATES.get(state, ""))), soft_wrap=True)
    for label, text in _facts(version):
        console.print(Text.assemble((f"{label:<10}", "dim"), text), soft_wrap=True)
    report = version.get("report") or {}
    if report.get("checks"):
        console.print(_checks(report["checks"]))
    if report.get("speed"):
        console.print(_speed(report))
    if problem := report.get("problem"):
        console.print(Text(f"refused: {problem.get('detail') or problem.get('title')} ({problem.get('code')})", "red"), soft_wrap=True)


def _facts(version: Mapping[str, Any]) -> list[tuple[str, str]]:
    report, request = version.get("report") or {}, version.get("request") or {}
    manifest = version.get("manifest") or {}
    labels = manifest.get("labels") if manifest else request.get("labels")
    found = [
        ("id", str(version["id"])),
        ("family", f"{manifest.get('family') or request.get('family') or version.get('family') or '?'}, {version.get('task', '?')}"),
        (
            "labels",
            f"{len(labels):,}: {', '.join(map(str, labels[:4]))}{', …' if len(labels) > 4 else ''}" if isinstance(labels, list) else "",
        ),
        ("licence", str(manifest.get("licence") or request.get("licence") or "")),
        ("memory", size_text(report.get("memory_bytes"))),
        ("files", size_text(version.get("bytes"))),
        ("validated", f"in {report['seconds']:.1f} s on {report.get('device', '?')}" if report.get("seconds") is not None else ""),
        ("samples", str(report.get("samples") or "")),
        ("aliases", ", ".join(map(str, version.get("aliases") or ()))),
    ]
    return [(label, text) for label, text in found if text]


def _checks(checks: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of checks; those of one name that came out alike are one row."""
    rows: dict[tuple[str, bool], list[str]] = {}
    for check in checks:
        rows.setdefault((str(check.get("name", "")), bool(check.get("passed"))), []).append(str(check.get("detail") or ""))
    table = Table("check", "", "found", show_edge=False)
    for (name, passed), found in rows.items():
        word, colour = _SIGNS[passed]
        table.add_row(Text(name), Text(word, colour), Text("; ".join(filter(None, found))))
    return table


def _speed(report: Mapping[str, Any]) -> Table:
    table = Table("batch", "seconds", "items/s", show_edge=False)
    for row in report["speed"]:
        best = " *" if row.get("batch") == report.get("max_batch") else ""
        seconds, rate = float(row.get("seconds") or 0.0), float(row.get("items_per_second") or 0.0)
        table.add_row(f"{row.get('batch')}{best}", f"{seconds:.3f}" if seconds >= _LEAST_SHOWN else f"{seconds:.1e}", f"{rate:.1f}")
    return table


def versions_table(versions: Sequence[Mapping[str, Any]], aliases: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of a model's versions."""
    table = Table("version", "id", "state", "size", "aliases", "registered", "by", show_edge=False)
    for version in versions:
        state = str(version["state"])
        table.add_row(
            short_version(str(version.get("version") or "")) or "-",
            str(version["id"]),
            Text(state, _STATES.get(state, "")),
            size_text(version.get("bytes")),
            ", ".join(_pointing(version.get("version"), aliases)),
            str(version.get("created_at") or "")[:19],
            str(version.get("created_by") or ""),
        )
    return table


def _pointing(version: Any, aliases: Sequence[Mapping[str, Any]]) -> list[str]:
    if version is None:
        return []
    canaries = [(one["alias"], one["canary"]) for one in aliases if one.get("canary")]
    shares = [f"{alias} ({canary['share']:.0%})" for alias, canary in canaries if canary["version"] == version]
    return [str(one["alias"]) for one in aliases if one["version"] == version] + shares


def next_steps(version: Mapping[str, Any]) -> list[str]:
    """Return what to do with a version that is ready, a command a line."""
    name = version["model"]
    return [
        f"draft with it:      candor draft FILES --model {name}",
        f"calibrate it:       candor models calibrate {name} --data FOLDER --promote    (until then its confidences are empty)",
        f"look at it again:   candor models show {version.get('version') or name}",
    ]


def short_version(version: str) -> str:
    """Return a version, `name@sha256:<hex>`, without its name and with so many digits as name it: `sha256:4b1c…`."""
    digest = version.rpartition("@")[2]
    kind, colon, digits = digest.partition(":")
    return f"{kind}{colon}{digits[:12]}"


def size_text(size: Any) -> str:
    """Return bytes for people; empty where they are not known."""
    if not isinstance(size, int | float) or size <= 0:
        return ""
    for unit, of in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if size >= of:
            return f"{size / of:.1f} {unit}"
    return f"{size:.0f} B"
