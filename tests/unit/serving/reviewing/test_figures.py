from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from serving.reviewing.feedback import summary
from serving.reviewing.figures import one_of, table
from serving.reviewing.people import Judged
from tests.unit.serving.reviewing.made import START, honeypot, one


def _stamper(items: int = 20) -> list[Judged]:
    return [honeypot(at, caught="missed", reviewer="sam") for at in range(items)]


def _careful(name: str, items: int = 20) -> list[Judged]:
    return [honeypot(at, caught="missed" if at % 10 == 0 else "caught", reviewer=name) for at in range(items)]


def test_who_catches_least_comes_first_and_may_be_named() -> None:
    told = table([*_careful("ann"), *_careful("bob"), *_stamper(), *_careful("eve")])
    assert next(one["reviewer"] for one in told) == "sam"
    assert [one["reviewer"] for one in told if one["named"]] == ["sam"]
    sam, ann = told[0], next(one for one in told if one["reviewer"] == "ann")
    assert (sam["catch"]["y"], sam["catch"]["n"], ann["catch"]["y"]) == (0, 20, 18)
    assert sam["catch"]["below_floor"] > 0.95
    assert ann["catch"]["below_floor"] < 0.5
    assert 0 < sam["catch"]["shrunk"] < ann["catch"]["shrunk"] < 0.9 + 1e-9
    assert ann["catch"]["peers"]["n"] == 60  # the others', not her own
    assert sam["arms"] == {"honeypot": 20}


def test_too_few_give_no_figure() -> None:
    (told,) = table([honeypot(at) for at in range(9)])
    assert (told["catch"]["status"], told["catch"]["value"], told["catch"]["n"]) == ("not enough", None, 9)
    assert told["detection"]["status"] == told["over_reliance"]["status"] == told["seconds"]["shown"]["status"] == "not enough"
    assert told["catch"]["below_floor"] is None
    assert not told["named"]


def test_corrections_are_held_against_confidence_and_peers() -> None:
    rows = [one(at, reviewer="ann", verdict="corrected" if at < 2 else "accepted", confidence=0.8) for at in range(100)]
    rows += [one(at, reviewer="bob", verdict="corrected" if at < 20 else "accepted", confidence=0.8) for at in range(100)]
    rows += [one(at, reviewer="bob", confidence=None) for at in range(100, 130)]
    ann, bob = (one_of(rows, name) for name in ("ann", "bob"))
    assert ann is not None
    assert bob is not None
    assert ann["corrections"]["expected"] == pytest.approx(100 * (0.2 * 0.9 + 0.8 * 0.02))
    assert ann["corrections"]["ratio"] == pytest.approx(2 / 19.6)
    assert ann["corrections"]["relative"] == pytest.approx(0.1)
    assert ann["corrections"]["high"] < 1 < bob["corrections"]["high"]
    assert (bob["corrections"]["confident"], bob["corrections"]["made"]["n"]) == (100, 130)


def test_false_corrections_detection_and_over_reliance() -> None:
    rows = [one(at, final={"label": "dog"}, verdict="corrected") for at in range(3)]
    rows += [one(at) for at in range(3, 30)]
    rows += [honeypot(at, caught="missed" if at < 45 else "caught") for at in range(30, 60)]
    rows += [one(at, arm="withheld", final={"label": "dog"} if at < 63 else {"label": "cat"}) for at in range(60, 90)]
    (told,) = table(rows)
    assert (told["false_corrections"]["y"], told["false_corrections"]["n"]) == (3, 30)
    assert told["detection"]["status"] == "ok"
    assert (told["detection"]["wrong"], told["detection"]["right"]) == (30, 30)
    assert told["over_reliance"]["value"] == pytest.approx(15 / 30 - 3 / 30)
    assert told["seconds"]["withheld"]["n"] == 30


def test_months_and_guideline_versions() -> None:
    rows = [one(at) for at in range(12)] + [one(at, guideline_version="2", finished_at=START + timedelta(days=40)) for at in range(12, 24)]
    told = one_of(rows, "ann")
    assert told is not None
    assert [(part["month"], part["reviews"]) for part in told["months"]] == [("2026-03", 12), ("2026-04", 12)]
    assert [part["guideline_version"] for part in told["guideline_versions"]] == ["1", "2"]
    assert one_of(rows, "nobody") is None


def test_a_reviewer_is_told_nothing_of_the_window() -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    old = [honeypot(at, caught="missed") for at in range(12)]
    new = [honeypot(at, caught="missed", finished_at=now - timedelta(days=2), received_at=now) for at in range(12, 20)]
    told = summary("ann", [*old, *new], now, 30)
    assert (told["reviews"], told["too_new"], told["caught"]["n"], len(told["items"])) == (12, 8, 12, 12)
    assert told["items"][0]["truth"] == {"label": "cat"}
    before = summary("ann", old, now, 30)
    assert {**told, "too_new": 0} == before
    # what was finished long ago and came yesterday is new to the platform
    late = honeypot(30, received_at=now - timedelta(days=1))
    assert summary("ann", [late], now, 30)["reviews"] == 0
