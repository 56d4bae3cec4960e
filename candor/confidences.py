"""What a calibration returns for one prediction: probabilities in the prediction's own shape, and how far to believe them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from candor.predictions import Floats

ConfidenceStatus: TypeAlias = Literal["calibrated", "unverified", "uncalibrated"]


@dataclass(frozen=True, slots=True)
class Confidences:
    """Calibrated probabilities for one prediction.

    `labels` is None where the status is `uncalibrated`; else, by task: detection (n,) one per box; classification (k,) one per
    class; transcription (w,) one per word, over all segments in order. `badges` has its shape; `no_edit` is one per box: that it
    stands so well that nobody needs to move it; `segments` is one per segment: that all its words are right.
    """

    status: ConfidenceStatus
    calibration: str | None  # the calibration's id
    labels: Floats | None
    badges: NDArray[np.bool_] | None = None
    no_edit: Floats | None = None
    segments: Floats | None = None


UNCALIBRATED = Confidences(status="uncalibrated", calibration=None, labels=None)
