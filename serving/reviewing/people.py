"""Reviews as they are judged, and what is known of the people who made them: whose honeypots are raised, whose drafts are withheld.

Everything is computed from the stored draws and reviews. What is kept in memory only saves reading them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from candor.errors import UnknownProject
from candor.predictions import Task
from review.alarms import Screen
from review.boxes import boxes_of, match
from review.compare import compare
from review.words import plain
from store import Store
from store.judged import JudgedRow, Step, judged, steps
from store.projects import Projects
from store.review_alarms import ReviewAlarms
from store.reviews import Reviews

_PAGE = 5000


@dataclass(frozen=True, slots=True)
class Judged:
    """One review that counts. `draft_right` is of the model's own draft, `final_right` of the person's label: None without gold."""

    row: JudgedRow
    draft_right: bool | None = None
    final_right: bool | None = None

    @property
    def corrected(self) -> bool:
        """Whether the person changed what was shown."""
        return self.row.verdict not in (None, "accepted")

    @property
    def right(self) -> float | None:
        """The calibrated probability that the draft needs no change."""
        return self.row.confidence if self.row.confidence_status == "calibrated" else None

    @property
    def caught(self) -> str | None:
        """What became of a honeypot's error; None for others, and where the gold label was changed after it was planted."""
        row = self.row
        outdated = row.truth is None or row.gold_since is None or row.drawn_at is None or row.gold_since > row.drawn_at
        return None if row.arm != "honeypot" or outdated else row.caught

    @property
    def omission(self) -> bool:
        """Whether something was missing in a honeypot, rather than wrong."""
        return str((self.row.planted or {}).get("kind", "")).endswith("_missing")

    @property
    def randomised(self) -> bool:
        """Whether chance decided if the draft was shown: not where no arm was drawn, nor where all of a person's drafts are withheld."""
        return self.row.propensity is not None and self.row.propensity < 1


async def read(store: Store, team: str, project: str, *, reviewers: Sequence[str] | None = None) -> list[Judged]:
    """Return the reviews of a project that count, without skipped ones, in the order in which they were finished."""
    rows = await judged(store, team, project, reviewers=reviewers)
    return await asyncio.to_thread(judge, rows)


def judge(rows: Iterable[JudgedRow]) -> list[Judged]:
    """Judge reviews against the gold labels as they are now; skipped ones are left out."""
    return [_judged(row) for row in rows if not row.skipped]


def _judged(row: JudgedRow) -> Judged:
    if row.truth is None or row.final is None:
        return Judged(row)
    known = row.natural is not None
    return Judged(row, draft_is_right(row.task, row.natural or {}, row.truth) if known else None, same(row.task, row.final, row.truth))


def draft_is_right(task: Task, payload: Mapping[str, Any], truth: Mapping[str, Any]) -> bool:
    """Say whether a draft is right by the task's rule: a box may overlap its object by half or more, words are compared normalised."""
    return {edit.kind for edit in compare(task, payload, truth).edits} <= {"kept", "moved"}


def same(task: Task, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Say whether two final labels are the same by the task's rule."""
    if task == "classification":
        return bool(one.get("label") == other.get("label"))
    if task == "transcription":
        return plain(str(one.get("text", ""))).split() == plain(str(other.get("text", ""))).split()
    first, second = boxes_of(one.get("boxes", ())), boxes_of(other.get("boxes", ()))
    return len(first) == len(second) == len(match(first, second, same_class=True))


# --- what is asked about a person before an item is drawn for them


@dataclass(slots=True)
class _Screens:
    """The screens of a project's reviewers, up to the last draw and the last review that they have seen."""

    after: tuple[str, str] = ("", "")
    of: dict[str, Screen] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class People:
    """What drafting asks about a reviewer. One for each process; it reads new rows only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._screens: dict[tuple[str, str], _Screens] = {}

    async def raised(self, team: str, project: str, reviewer: str) -> bool:
        """Say whether honeypots come more often for a reviewer now, since they correct fewer drafts than confidence says they should."""
        return (await self.screen(team, project, reviewer)).raised

    async def screen(self, team: str, project: str, reviewer: str) -> Screen:
        """Return the screen of a reviewer after all that is stored."""
        kept = self._screens.setdefault((team, project), _Screens())
        async with kept.turn:
            fresh = Screen(raised_items=await self._raised_items(team, project))
            while found := await steps(self._store, team, project, kept.after, _PAGE):
                kept.of |= await asyncio.to_thread(_folded, kept.of, found, fresh)  # a long history must not hold drafts up
                kept.after = _last(kept.after, found)
            into = await Reviews(self._store).merged(team, project)
            return kept.of.get(into.get(reviewer, reviewer), fresh)

    async def withheld_for(self, team: str, project: str, reviewer: str) -> bool:
        """Say whether a reviewer gets no drafts: an alarm about them is open, and the project's policy is to withhold then."""
        return await self._on_alarm(team, project, reviewer, "withhold")

    async def second_review_for(self, team: str, project: str, reviewer: str) -> bool:
        """Say whether somebody else is to review what this reviewer does: an alarm is open, and that is the project's policy."""
        return await self._on_alarm(team, project, reviewer, "second_review")

    async def _on_alarm(self, team: str, project: str, reviewer: str, policy: str) -> bool:
        section = await review_section(self._store, team, project)
        if section.get("on_alarm", "notify") != policy:
            return False
        standing = await ReviewAlarms(self._store).of_project(team, project, only_open=True)
        if not standing:
            return False
        into = await Reviews(self._store).merged(team, project)
        return into.get(reviewer, reviewer) in {into.get(one.reviewer, one.reviewer) for one in standing}

    async def _raised_items(self, team: str, project: str) -> int:
        return int((await review_section(self._store, team, project)).get("raised_items") or Screen().raised_items)


async def review_section(store: Store, team: str, project: str) -> Mapping[str, Any]:
    """Return a project's section `review` as it is stored; empty where it has none, or nobody made the project."""
    return (await body_of(store, team, project)).get("review") or {}


async def body_of(store: Store, team: str, project: str) -> Mapping[str, Any]:
    """Return a project's body as it is stored; empty where nobody made the project."""
    try:
        return (await Projects(store).get(team, project)).body
    except UnknownProject:
        return {}


def _folded(known: Mapping[str, Screen], found: Sequence[Step], fresh: Screen) -> dict[str, Screen]:
    """Return the screens of those whom the steps are about."""
    after: dict[str, Screen] = {}
    for one in found:
        after[one.reviewer] = step(after.get(one.reviewer) or known.get(one.reviewer, fresh), one)
    return after


def step(screen: Screen, one: Step) -> Screen:
    """Return the screen after one more step: an item drawn, a honeypot or another draft reviewed. Blind labels say nothing here."""
    if one.verdict is None:
        return screen.drawn()
    if one.arm == "honeypot":
        return screen if one.caught is None else screen.honeypot(missed=one.caught == "missed")
    if one.arm != "assisted" or one.right is None:
        return screen
    return screen.update(corrected=one.verdict != "accepted", right=one.right)


def _last(after: tuple[str, str], found: Sequence[Step]) -> tuple[str, str]:
    drawn = [one.id for one in found if one.verdict is None]
    reviewed = [one.id for one in found if one.verdict is not None]
    return max(drawn, default=after[0]), max(reviewed, default=after[1])
