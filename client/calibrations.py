"""What a client may do with calibrations: fit them, look at them, put them in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from client.answers import Calibration, Confidences, Job
from client.calls import Call, Flow, address, ask, json_body, told, told_in
from client.methods import Listing, Method
from client.pages import Pages
from client.uploads import Progress, unheard, upload


def fit(model: str, data: Path, *, name: str = "", caveat: str = "", split: str | None = None, progress: Progress = unheard) -> Flow[str]:
    """Upload an archive of a labelled folder, start a fit of a calibration on it, and return the job's id.

    Raises:
        ClientError: the request failed.
        OSError: the archive can't be read.
    """
    source = {"upload": (yield from upload(data, progress)), "name": name, "caveat": caveat, "split": split}
    wanted: dict[str, Any] = {"model": model, "from": {key: value for key, value in source.items() if value}}
    started = yield from ask(Call("POST", address("calibrations", "fits"), told_in(Job, "job"), json_body(wanted)))
    return started["id"]


def promote(calibration: str) -> Flow[Confidences]:
    """Put a calibration in force for its version.

    Raises:
        ClientError: it does not fit, there is none, or the server can't be asked.
    """
    return ask(Call("POST", f"{address('calibrations', calibration)}/promote", told(Confidences, "model_version")))


def calibrations(model: str | None = None, version: str | None = None) -> Pages[Calibration]:
    """Go through the stored calibrations, newest first; of one model or version where that is named.

    Raises:
        ClientError: the server can't be asked.
    """
    return Pages(Calibration, address("calibrations"), "calibrations", {"model": model, "version": version})


def calibration(calibration_id: str) -> Flow[Calibration]:
    """Return a calibration with its whole record.

    Raises:
        ClientError: there is none of that id, or the server can't be asked.
    """
    return ask(Call("GET", address("calibrations", calibration_id), told(Calibration, "record")))


def confidences(name: str, version: str) -> Flow[Confidences]:
    """Return which calibration is in force for a version of a model, and how that came.

    Raises:
        ClientError: there is no such version, or the server can't be asked.
    """
    return ask(Call("GET", f"{address('models', name, 'versions', version)}/calibration", told(Confidences, "model_version")))


class CalibrationCalls:
    """What a client may do with calibrations."""

    fit = Method(fit)
    promote = Method(promote)
    calibrations = Listing(calibrations)
    calibration = Method(calibration)
    confidences = Method(confidences)
