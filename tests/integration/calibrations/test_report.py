"""The page about a calibration: the verdict first, all text of the record as text, nothing from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from calibration.record import load
from candor.errors import InvalidRequest
from serving.calibrations import report
from tests.unit.serving.calibrations.synthetic import full_figures, full_record, measured, old_record

SHIPPED = Path(__file__).resolve().parents[3] / "configs" / "calibrations"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Reader(HTMLParser):
    """Text, tags and attributes of a page; elements must be closed in the order in which they were opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words)).replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")


@pytest.fixture(scope="module")
def page() -> str:
    return report.html(full_record())


def test_the_verdict_comes_first_then_the_plots_then_the_tables(page: str) -> None:
    text = Reader(page).text
    order = [
        "Calibrated",
        "smECE is at most 2.2%",
        "What to do next",
        "In short",
        "Plots",
        "High-confidence badge",
        "Tables",
        "Where it comes from",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_a_full_record_is_told_in_full(page: str) -> None:
    text = Reader(page).text
    assert page.count('<svg class="plot" role="img" aria-label="') == 4
    for said in (
        "smECE 0.091 (0.086 to 0.096) 0.014 / 0.018 0.017 (0.012 to 0.022) 0.014 / 0.018",
        "Before and after (n = 6,000 boxes from 600 sources)",
        "NLL, nats 0.560 (0.540 to 0.580) 0.450 / 0.585 0.462 (0.442 to 0.482) 0.450 / 0.585 -0.098 (-0.108 to -0.088)",
        "one number for all 0.593 (0.573 to 0.613)",
        "sharpness (variance of the confidence) 0.0412 (0.0405 to 0.0419)",
        "LaECE 0.082 (0.072 to 0.092) 0.060 / 0.078",
        "recall 0.613 (0.603 to 0.623)",
        "source: farm 40 5 70.0 % 71.0 % too few rows -",
        "size: small 2,000 250 70.0 % 71.0 % 0.041 (0.031 to 0.051) 0.020 / 0.026",
        "0.933 to 1.000 750 0.967 0.973 0.954 to 0.980",
        "Labels with confidence 0.874 or more are marked high . With probability 95.0 %",
        "at most 5.0 % of such labels are wrong, on average over the items that have one, on data like those.",
        "selected on: 3,000 labels, 1,210 of them marked, 400 items with a marked one, 31 wrong ones among the marked.",
        "6,000 labels, 2,460 of them marked, 810 items with a marked one; share of labels that are marked: 0.410 (0.400 to 0.420); "
        "share of them that is wrong: 0.027 (0.021 to 0.033).",
        "No edit needed: not verified",
        "slope 80 values, 0.700 to 1.490",
        "isotonic did not win",
        "109 street scenes, val",
        "The model's authors trained on most of them.",
    ):
        assert said in text, said


def test_the_page_fetches_nothing_and_runs_nothing(page: str) -> None:
    read = Reader(page)
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(read.tags)
    assert not [value for name, value in read.attributes if name in {"src", "href", "xlink:href"} and not value.startswith("#")]
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert not re.findall(r"https?://|@import|url\((?!#)", page)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    ids = [value for name, value in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_tables_have_captions_and_scopes(page: str) -> None:
    read = Reader(page)
    assert read.tags.count("caption") == read.tags.count("table") == 9
    assert read.tags.count("th") == sum(name == "scope" for name, _ in read.attributes)
    assert 'lang="en"' in page


def test_what_an_older_record_lacks_is_said() -> None:
    text = Reader(report.html(old_record())).text
    assert "Not verified" in text
    assert "Why: 200 held-out rows; a claim takes at least 1,000." in text
    assert "This record has no figures for: reliability, methods, slices." in text
    assert "There is none: none was asked for." in text
    bare = full_record(figures={}, further={}, badge=None, data={}, fit={}, libraries={}, status="unverified", reason="not measured yet")
    empty = Reader(report.html(bare)).text
    assert "it was not measured" in empty


def test_text_of_a_record_stays_text() -> None:
    figures = {key: value for key, value in full_figures().items() if key != "reliability"}
    figures["slices"][0] |= {"by": HOSTILE, "name": HOSTILE}
    figures["worst_slice"] = figures["slices"][0]
    figures["methods"] = {HOSTILE: measured(6000, 0.02, 0.5)}
    figures["task"] = {HOSTILE: {"value": 0.1}}
    data = {"name": HOSTILE, "caveat": HOSTILE, "sources": [HOSTILE], "split": HOSTILE, "rule": HOSTILE, "badge": HOSTILE}
    hostile = full_record(
        figures=figures,
        further={},
        data=data,
        reason=HOSTILE,
        event=HOSTILE,
        created_at=HOSTILE,
        libraries={HOSTILE: HOSTILE},
        fit={HOSTILE: HOSTILE},
    )
    page = report.html(hostile)
    read = Reader(page)
    assert not {"script", "img"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert read.text.count("<script>alert(1)</script>") > 10


@pytest.mark.parametrize("name", sorted(path.name for path in SHIPPED.glob("*.json")))
def test_a_shipped_record_is_told(name: str) -> None:
    record = load(SHIPPED / name)
    own = {key: value for key, value in record.figures.items() if key != "reliability"}  # drawing takes the time
    text = Reader(report.html(replace(record, figures=own, further={}))).text
    assert record.reason in text


@pytest.mark.parametrize(
    "figures",
    [
        {"after": 3},
        {"after": {"n": "many"}},
        {"after": {"smece": {"value": "x"}}},
        {"difference": [1], "after": {"n": 1}},
        {"slices": "all"},
    ],
)
def test_figures_of_another_shape_are_refused_in_words(figures: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="can't be read"):
        report.html(full_record(figures=figures, further={}))
