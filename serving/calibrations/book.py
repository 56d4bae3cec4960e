"""What is in force for a model version, as this process knows it: at most two seconds behind the database.

So a calibration that is promoted, rolled back or doubted reaches every replica without a restart, and no draft waits for more than
one short query in two seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from calibration.apply import apply, misfit
from calibration.record import CalibrationRecord, Further
from candor.confidences import Confidences, ConfidenceStatus
from candor.errors import InvalidRequest
from candor.manifest import Manifest
from candor.predictions import Prediction
from serving.fresh import Fresh
from store.calibrations import Calibrations, Standing

FRESH_SECONDS = 2.0
_BY_CLASS = ("vector", "class_temperature_bias")  # methods with a parameter for each class

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InForce:
    """What a version's confidences come from now. Without a record it is uncalibrated.

    `since` is when it was put in force; None where the configuration names it. `unverified_since` is set while an alarm is open.
    """

    record: CalibrationRecord | None
    unverified_since: datetime | None = None
    since: datetime | None = None

    @property
    def calibration(self) -> str | None:
        """The record's id."""
        return self.record.id if self.record else None

    @property
    def status(self) -> ConfidenceStatus:
        """`calibrated`, `unverified` or `uncalibrated`."""
        if self.record is None:
            return "uncalibrated"
        return "unverified" if self.unverified_since else self.record.status

    def confidences(self, prediction: Prediction, manifest: Manifest) -> Confidences:
        """Return the confidences of one prediction as they are shown now: while an alarm is open unverified, and none marked `high`."""
        found = apply(self.record, prediction, manifest.version, manifest.display_threshold)
        return replace(found, status="unverified", badges=None) if self.unverified_since and found.calibration else found


class Book:
    """What is in force, by model version. `configured` are the configuration's calibrations, by model name; `clock` counts seconds."""

    def __init__(
        self, calibrations: Calibrations, configured: Mapping[str, CalibrationRecord], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calibrations = calibrations
        self._configured = configured
        self._standing = Standing()
        self._records: dict[str, CalibrationRecord | None] = {}  # None: it is not there, or can't be used
        self._fresh = Fresh(self.read, "calibrations", clock)

    async def read(self) -> None:
        """Read what is in force now.

        Raises:
            StorageUnavailable: the database can't be read; what was known stays.
        """
        standing = await self._calibrations.standing()
        new = {one for one, _ in standing.chosen.values() if one is not None and one not in self._records}
        found = await self._calibrations.some(new) if new else {}
        for calibration_id in new:
            self._records[calibration_id] = _parsed(calibration_id, found[calibration_id].record if calibration_id in found else None)
        self._standing = standing

    async def refresh(self) -> None:
        """Read again where the last time is long enough ago; where the database can't be read, what was known stays in force."""
        await self._fresh.refresh(lambda: self._fresh.age >= FRESH_SECONDS)

    def current(self, manifest: Manifest) -> InForce:
        """Return what is in force for a version, as of the last read.

        A record that does not fit the version (`unfit`) is never applied.
        """
        record, since = self._chosen(manifest)
        if record is None or unfit(record, manifest):
            return InForce(None, since=since)
        return InForce(record, self._standing.alarms.get((manifest.version, record.id)), since)

    def doubted_since(self, model_version: str, calibration: str | None) -> datetime | None:
        """Return since when a calibration is doubted, also one that is no longer in force."""
        return None if calibration is None else self._standing.alarms.get((model_version, calibration))

    def passed_over(self, manifest: Manifest) -> tuple[str, str] | None:
        """Return the calibration that is named for a version and not applied, and why; None where it is, or none is named."""
        record, _ = self._chosen(manifest)
        return (record.id, reason) if record and (reason := unfit(record, manifest)) else None

    def _chosen(self, manifest: Manifest) -> tuple[CalibrationRecord | None, datetime | None]:
        chosen, since = self._standing.chosen.get(manifest.version, (None, None))
        return (self._configured.get(manifest.name) if chosen is None else self._records.get(chosen)), since


def unfit(record: CalibrationRecord, manifest: Manifest) -> str:
    """Return why a record must not be applied to a version; empty where it may.

    It was made for another task, version or display threshold, or has parameters for other classes than there are.
    """
    if record.task != manifest.task:
        return f"it was made for {record.task}, and this is a model for {manifest.task}"
    parts: list[CalibrationRecord | Further] = [record, *record.further.values()]
    for part in parts:
        if part.method in _BY_CLASS and len(part.parameters["bias"]) != len(manifest.labels):
            return f"{part.method} has parameters for {len(part.parameters['bias'])} classes, and the model has {len(manifest.labels)}"
    return misfit(record, manifest.version, manifest.display_threshold)


def _parsed(calibration_id: str, value: object) -> CalibrationRecord | None:
    """A stored record may be of a newer release: then its version is uncalibrated here, rather than the server down."""
    if value is None:
        _log.error("calibration_not_applied", calibration=calibration_id, reason="it is not stored")
        return None
    try:
        return CalibrationRecord.from_json(value)
    except InvalidRequest as error:
        _log.error("calibration_not_applied", calibration=calibration_id, reason=error.detail)
        return None
