"""The commands `candor evaluate`, `calibrate`, `acceptance` and `assess`. What is heavy is imported when a command runs."""

from __future__ import annotations

import json as json_module
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.errors import InvalidRequest
from serving.console import told

if TYPE_CHECKING:
    from rich.console import Console

    from calibration.record import CalibrationRecord
    from candor.manifest import Manifest
    from serving.config import Settings
    from serving.evaluation.evaluate import Run

_DEFAULT_CONFIG = Path("configs/default.yaml")

_Model = Annotated[str, typer.Option("--model", help="Model of the configuration: name, name@alias or name@version.")]
_Data = Annotated[
    Path, typer.Option("--data", help="Labelled folder: annotations.json and images/ (COCO), labels.csv, or transcripts.csv.")
]
_Config = Annotated[Path, typer.Option("--config", help="Configuration file.")]
_Split = Annotated[str | None, typer.Option("--split", help="Only this split of the data; `all` for all. Default: all but train….")]
_Source = Annotated[
    list[str] | None, typer.Option("--source", help="Only items of this source (column `source` of a CSV); may be given again.")
]
_Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many items, chosen by hash.")]
_Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Largest batch. Default: as configured for the task.")]


def evaluate(  # noqa: PLR0913, PLR0917 - one argument per option
    model: _Model,
    data: _Data,
    json: Annotated[Path | None, typer.Option("--json", help="Write the report here as JSON.")] = None,
    calibration: Annotated[
        str | None, typer.Option("--calibration", help="Calibration record, or `none`. Default: the model's configured one.")
    ] = None,
    config: _Config = _DEFAULT_CONFIG,
    split: _Split = None,
    source: _Source = None,
    limit: _Limit = None,
    batch: _Batch = None,
) -> None:
    """Measure a model on a labelled folder: quality, and whether its confidence means what it says."""
    with told() as (out, err):
        from serving.config import load_settings  # noqa: PLC0415
        from serving.evaluation.evaluate import evaluate as report_on  # noqa: PLC0415
        from serving.evaluation.show import show_report  # noqa: PLC0415

        settings = load_settings(config)
        _writable(json)
        record, uncalibrated = _record(settings, model, calibration)
        run = _run(settings, model, data, _How(split, tuple(source or ()), limit, batch), err)
        if record is not None and calibration is not None:
            _must_fit(record, run)
        report = report_on(run, record, uncalibrated)
        if json is not None:
            _write(json, report)
        show_report(report, out)


def calibrate(  # noqa: PLR0913, PLR0917 - one argument per option
    model: _Model,
    data: _Data,
    out: Annotated[Path, typer.Option("--out", help="Write the calibration record here, as JSON.")],
    config: _Config = _DEFAULT_CONFIG,
    name: Annotated[str, typer.Option("--name", help="Name of the data, for the record. Default: the folder's.")] = "",
    caveat: Annotated[str, typer.Option("--caveat", help="Licence of the data and what is known against them, for the record.")] = "",
    split: _Split = None,
    source: _Source = None,
    limit: _Limit = None,
    batch: _Batch = None,
) -> None:
    """Fit a calibration on one half of a labelled folder, measure it on the other, and write the record."""
    with told() as (console, err):
        from serving.config import load_settings  # noqa: PLC0415
        from serving.evaluation.calibrate import calibrate as fitted_on  # noqa: PLC0415
        from serving.evaluation.calibrate import display_threshold  # noqa: PLC0415
        from serving.evaluation.show import show_record  # noqa: PLC0415

        settings = load_settings(config)
        _writable(out)
        run = _run(settings, model, data, _How(split, tuple(source or ()), limit, batch), err, display_threshold)
        record = fitted_on(run, name, caveat)
        _write(out, record.as_json())
        show_record(record, console)


def acceptance(  # noqa: PLR0913, PLR0917 - one argument per option
    model: _Model,
    data: _Data,
    json: Annotated[Path | None, typer.Option("--json", help="Write the criteria here as JSON.")] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Calibration record. Default: one is fitted on the folder's other rows.")
    ] = None,
    config: _Config = _DEFAULT_CONFIG,
    split: _Split = None,
    source: _Source = None,
    limit: _Limit = None,
    batch: _Batch = None,
) -> None:
    """Hold a calibration against rows it has never seen, criterion by criterion: pass, fail or not verified.

    Exit code: 0 all criteria pass, 1 one fails, 2 it could not be run, 3 the data are too few to tell.
    """
    with told() as (out, err):
        from calibration.record import load  # noqa: PLC0415
        from serving.config import load_settings  # noqa: PLC0415
        from serving.evaluation.acceptance import EXIT_CODES, accept  # noqa: PLC0415
        from serving.evaluation.calibrate import calibrate as fitted_on  # noqa: PLC0415
        from serving.evaluation.calibrate import display_threshold  # noqa: PLC0415
        from serving.evaluation.show import show_acceptance  # noqa: PLC0415

        settings = load_settings(config)
        _writable(json)
        record = load(calibration) if calibration is not None else None
        run = _run(settings, model, data, _How(split, tuple(source or ()), limit, batch), err, display_threshold)
        found = accept(run, record or fitted_on(run))
        if json is not None:
            _write(json, found.as_json())
        show_acceptance(found, out)
    raise typer.Exit(EXIT_CODES[found.verdict])


