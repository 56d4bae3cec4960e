"""How noisy a recording is, from its samples alone: loud parts against quiet ones."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from candor.errors import CandorError
from candor.predictions import Floats
from models.audio import RATE, open_audio

_FRAME = RATE // 50  # 20 ms
_LONGEST = 7200.0  # seconds
_SILENT = 1e-10  # mean square of what is taken as digital silence


def signal_to_noise(levels: Floats) -> float:
    """Return decibels between the 95th and the 10th percentile of frames' mean squares (n,): speech over what is heard in its pauses.

    It knows no speech from noise, so it is a rough measure: good for putting recordings in an order, and not more.
    """
    loud, quiet = np.percentile(np.maximum(levels, _SILENT), [95, 10])
    return float(10 * np.log10(loud / quiet))


@lru_cache(maxsize=4096)
def noise_of(path: Path) -> float:
    """Return a recording's signal-to-noise ratio in decibels; NaN where it can't be decoded or is shorter than a frame."""
    levels = []
    try:
        for block in open_audio(path.read_bytes(), _LONGEST).blocks:
            whole = block[: len(block) // _FRAME * _FRAME].reshape(-1, _FRAME)
            levels.append((whole.astype(np.float64) ** 2).mean(axis=1))
    except (CandorError, OSError):
        return float("nan")
    found = np.concatenate(levels) if levels else np.zeros(0)
    return signal_to_noise(found) if len(found) else float("nan")
