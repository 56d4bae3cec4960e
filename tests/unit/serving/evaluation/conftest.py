"""Fewer resamples than in earnest: these tests are about what is measured, and tests/unit/calibration about how."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("calibration.intervals.RESAMPLES", 25)
        for module in ("refinement", "detection_figures", "slices"):
            patch.setattr(f"calibration.{module}.RESAMPLES", 25)
        patch.setattr("serving.evaluation.quality._IMAGE_RESAMPLES", 20)
        yield