def assess(  # noqa: PLR0913, PLR0917 - one argument per option
    model: _Model,
    data: _Data,
    stakes: Annotated[str, typer.Option("--stakes", help="`normal`, or `high` where a wrong label costs much.")] = "normal",
    json: Annotated[Path | None, typer.Option("--json", help="Write the answer here as JSON.")] = None,
    calibration: Annotated[
        str | None, typer.Option("--calibration", help="Calibration record, or `none`. Default: the model's configured one.")
    ] = None,
    config: _Config = _DEFAULT_CONFIG,
    split: _Split = None,
    source: _Source = None,
    limit: _Limit = None,
    batch: _Batch = None,
) -> None:
    """Say whether a task fits drafts, before a project begins: a model is run on a labelled sample, and a checklist answered by numbers.

    Exit code: 0 it fits, 1 it does not, 2 it could not be run, 3 the numbers do not tell.
    """
    with told() as (out, err):
        from serving.config import load_settings  # noqa: PLC0415
        from serving.evaluation.show import show_assessment  # noqa: PLC0415
        from serving.reviewing.assess import assess as assessed  # noqa: PLC0415

        if stakes not in ("normal", "high"):
            raise InvalidRequest(f"--stakes is normal or high, not {stakes!r}")
        settings = load_settings(config)
        _writable(json)
        record, uncalibrated = _record(settings, model, calibration)
        run = _run(settings, model, data, _How(split, tuple(source or ()), limit, batch), err)
        if record is not None and calibration is not None:
            _must_fit(record, run)
        found = assessed(run, record, uncalibrated, "high" if stakes == "high" else "normal")
        if json is not None:
            _write(json, found)
        show_assessment(found, out)
    raise typer.Exit({"fits": 0, "does not fit": 1, "not sure": 3}[found["fits"]])


@dataclass(frozen=True, slots=True)
class _How:
    """Which items of a folder are run, and how."""

    split: str | None
    sources: tuple[str, ...]
    limit: int | None
    batch: int | None


def _run(
    settings: Settings,
    model: str,
    data: Path,
    how: _How,
    console: Console,
    check: Callable[[Manifest], object] = lambda manifest: None,
) -> Run:
    from serving.evaluation.datasets import read_folder  # noqa: PLC0415
    from serving.evaluation.evaluate import Run  # noqa: PLC0415
    from serving.evaluation.model import open_model  # noqa: PLC0415
    from serving.telemetry import configure_logs  # noqa: PLC0415

    configure_logs(settings.server.model_copy(update={"log_level": "warning", "log_format": "text"}), "evaluation")
    opened = open_model(settings, model, how.batch, console)
    check(opened.manifest)
    folder = read_folder(data, opened.manifest, how.split).from_sources(how.sources).limited(how.limit)
    outcomes, seconds = opened.predict(folder.examples, console)
    return Run(folder, opened.manifest, outcomes, seconds)


def _record(settings: Settings, model: str, asked: str | None) -> tuple[CalibrationRecord | None, str]:
    """Return the record to apply, or None and why there is none."""
    from calibration.record import load  # noqa: PLC0415

    if asked == "none":
        return None, "it was asked for without a calibration"
    if asked is not None:
        return load(Path(asked)), ""
    known = settings.models.get(model.partition("@")[0])
    if known is None or known.calibration is None:
        return None, "no calibration is configured for it"
    return load(known.calibration), ""


def _must_fit(record: CalibrationRecord, run: Run) -> None:
    """Raise InvalidRequest where a record that was asked for by name belongs to something else."""
    from calibration.apply import misfit  # noqa: PLC0415

    if reason := misfit(record, run.manifest.version, run.manifest.display_threshold):
        raise InvalidRequest(f"the calibration {record.id} can't be used: {reason}")


def _writable(path: Path | None) -> None:
    """Raise InvalidRequest where a file can't be written, before the long work and not after."""
    if path is not None and (path.is_dir() or not os.access(path.parent if path.parent.is_dir() else Path(), os.W_OK)):
        raise InvalidRequest(f"{path} can't be written")


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as opened:
            json_module.dump(value, opened, indent=2, ensure_ascii=False, allow_nan=False)
            opened.write("\n")
        os.chmod(opened.name, 0o644)
        os.replace(opened.name, path)
    except OSError as error:
        raise InvalidRequest(f"{path} can't be written: {error.strerror}") from error
