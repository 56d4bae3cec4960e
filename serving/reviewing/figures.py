"""Figures of each reviewer of a project, over time and by guideline version, each with its counts and interval.

Where there are too few of something it says "not enough", and no number that somebody could take for one about a person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from review.alarms import Detector, accused
from review.figures import (
    LEAST,
    Detection,
    Population,
    Rate,
    corrections,
    detection,
    difference,
    expected_corrections,
    median_seconds,
    population,
    rate,
)
from serving.reviewing.alarms import unspent
from serving.reviewing.people import Judged
from store.review_alarms import ReviewAlarm

ALPHA = 0.05  # share of honest people among those who are named at once, at most


@dataclass(frozen=True, slots=True)
class Counts:
    """What honeypots and gold items say of somebody, as counts."""

    honeypots: int
    caught: int
    noticed: int
    omissions: int
    omissions_missed: int
    right: int  # gold items whose own draft was shown and right
    spoilt: int
    wrong: int  # the same, and wrong
    mended: int


def counts(rows: Sequence[Judged]) -> Counts:
    """Count a person's honeypots, and gold items whose own draft was shown."""
    pots = [one for one in rows if one.caught is not None]
    omitted = [one for one in pots if one.omission]
    gold = [one for one in rows if one.row.arm == "assisted" and one.draft_right is not None]
    right, wrong = ([one for one in gold if one.draft_right is side] for side in (True, False))
    return Counts(
        honeypots=len(pots),
        caught=_count(pots, lambda one: one.caught == "caught"),
        noticed=_count(pots, lambda one: one.caught == "noticed"),
        omissions=len(omitted),
        omissions_missed=_count(omitted, lambda one: one.caught == "missed"),
        right=len(right),
        spoilt=_count(right, lambda one: not one.final_right),
        wrong=len(wrong),
        mended=_count(wrong, lambda one: bool(one.final_right)),
    )


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over reviews: what of one's peers is needed is that of everybody, less one's own."""

    counts: Counts
    confident: int  # reviews of drafts that were shown with a calibrated confidence
    made: int  # corrections of them
    expected: float

    def __sub__(self, own: Totals) -> Totals:
        left = {one.name: getattr(self.counts, one.name) - getattr(own.counts, one.name) for one in fields(Counts)}
        return Totals(Counts(**left), self.confident - own.confident, self.made - own.made, self.expected - own.expected)


def totals(rows: Sequence[Judged]) -> Totals:
    """Sum reviews up."""
    known = [one for one in rows if one.row.arm == "assisted" and one.right is not None]
    expected = float(expected_corrections([one.right or 0.0 for one in known]).sum())
    return Totals(counts(rows), len(known), _count(known, lambda one: one.corrected), expected)


def by_reviewer(rows: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Return each reviewer's reviews, by name."""
    found: dict[str, list[Judged]] = {}
    for one in rows:
        found.setdefault(one.row.reviewer, []).append(one)
    return dict(sorted(found.items()))


def table(rows: Sequence[Judged], alarms: Sequence[ReviewAlarm] = ()) -> list[dict[str, Any]]:
    """Return the figures of all reviewers, those first who most likely catch less than the floor. Each has the others for peers."""
    people = by_reviewer(rows)
    each = {name: counts(own) for name, own in people.items()}
    among = population([one.caught for one in each.values()], [one.honeypots for one in each.values()])
    named = _named(people, alarms)
    everybody = totals(rows)
    told = [{**figures(name, own, everybody - totals(own), among), "named": named[name]} for name, own in people.items()]
    return sorted(told, key=lambda one: (-(one["catch"]["below_floor"] or 0.0), one["reviewer"]))


def one_of(rows: Sequence[Judged], reviewer: str, alarms: Sequence[ReviewAlarm] = ()) -> dict[str, Any] | None:
    """Return the figures of one reviewer, with months and guideline versions; None where nothing of them was reviewed."""
    people = by_reviewer(rows)
    if reviewer not in people:
        return None
    each = [counts(own) for own in people.values()]
    among = population([one.caught for one in each], [one.honeypots for one in each])
    own = people[reviewer]
    return {
        **figures(reviewer, own, totals(rows) - totals(own), among),
        "named": _named(people, alarms)[reviewer],
        "months": _split(own, lambda one: one.row.finished_at.strftime("%Y-%m"), "month"),
        "guideline_versions": _split(own, lambda one: one.row.guideline_version, "guideline_version"),
    }


