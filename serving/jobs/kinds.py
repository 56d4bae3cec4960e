"""The kinds of jobs: which module does each, and what else is to be put right when one ends without having done so itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serving.validation.endings import settle_lost
from store import Store
from store.jobs import Job

CALIBRATION_FIT = "calibration_fit"
MODEL_VALIDATION = "model_validation"


async def _nothing(_store: Store, _job: Job, _problem: Mapping[str, Any]) -> None:
    """A fit leaves nothing half done."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job.

    `module` is run as `python -m module JOB_ID --config FILE --scratch DIR`. `lost` is called with the job and a problem where it was
    cancelled, or given up for dead; it may be called again for the same job.
    """

    module: str
    lost: Callable[[Store, Job, Mapping[str, Any]], Awaitable[None]] = _nothing


KINDS: Mapping[str, Kind] = {
    CALIBRATION_FIT: Kind("serving.calibrations.worker"),
    MODEL_VALIDATION: Kind("serving.validation.worker", settle_lost),
}
