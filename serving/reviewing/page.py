"""One page about a project's review, for whoever answers for it: the verdict first. It fetches nothing, and shows text as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from review.worth import Prices
from serving.reviewing.agreement import agreement
from serving.reviewing.effect import effect
from serving.reviewing.figures import table
from serving.reviewing.people import Judged
from store.review_alarms import ReviewAlarm

_NOTHING = "not enough"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: what it shows, the names of its columns, its rows. The first cell of a row names it."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def html(
    project: str,
    rows: Sequence[Judged],
    *,
    prices: Prices | None = None,
    alarms: Sequence[ReviewAlarm] = (),
    scale: Sequence[str] = (),
) -> str:
    """Return the page. `scale` are the project's labels where their order is one."""
    found = effect(rows, prices)
    says = str(found["says"])
    return _template().render(
        project=project,
        verdict=found["verdict"],
        says=says[:1].upper() + says[1:],
        why=str(found["why"]).rstrip("."),
        rests_on=found["rests_on"],
        in_short=_in_short(found),
        alarms=[_alarm(one) for one in alarms if one.open],
        arms=_arms(rows, found),
        reviewers=_reviewers(table(rows, alarms)),
        agreement=_agreement(agreement(rows, scale)["tasks"]),
    )


@cache
def _template() -> Template:
    where = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=where, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.get_template("page.html.j2")


def _in_short(found: Mapping[str, Any]) -> list[str]:
    time, errors = found["time_ratio"], found["errors"]["difference"]
    said = []
    if time["value"] is not None:
        said.append(f"An item with a draft takes {time['value']:.2f} times as long ({time['low']:.2f} to {time['high']:.2f}).")
    if errors is not None and errors["value"] is not None:
        said.append(f"Errors change by {_points(errors['value'])} ({_points(errors['low'])} to {_points(errors['high'])}), on gold items.")
    return said


def _alarm(one: ReviewAlarm) -> dict[str, Any]:
    return {"reviewer": one.reviewer, "says": one.evidence["says"], "raised_at": f"{one.raised_at:%Y-%m-%d %H:%M} UTC", "id": one.id}


def _arms(rows: Sequence[Judged], found: Mapping[str, Any]) -> Table:
    parts = []
    for name, arm, side in (("draft shown", "assisted", "assisted"), ("withheld", "withheld", "control")):
        some = sorted(one.row.seconds for one in rows if one.row.arm == arm and one.row.seconds is not None)
        gold = found["errors"][side]
        wrong = f"{gold['wrong']} of {gold['n']}"
        parts.append((name, f"{len(some):,}", f"{some[len(some) // 2]:.1f} s" if some else _NOTHING, wrong))
    pots = [one for one in rows if one.caught is not None]
    parts.append(("honeypot", f"{len(pots):,}", "", f"caught: {sum(one.caught == 'caught' for one in pots)}"))
    return Table("Items by arm", ("Arm", "Reviews", "Median time", "Wrong, of gold items"), parts)


def _reviewers(people: Sequence[Mapping[str, Any]]) -> Table:
    head = (
        "Reviewer",
        "Reviews",
        "Catch",
        "Corrections",
        "False corrections",
        "Omissions missed",
        "Over-reliance",
        "Median time",
        "May be named",
    )
    return Table("Who catches least comes first", head, [_reviewer(one) for one in people])


def _reviewer(one: Mapping[str, Any]) -> tuple[str, ...]:
    ratio, seconds = one["corrections"], one["seconds"]["shown"]
    corrections = _NOTHING if ratio["ratio"] is None else f"{ratio['ratio']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
    median = _NOTHING if seconds["value"] is None else f"{seconds['value']:.1f} s ({seconds['low']:.1f} to {seconds['high']:.1f})"
    return (
        str(one["reviewer"]),
        f"{one['reviews']:,}",
        _rate(one["catch"]),
        corrections,
        _rate(one["false_corrections"]),
        _rate(one["omissions_missed"]),
        _rate(one["over_reliance"]),
        median,
        "yes" if one["named"] else "no",
    )


def _agreement(tasks: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for task, found in tasks.items():
        for name in ("blind", "drafted", "gap"):
            part = found[name]
            items = "" if name == "gap" else f"{part['items']:,}"
            rows.append((f"{task}, {name}", items, part.get("measure", ""), _figure(part)))
            for weights, weighted in part.get("weighted", {}).items():
                rows.append((f"{task}, {name}", f"{weighted.get('n', '')}", f"kappa, {weights} weights", _figure(weighted)))
    return Table("On items that several people labelled", ("Task", "Items", "Measure", "Value"), rows)


def _figure(part: Mapping[str, Any]) -> str:
    if part.get("value") is None:
        return _NOTHING
    return f"{part['value']:.2f}" + (f" ({part['low']:.2f} to {part['high']:.2f})" if part.get("low") is not None else "")


def _rate(found: Mapping[str, Any]) -> str:
    """Return a rate in percent with its interval and count."""
    if found["value"] is None:
        return f"{_NOTHING} (n {found['n']})"
    return f"{found['value']:.0%} ({found['low']:.0%} to {found['high']:.0%}; n {found['n']})"


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"
