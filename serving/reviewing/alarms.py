"""Alarms about reviewers: after each intake their honeypots are looked at again, all of them, from the stored rows.

So there is no state that a killed process could lose, and nothing that two processes could disagree on. One alarm about a reviewer is open
at a time; it stays until somebody clears it and says why, and what was finished before that is spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import structlog

from candor.errors import NotFound
from review.alarms import Alarm, Detector
from serving.reviewing.people import Judged, judge, review_section
from store import Store
from store.audit import Actor
from store.judged import judged
from store.review_alarms import Receiver, ReviewAlarm, ReviewAlarms
from store.reviews import Reviews

_log = structlog.get_logger(__name__)


async def look(store: Store, team: str, project: str, reviewers: Iterable[str] | None = None) -> list[ReviewAlarm]:
    """Look at all honeypots of some reviewers, or of all, and raise the alarms that are due; return those that were raised now.

    Several processes may look at once: one of them raises an alarm.

    Raises:
        StorageUnavailable: the database refused; the next call makes up for it.
    """
    names = None if reviewers is None else sorted(set(reviewers))
    rows = judge(await judged(store, team, project, reviewers=names, arm="honeypot", known="without labels"))
    if not rows:
        return []
    alarms = ReviewAlarms(store)
    earlier = await of_project(store, team, project)
    found = await asyncio.to_thread(_due, rows, earlier)
    if not found:
        return []
    told = receivers(await review_section(store, team, project))
    raised = [await alarms.raise_once(team, project, name, at, evidence, told) for name, at, evidence in found]
    for one in raised:
        if one is not None:
            _log.warning("review_alarm", alarm=one.id, team=team, project=project, reviewer=one.reviewer, says=one.evidence["says"])
    return [one for one in raised if one is not None]


async def of_project(store: Store, team: str, project: str) -> list[ReviewAlarm]:
    """Return the alarms of a project, the newest first; reviewers have the names into which they were merged."""
    into = await Reviews(store).merged(team, project)
    found = await ReviewAlarms(store).of_project(team, project)
    return [replace(one, reviewer=into[one.reviewer]) if one.reviewer in into else one for one in found]


def _due(rows: Sequence[Judged], earlier: Sequence[ReviewAlarm]) -> list[tuple[str, int, dict[str, Any]]]:
    """Return (reviewer, honeypots, evidence) of everybody whose detector has an alarm and about whom none is open."""
    people: dict[str, list[Judged]] = {}
    for one in rows:
        if one.caught is not None:
            people.setdefault(one.row.reviewer, []).append(one)
    found = []
    for name, own in people.items():
        of = [one for one in earlier if one.reviewer == name]
        if any(one.open for one in of):
            continue
        left = unspent(own, of)
        alarm = Detector().run([(one.row.item, one.caught == "missed") for one in left]).alarm
        if alarm is not None:
            found.append((name, len(own) - len(left) + alarm.at, evidence(alarm, left[: alarm.at])))
    return found


def unspent(rows: Sequence[Judged], earlier: Sequence[ReviewAlarm]) -> list[Judged]:
    """Return the honeypots that no cleared alarm has used up: those that were finished after the last one was cleared."""
    since = max((one.cleared_at for one in earlier if one.cleared_at is not None), default=None)
    return [one for one in rows if since is None or one.row.finished_at > since]


def evidence(alarm: Alarm, rows: Sequence[Judged]) -> dict[str, Any]:
    """Return what an alarm rests on: its figures, and each missed honeypot with what was wrong in it."""
    stretch = rows[-alarm.n :]
    missed = [
        {"item": one.row.item, "draft": one.row.draft, "review": one.row.event_id, "planted": _planted(one.row.planted), "at": _iso(one)}
        for one in stretch
        if one.caught == "missed"
    ]
    told = {**asdict(alarm), "items": list(alarm.items), "says": alarm.says, "missed": missed}
    return {**told, "since": _iso(stretch[0]), "until": _iso(stretch[-1])}


def _planted(planted: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: (planted or {}).get(name) for name in ("kind", "shown", "truth")}


def _iso(one: Judged) -> str:
    at: datetime = one.row.finished_at
    return at.isoformat()


async def clear(store: Store, actor: Actor, project: str, alarm_id: str, reason: str) -> ReviewAlarm:
    """Clear an alarm of the actor's team: the reviewer's evidence begins anew.

    Raises:
        NotFound: the project has no such alarm.
        Conflict: it was cleared before.
    """
    await find(store, actor.team, project, alarm_id)
    told = receivers(await review_section(store, actor.team, project))
    return await ReviewAlarms(store).clear(actor, actor.team, project, alarm_id, reason, told)


async def find(store: Store, team: str, project: str, alarm_id: str) -> ReviewAlarm:
    """Return one alarm of a project.

    Raises:
        NotFound: it has no such alarm.
    """
    found = await ReviewAlarms(store).get(team, project, alarm_id)
    if found is None:
        raise NotFound(f"project {project!r} has no alarm {alarm_id!r}")
    return found


def receivers(section: Mapping[str, Any]) -> list[Receiver]:
    """Return whom a project wants to be told of its alarms."""
    return [Receiver(str(one["url"]), str(one.get("form", "candor"))) for one in section.get("notify") or ()]
