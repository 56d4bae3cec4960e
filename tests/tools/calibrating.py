"""Calibrate the models of a Candor, and wait until that has come to where drafts are made: a promotion takes up to two seconds."""

from __future__ import annotations

from typing import Any

from candor.predictions import Task
from tests.tools.candor_site import CandorSite
from tests.tools.label_studio import until
from tests.unit.serving.calibrations.drafted import manifest_of
from tests.unit.serving.served import calibration_of


def calibrate(site: CandorSite, name: str, task: Task, **words: Any) -> None:
    record = calibration_of(manifest_of(site.settings, name).version, task, **words)
    site.api("POST", "/v1/calibrations", json=record.as_json())
    site.api("POST", f"/v1/calibrations/{record.id}/promote")
    until(lambda: _is_calibrated(site, name, task))


def _is_calibrated(site: CandorSite, name: str, task: Task) -> bool:
    kind = "audio" if task == "transcription" else "image"
    asked = {"files": {kind: ("a", b'{"units": 1}')}, "data": {"model": name}}
    (draft,) = site.api("POST", f"/v1/{task}/drafts", **asked)["drafts"]
    return bool(draft["confidence_status"] != "uncalibrated")