def figures(reviewer: str, own: Sequence[Judged], others: Totals, among: Population | None) -> dict[str, Any]:
    """Return what is known of one reviewer; `others` are the peers."""
    of, peers = counts(own), others.counts
    return {
        "reviewer": reviewer,
        "reviews": len(own),
        "arms": dict(sorted(Counter(one.row.arm for one in own).items())),
        "corrections": _corrections(own, others),
        "catch": {**_catch(of, among), "peers": rate(peers.caught, peers.honeypots).as_json()},
        "omissions_missed": rate(of.omissions_missed, of.omissions).as_json(),
        "false_corrections": {
            **rate(of.spoilt, of.right).as_json(),
            "peers": rate(peers.spoilt, peers.right).as_json(),
        },
        "detection": _detection(of),
        "over_reliance": over_reliance(own).as_json(),
        "seconds": _seconds(own),
    }


def over_reliance(rows: Sequence[Judged]) -> Rate:
    """Return by how much labels are wrong more often where a wrong draft was shown than where none was, both on gold items at random."""
    shown = [one for one in rows if one.caught is not None and one.final_right is not None]
    blind = [one for one in rows if one.row.arm == "withheld" and one.final_right is not None]
    first, second = (rate(_count(some, lambda one: not one.final_right), len(some)) for some in (shown, blind))
    return difference(first, second)


def _catch(of: Counts, among: Population | None) -> dict[str, Any]:
    found = rate(of.caught, of.honeypots)
    noticed = rate(of.caught + of.noticed, of.honeypots)
    shrunk: dict[str, float | None] = {"shrunk": None, "below_floor": None}
    if among is not None and found.enough:
        shrunk = {"shrunk": among.shrunk(of.caught, of.honeypots), "below_floor": among.below(of.caught, of.honeypots)}
    return {**found.as_json(), "noticed": noticed.as_json(), **shrunk}


def _corrections(own: Sequence[Judged], others: Totals) -> dict[str, Any]:
    """Return corrections of drafts as the model made them, against what calibrated confidence expects, and the peers' beside them."""
    shown = [one for one in own if one.row.arm == "assisted"]
    made = rate(_count(shown, lambda one: one.corrected), len(shown))
    known = [one for one in shown if one.right is not None]
    nothing = {"expected": None, "ratio": None, "low": None, "high": None, "peers": None, "relative": None}
    if not known:
        return {"made": made.as_json(), "confident": 0, **nothing}
    found = corrections([one.corrected for one in known], [one.right or 0.0 for one in known])
    peers = others.made / others.expected if others.confident >= LEAST and others.expected > 0 else None
    relative = found.ratio / peers if found.ratio is not None and peers else None
    figures = {name: getattr(found, name) for name in ("expected", "ratio", "low", "high")}
    return {"made": made.as_json(), "confident": len(known), **figures, "peers": peers, "relative": relative}


def _detection(of: Counts) -> dict[str, Any]:
    found: Detection = detection(of.caught + of.mended, of.honeypots + of.wrong, of.spoilt, of.right)
    if not found.enough:
        return {"status": "not enough", "wrong": found.wrong, "right": found.right}
    return {"status": "ok", **asdict(found)}


def _seconds(rows: Sequence[Judged]) -> dict[str, Any]:
    return {
        name: median_seconds(
            [one.row.seconds for one in rows if one.row.seconds is not None and (one.row.arm == "withheld") is blind]
        ).as_json()
        for name, blind in (("shown", False), ("withheld", True))
    }


def _split(rows: Sequence[Judged], key: Callable[[Judged], str | None], name: str) -> list[dict[str, Any]]:
    parts: dict[str | None, list[Judged]] = {}
    for one in rows:
        parts.setdefault(key(one), []).append(one)
    return [{name: value, **_brief(parts[value])} for value in sorted(parts, key=lambda one: one or "")]


def _brief(rows: Sequence[Judged]) -> dict[str, Any]:
    of = counts(rows)
    shown = [one for one in rows if one.row.arm == "assisted"]
    return {
        "reviews": len(rows),
        "corrected": rate(_count(shown, lambda one: one.corrected), len(shown)).as_json(),
        "catch": rate(of.caught, of.honeypots).as_json(),
        "false_corrections": rate(of.spoilt, of.right).as_json(),
        "seconds": _seconds(rows),
    }


def _named(people: Mapping[str, Sequence[Judged]], alarms: Sequence[ReviewAlarm]) -> dict[str, bool]:
    """Say who may be named at once: e-BH over all reviewers that are shown, on what no cleared alarm has used up."""
    left = {name: unspent(own, [one for one in alarms if one.reviewer == name]) for name, own in people.items()}
    evidence = [detector_of(own).evidence for own in left.values()]
    return dict(zip(people, (bool(one) for one in accused(evidence, ALPHA)), strict=True)) if people else {}


def detector_of(rows: Sequence[Judged]) -> Detector:
    """Return the detector after a person's honeypots, in the order in which they were finished."""
    return Detector().run([(one.row.item, one.caught == "missed") for one in rows if one.caught is not None])


def _count(rows: Sequence[Judged], holds: Callable[[Judged], bool]) -> int:
    return sum(1 for one in rows if holds(one))
