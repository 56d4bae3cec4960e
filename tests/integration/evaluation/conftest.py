"""Fewer resamples than in earnest: these tests are about what is measured, and tests/unit/calibration about how."""

from __future__ import annotations

from tests.unit.serving.evaluation.conftest import few_resamples

__all__ = ["few_resamples"]
