"""Figures, verdicts and advice in words."""

from __future__ import annotations

from typing import Any

import pytest

from calibration.intervals import Figure
from calibration.record import CalibrationRecord
from serving.calibrations.wording import floor_text, in_short, next_steps, value_text
from tests.unit.serving.calibrations.synthetic import figure, full_figures, full_record, old_record


def ascii_(text: str) -> str:
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")


@pytest.mark.parametrize(
    ("value", "signed", "said"),
    [
        (Figure(0.0213, 0.0171, 0.0262), False, "0.021 (0.017 to 0.026)"),
        (Figure(-0.0558, -0.0993, 0.0042), True, "-0.056 (-0.099 to +0.004)"),
        (Figure(0.041234, 0.040534, 0.041934), False, "0.0412 (0.0405 to 0.0419)"),
        (Figure(0.5, 0.5, 0.5), False, "0.500 (0.500 to 0.500)"),
        (Figure(0.5), False, "0.500 (no interval)"),
        (Figure(1234.5, 1000.0, 1500.0), False, "1,234.500 (1,000.000 to 1,500.000)"),
        (Figure(None), False, "not defined"),
    ],
)
def test_a_figure_reads_with_its_interval(value: Figure, signed: bool, said: str) -> None:
    assert ascii_(value_text(value, signed=signed)) == said


def test_a_floor_has_the_figures_decimals() -> None:
    assert floor_text(Figure(0.04, 0.0399, 0.0401, 0.01234, 0.02345)) == "0.0123 / 0.0234"
    assert ascii_(floor_text(Figure(0.04, 0.03, 0.05))) == "-"


def test_in_short_says_what_a_record_shows() -> None:
    said = [ascii_(one) for one in in_short(old_record().figures, "boxes")]
    assert said == [
        "200 held-out boxes from 49 independent sources: 40.0 % were right. The raw score says 51.2 % on average, the confidence 37.7 %.",
        "Confidence and truth are 0.057 (0.042 to 0.132) apart on average (smECE); a perfect predictor would show 0.051 on as many rows, "
        "and with bad luck 0.073. Before: 0.117 (0.086 to 0.185).",
        "Compared with the raw score: NLL -0.056 (-0.099 to -0.004), Brier -0.020 (-0.038 to +0.004). "
        "It is shown to be better on NLL alone.",
        "Compared with one number for all: NLL -0.023 (-0.079 to +0.043), Brier -0.013 (-0.038 to +0.015). It is not shown to be better.",
    ]


def test_too_little_data_asks_for_so_many_items() -> None:
    # 200 of 1,000 rows from 109 items: five times as many, and a fifth more as the split is by hash
    steps = next_steps(old_record())
    assert steps[0].startswith("Label about 660 items in all instead of 109,")
    assert "`unverified`" in steps[-1]


def failed(**after: Any) -> CalibrationRecord:
    figures = full_figures()
    figures["after"] |= after
    return full_record(figures=figures, status="unverified", reason="so")


def test_advice_follows_what_was_not_shown() -> None:
    wide = failed(smece={"value": 0.02, "low": 0.01, "high": 0.04})
    assert "its interval is too wide" in next_steps(wide)[0]
    off = failed(smece=figure(0.09), accuracy=0.6, mean_confidence=0.7)
    assert "The confidence is off. It is too high on average." in next_steps(off)[0]
    assert "It is too low on average." in next_steps(failed(smece=figure(0.09), accuracy=0.8, mean_confidence=0.7))[0]
    few = failed(clusters=10)
    assert next_steps(few)[0].startswith("Label more items,")
    assert "it was measured on 10, and a claim takes at least 20" in next_steps(few)[1]
    both = old_record(figures={**old_record().figures, "after": {**old_record().figures["after"], "clusters": 4}})
    assert next_steps(both)[0].startswith("Label about 660 items in all instead of 109,")
    assert "it was measured on 4," in next_steps(both)[1]
    raw = full_record(figures={**full_figures(), "difference": {"nll": figure(0.0)}}, status="unverified")
    assert "not shown to be better than the raw score" in next_steps(raw)[0]
    flat = full_record(figures={**full_figures(), "against_constant": {"brier": figure(0.0)}}, status="unverified")
    assert "hardly more than one number" in next_steps(flat)[0]
    assert "never measured" in next_steps(full_record(figures={}, status="unverified"))[0]
    assert next_steps(failed())[0] == "Make a new record when the reason above is gone."


def test_a_calibrated_record_may_be_used_with_its_limits() -> None:
    steps = next_steps(full_record())
    assert steps[0].startswith("Use it")
    assert "unverified" not in " ".join(steps)
    assert in_short(full_record().figures, "boxes")[-1] == (
        "Worst slice: size small, smECE 0.041 (0.031 to 0.051), n = 2,000 from 250 sources. "
        "A perfect predictor would show up to 0.026 there."
    )
