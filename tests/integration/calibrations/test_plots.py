"""Plots of a record: what they show, in words and in files that are the same each time."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from calibration.record import CalibrationRecord
from candor.errors import InvalidRequest
from serving.calibrations import plots
from tests.unit.serving.calibrations.synthetic import full_figures, full_record, old_record, slice_

ALL = ["reliability", "methods", "slices", "no_edit.reliability"]


@pytest.fixture(scope="module")
def record() -> CalibrationRecord:
    return full_record()


@pytest.fixture(scope="module")
def drawn(record: CalibrationRecord) -> dict[str, str]:
    return {which: plots.svg(record, which) for which in ALL[:3]}


def texts(svg: str) -> str:
    return " | ".join("".join(one.itertext()) for one in ElementTree.fromstring(svg).iter() if one.tag.endswith("text"))  # noqa: S314


def test_what_a_record_has_figures_for_can_be_drawn(record: CalibrationRecord) -> None:
    assert plots.available(record) == ALL
    assert plots.available(old_record()) == []


def test_files_are_the_same_each_time_and_from_several_threads(record: CalibrationRecord, drawn: dict[str, str]) -> None:
    before = dict(mpl.rcParams)
    with ThreadPoolExecutor(2) as pool:
        again = dict(zip(["methods", "slices"], pool.map(lambda which: plots.svg(record, which), ["methods", "slices"]), strict=True))
    assert again.items() <= drawn.items()
    first = plots.png(record, "slices", 40)
    assert first.startswith(b"\x89PNG\r\n")
    assert first == plots.png(record, "slices", 40)
    assert "2026" not in drawn["reliability"]
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("reliability", ["Before: raw score, n = 6,000 boxes", "After: confidence, n = 6,000 boxes", "fraction right", "95 % band"]),
        ("methods", ["The same 6,000 boxes", "NLL, nats", "Brier", "raw score", "this calibration", "one number for all"]),
        ("slices", ["size: small (n = 2,000, 250 sources)", "smECE, 95 % intervals", "worst slice"]),
    ],
)
def test_axes_and_counts_are_named(drawn: dict[str, str], which: str, said: list[str]) -> None:
    shown = texts(drawn[which])
    assert [one for one in said if one not in shown] == []


def test_words_tell_what_a_plot_shows(record: CalibrationRecord) -> None:
    # the hand-made raw score is 12 % too sure: beyond its band from the seventh bin on
    said = plots.told(record, "reliability")
    assert "before (raw score, n = 6,000 boxes): of 15 points with a band, 9 lie under it (too sure) and 0 above it" in said
    assert "after (confidence, n = 6,000 boxes): of 15 points with a band, 0 lie under it" in said
    assert "this calibration 0.462" in plots.told(record, "methods")
    assert plots.told(record, "slices").endswith("Worst: size small.")
    assert "farm" not in plots.told(record, "slices")  # 40 rows tell nothing


def test_points_outside_their_band_are_filled() -> None:
    figures = full_figures()
    figures["reliability"]["after"] = {"n": 10, "bins": [bin_(0.5, 0.9), bin_(0.4, 0.42)]}
    filled = [style for style in re.findall(r'<use [^>]*style="([^"]*)"', plots.svg(full_record(figures=figures), "reliability"))]
    mine = [style for style in filled if f"stroke: {plots.AFTER}" in style]
    assert [f"fill: {plots.AFTER}" in style for style in mine] == [False, True]


def bin_(confidence: float, correct: float) -> dict[str, Any]:
    return {"low": 0, "high": 1, "n": 5, "confidence": confidence, "correct": correct, "band_low": 0.35, "band_high": 0.6}


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$\\frac{1}{0$", "犬と猫", "line\none\x07", "x" * 500])
def test_a_name_is_drawn_as_it_stands(name: str) -> None:
    figures = full_figures()
    figures["slices"] = [slice_("class", name, 2000, 0.03)]
    drawn = plots.svg(full_record(figures=figures), "slices")
    assert "<script" not in drawn
    shown = texts(drawn)
    assert f"class: {name}"[:20].partition("\n")[0] in shown


def test_an_inline_plot_fits_into_a_page(record: CalibrationRecord) -> None:
    svg = plots.inline(record, "reliability")
    assert re.match(r'<svg class="plot" role="img" aria-label="[^"<>]{40,}" viewBox="0 0 [\d. ]+">', svg)
    assert "<style" not in svg
    assert "http" not in svg
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert {name.split("-")[0] for name in ids} == {"reliability"}
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) <= set(ids)
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= set(plots.COLOURS)


def test_only_the_worst_of_many_slices_are_drawn() -> None:
    figures = full_figures()
    figures["slices"] = [slice_("class", f"c{i}", 1000, i / 1000) for i in range(60)]
    shown = texts(plots.svg(full_record(figures=figures), "slices"))
    assert f"The worst {plots.MOST_SLICES} of 60 slices" in shown
    assert "class: c59" in shown
    assert "class: c30" not in shown


@pytest.mark.parametrize("which", ["slices", "methods", "../reliability", ""])
def test_a_plot_without_figures_is_refused_in_words(which: str) -> None:
    figures = {"reliability": full_figures()["reliability"]}
    with pytest.raises(InvalidRequest, match="has those for: reliability"):
        plots.svg(full_record(figures=figures, further={}), which)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("reliability", {"before": {"bins": 3}}),
        ("reliability", {"before": {"bins": [{"n": 3, "low": 0, "high": "x", "confidence": 0.1, "correct": 0.1}]}}),
        ("reliability", {"before": {"bins": [{"n": 3, "low": 0, "high": 1, "correct": 0.1}]}}),
        ("slices", [3]),
        ("slices", [{"n": 1, "clusters": 1, "smece": 0.1}]),
        ("methods", {"chosen": []}),
        ("methods", {"chosen": {"nll": {"value": float("nan")}}}),
        ("methods", [1]),
    ],
)
def test_figures_of_another_shape_are_refused_in_words(key: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match="can't be read"):
        plots.available(full_record(figures={**full_figures(), key: value}))


def test_methods_are_found_whether_nested_or_not(record: CalibrationRecord) -> None:
    figures = full_figures()
    figures["methods"] = {"chosen": "class_temperature_bias", "fitted": 6100, "methods": figures["methods"], "differences": {}}
    assert plots.told(full_record(figures=figures), "methods") == plots.told(record, "methods")
