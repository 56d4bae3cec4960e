"""Watch the confidences that were shown: each time that outcomes come in, the monitor of their calibration looks at all of them.

The monitor is computed anew from the stored outcomes, so that there is no state to lose and nothing that two processes could disagree
on. An alarm is an event of the calibration; while it is open, drafts say that their confidence is unverified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import structlog

from calibration.monitor import Monitor, by_item
from calibration.streams import PERMITTED, require_permitted, weights
from candor.predictions import Floats
from store import Store
from store.calibrations import CalibrationEvent, Calibrations
from store.outcomes import Outcomes, Shown

_log = structlog.get_logger(__name__)


async def watch(store: Store, model_version: str, calibration: str) -> Monitor | None:
    """Look at all outcomes of one calibration, and raise the alarm where they show that it is off. None where one is open already.

    After an alarm was cleared, or the calibration promoted once more, only later outcomes count. Several processes may look at once;
    one of them raises the alarm.

    Raises:
        StorageUnavailable: the database refused; the next call makes up for it.
    """
    calibrations = Calibrations(store)
    doubted, since = _standing(one for one in await calibrations.events(model_version) if one.calibration == calibration)
    if doubted:
        return None
    rows = await Outcomes(store).shown(model_version, calibration, sorted(PERMITTED), after=since)
    monitor = await asyncio.to_thread(watched, rows)
    if monitor.alarms:
        detail = told(monitor)
        if await calibrations.raise_alarm(model_version, calibration, detail) is not None:  # else another process has
            _log.error("calibration_alarm", model_version=model_version, calibration=calibration, **detail)
    return monitor


def watched(outcomes: Sequence[Shown]) -> Monitor:
    """Return the monitor after outcomes in order of arrival: one step per item, with the mean of its labels.

    An item's bytes count once, with the first truth that was told of them: the model says the same of them each time.

    Raises:
        InvalidRequest: an outcome of a stream that must not be watched.
    """
    require_permitted(one.stream for one in outcomes)
    shown = [one for one in first_told(outcomes) if one.confidence is not None]
    if not shown:
        return Monitor()
    said = np.array([one.confidence for one in shown], np.float64)
    confidence, correct = by_item(said, [one.correct for one in shown], [one.cluster for one in shown])
    propensity = list({one.cluster: one.propensity for one in shown}.values())
    return Monitor().run(confidence, correct, _shares(weights(propensity)))


def _shares(weight: Floats) -> Floats:
    """Return each weight over the greatest one up to it, so that what is bet never depends on what comes later.

    The rate of false alarms is then that of a calibration that is right in each stratum of the sampling; errors of strata that cancel
    each other may raise it.
    """
    return np.asarray(weight / np.maximum.accumulate(weight))


def first_told(outcomes: Iterable[Shown]) -> list[Shown]:
    """Return, of each item's bytes, the labels of the draft and event that came first."""
    chosen: dict[str, tuple[str, str]] = {}
    return [one for one in outcomes if chosen.setdefault(one.cluster, (one.draft, one.source)) == (one.draft, one.source)]


def told(monitor: Monitor) -> dict[str, Any]:
    """Return an alarm in figures and in words."""
    first = monitor.alarms[0]
    way = "too high" if first.direction == "over" else "too low"
    chance = f"1 in {monitor.run_length:,.0f} items" if first.kind == "change" else f"{monitor.alpha:.0%} ever"
    reason = f"confidences are {way} by more than {monitor.epsilon:.0%}: seen after {first.at:,} items (false alarms: {chance})"
    return {"alarms": [asdict(one) for one in monitor.alarms], "items": monitor.labels, "reason": reason}


def _standing(history: Iterable[CalibrationEvent]) -> tuple[bool, datetime | None]:
    """Return whether an alarm is open, and from when on outcomes count: from the end of the last alarm that was ended."""
    doubted, since = False, None
    for event in history:
        if event.kind == "alarm":
            doubted = True
        elif doubted and event.kind in ("promoted", "cleared"):
            doubted, since = False, event.at
    return doubted, since
