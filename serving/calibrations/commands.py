"""The command `candor report`. What is heavy is imported when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.errors import InvalidRequest
from serving.console import told

if TYPE_CHECKING:
    from rich.console import Console


def report(
    record: Annotated[Path, typer.Argument(help="Calibration record, a JSON file made by `candor calibrate`.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the page here. Default: beside the record, as .html.")] = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write the plots into this folder too, as SVG.")] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Write the plots into this folder too, as PNG.")] = None,
) -> None:
    """Tell a calibration on one HTML page that needs nothing else: the verdict, then the plots, then the tables."""
    with told() as (console, _):
        _report(console, record, out or record.with_suffix(".html"), {"svg": svg, "png": png})


def _report(console: Console, path: Path, out: Path, folders: Mapping[str, Path | None]) -> None:
    from calibration.record import load  # noqa: PLC0415
    from serving.calibrations import plots  # noqa: PLC0415
    from serving.calibrations.report import html  # noqa: PLC0415
    from serving.calibrations.wording import next_steps, verdict  # noqa: PLC0415

    record = load(path)
    if out.resolve() == path.resolve():
        raise InvalidRequest(f"{out} is the record itself: name another file with --out")
    files = {out: html(record).encode()}
    for form, folder in folders.items():
        if folder is not None:
            for which in plots.available(record):
                drawn = plots.svg(record, which).encode() if form == "svg" else plots.png(record, which)
                files[folder / f"{out.stem}.{which}.{form}"] = drawn
    for file, content in files.items():
        _write(file, content)
    console.print(f"[bold]{verdict(record)}[/]: ", end="")
    console.print(record.reason, markup=False, highlight=False, soft_wrap=True)
    for step in next_steps(record):
        console.print(f"- {step}", markup=False, highlight=False, soft_wrap=True)
    for file in files:
        console.print(f"wrote {file}", markup=False, highlight=False, soft_wrap=True)
    if any(folders.values()) and len(files) == 1:
        console.print("no plots: this record has no figures for any; a new one from `candor calibrate` has", markup=False, soft_wrap=True)


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InvalidRequest(f"{path} can't be written: {error.strerror}") from error
