"""The command `candor models calibrate`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from client.api import Client
from client.commands.options import DEFAULT_URL, Json, Key, Url, print_json, progress_on
from client.commands.told import FAILED_REQUEST, told
from client.folders import pack

_IN_FORCE = 2.0  # seconds after which every replica drafts with a promoted calibration
_COLOURS = {"calibrated": "green", "unverified": "yellow"}


def calibrate(
    model: Annotated[str, typer.Argument(metavar="NAME", help="NAME, NAME@ALIAS or NAME@VERSION.")],
    data: Annotated[
        Path,
        typer.Option("--data", help="Labelled folder: annotations.json (COCO) and images/, labels.csv, or transcripts.csv."),
    ],
    split: Annotated[
        str | None, typer.Option("--split", help="Only items of this split; all for all. Default: those that are not named train….")
    ] = None,
    caveat: Annotated[str, typer.Option("--caveat", help="Licence of the data and what is known against them, for the record.")] = "",
    promote: Annotated[bool, typer.Option("--promote", help="Put the calibration in force at once.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Calibrate a model of a server on a labelled folder of yours, so that its drafts carry confidences.

    The folder is packed and uploaded; the server drafts it, fits on one part of its sources, and measures on another. What it can't prove
    is unverified, and says so on every draft.

    Exit code: 0 there is a calibration, 2 none could be made.
    """
    with told() as console, Client(url, key=key) as candor:
        with progress_on(console) as bars, tempfile.TemporaryDirectory(prefix="candor-") as scratch:
            archive = Path(scratch) / "data.zip"
            pack(data, archive, bars)
            job = candor.fit(model, archive, name=data.resolve().name, caveat=caveat, split=split, progress=bars)
            ended = candor.wait_job(job, bars.phase("calibrating"))
        if ended["state"] != "done":
            error = ended["error"]
            raise _failed(console, error["detail"] if error else f"the job {job} was {ended['state']}", ended, json)
        found = dict(ended["result"] or {})
        if promote:
            candor.promote(str(found["calibration"]))
            candor.wait(_IN_FORCE)
            found["promoted"] = True
        _show(console, model, found, json)


def _failed(console: Console, why: str, job: Mapping[str, Any], json: bool) -> typer.Exit:
    if json:
        print_json(job)
    console.print(f"error: no calibration: {why}", style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(FAILED_REQUEST)


def _show(console: Console, model: str, found: dict[str, Any], json: bool) -> None:
    if json:
        print_json(found)
        return
    status, calibration = str(found["status"]), str(found["calibration"])
    Console().print(f"{calibration}: [{_COLOURS.get(status, 'red')}]{status}[/]", highlight=False, soft_wrap=True)
    lines = [str(found.get("reason") or "")]
    if found["promoted"]:
        lines.append(f"it is in force: candor draft FILES --model {model}")
    else:
        lines.append(f"not in force yet: look at /v1/calibrations/{calibration}/report, then POST …/{calibration}/promote")
    for line in filter(None, lines):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
