"""The use case of arms: each new item of a project with a review policy draws one, and that is stored with its draft.

What an item is shown is decided here, after the model made its draft and before anybody sees it, for all arms by the same steps.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from candor.drafts import Draft
from candor.ids import new_id
from review.arms import Draw, Policy, Rates, draw, uniform
from review.honeypots import Planted
from serving.arms.planting import Making, Material, confusion, has_badge, planted
from store import Store
from store.draws import DrawRow, Draws, Secret
from store.gold import Gold

T = TypeVar("T")
K = TypeVar("K")

KNOWN_SECONDS = 5.0  # how long shares, and what is said of a reviewer, are believed
MATERIAL_SECONDS = 60.0
_SEEN = 2_000  # draws that shares are estimated from
_LEAST_SEEN = 100  # below which the share of the badge is not known
_MATERIAL = 300  # natural drafts that planted errors are made of
_AS_IF = 200  # draws that the expected share of gold counts for
_USUAL = 1_000  # items that a project is thought to have beside its gold
_MOST_HONEYPOTS = 0.5  # of gold items
_KEPT = 256  # projects, or reviewers, that are remembered


class Reviewers(Protocol):
    """What is asked about a person before an item is drawn for them."""

    async def raised(self, team: str, project: str, reviewer: str) -> bool:
        """Say whether honeypots come more often for a reviewer now."""

    async def withheld_for(self, team: str, project: str, reviewer: str) -> bool:
        """Say whether a reviewer gets no drafts, since an alarm about them is open."""


@dataclass(frozen=True, slots=True)
class Desk:
    """For whom items are drafted: a team's project, and a reviewer where the platform names one (else empty)."""

    team: str
    project: str
    reviewer: str = ""


@dataclass(frozen=True, slots=True)
class Shares:
    """How frequent gold and the badge are among a project's items, as far as is known."""

    gold: float
    badge: float


@dataclass(frozen=True, slots=True)
class _Known:
    """What the arms of one request are drawn with."""

    policy: Policy
    secret: Secret
    shares: Shares
    truths: Mapping[str, Mapping[str, Any]]
    material: Material
    raised: bool
    withheld: bool


class Arms:
    """The arms of one store, as one process draws them. `clock` counts seconds."""

    def __init__(self, store: Store, reviewers: Reviewers, clock: Callable[[], float] = time.monotonic) -> None:
        self._draws = Draws(store)
        self._gold = Gold(store)
        self._reviewers = reviewers
        self._secrets = _Kept[tuple[str, str], Secret](lambda _: float("inf"), clock)
        self._shares = _Kept[tuple[str, str], Shares](lambda _: KNOWN_SECONDS, clock)
        self._people = _Kept[Desk, tuple[bool, bool]](lambda _: KNOWN_SECONDS, clock)
        self._material = _Kept[tuple[str, str, str], Material](_believed, clock)

    async def shown(self, desk: Desk, items: Sequence[str]) -> dict[str, Draft]:
        """Return the drafts of items that have drawn an arm already, by item: they are shown the same again."""
        secret = await self._secret(desk)
        found = await self._draws.shown(desk.team, desk.project, items, desk.reviewer, secret.epoch)
        return {item: one.draft for item, one in found.items()}

    async def assign(self, desk: Desk, policy: Policy, naturals: Sequence[Draft], making: Making) -> dict[str, Draft]:
        """Draw the arms of items, store them with their drafts, and return what each item is shown.

        Where an item has drawn meanwhile, in another request, that draw counts and its draft is returned.
        """
        known = await self._known(desk, policy, naturals)
        decided = await asyncio.to_thread(lambda: [_decided(desk, one, known, making) for one in naturals])
        rows = [row for row, _ in decided]
        won = await self._draws.add(rows, [draft for _, drafts in decided for draft in drafts])
        shown = {row.item: drafts[0] for row, drafts in decided if row.id in won}
        if lost := [row.item for row in rows if row.item not in shown]:
            shown |= {item: draft.again() for item, draft in (await self.shown(desk, lost)).items()}
        return shown

    async def _known(self, desk: Desk, policy: Policy, naturals: Sequence[Draft]) -> _Known:
        version = naturals[0].model_version
        raised, withheld = await self._people.get(desk, lambda: self._asked(desk)) if desk.reviewer else (False, False)
        return _Known(
            policy,
            await self._secret(desk),
            await self._shares.get((desk.team, desk.project), lambda: self._counted(desk)),
            await self._gold.find(desk.team, desk.project, [one.item for one in naturals]),
            await self._material.get((desk.team, desk.project, version), lambda: self._gathered(desk, version)),
            raised,
            withheld,
        )

    async def _secret(self, desk: Desk) -> Secret:
        return await self._secrets.get((desk.team, desk.project), lambda: self._draws.secret(desk.team, desk.project))

    async def _asked(self, desk: Desk) -> tuple[bool, bool]:
        names = (desk.team, desk.project, desk.reviewer)
        return await self._reviewers.raised(*names), await self._reviewers.withheld_for(*names)

    async def _counted(self, desk: Desk) -> Shares:
        seen = await self._draws.recent(desk.team, desk.project, _SEEN)
        gold = await self._gold.count(desk.team, desk.project)
        expected = gold / (gold + _USUAL)
        share = (sum(one.gold for one in seen) + _AS_IF * expected) / (len(seen) + _AS_IF)
        # all of them, where it is not known: then the badge makes no difference
        badge = sum(one.badge for one in seen) / len(seen) if len(seen) >= _LEAST_SEEN else 1.0
        return Shares(share, badge)

    async def _gathered(self, desk: Desk, version: str) -> Material:
        drafts = await self._draws.naturals(desk.team, desk.project, version, _MATERIAL)
        of_gold = await self._draws.naturals(desk.team, desk.project, version, _MATERIAL, of_gold=True)
        truths = await self._gold.find(desk.team, desk.project, [one.item for one in of_gold])
        return Material(drafts, await asyncio.to_thread(confusion, of_gold, truths))


def _believed(material: Material) -> float:
    """A project that begins soon has more."""
    return MATERIAL_SECONDS if len(material.drafts) >= _MATERIAL else KNOWN_SECONDS


def _decided(desk: Desk, natural: Draft, known: _Known, making: Making) -> tuple[DrawRow, list[Draft]]:
    """Draw one item, and return the row with the drafts to store: what is shown first.

    The shown draft keeps its id, which tells when it was made; a honeypot's natural twin takes a new one, for nobody ever sees it.
    """
    secret, truth = known.secret, known.truths.get(natural.item)
    made = None if truth is None else planted(natural, truth, known.material, making, _rng(secret, desk, natural.item))
    rates = _rates(natural, known, plantable=made is not None)
    drawn = draw(rates, uniform(secret.key, secret.epoch, natural.item, desk.reviewer or None))
    if drawn.arm == "honeypot" and made is not None:
        twin = replace(natural.renamed(new_id("drf")), arm="twin")
        return _row(desk, natural, known, drawn, twin.id, made[1]), [made[0], twin]
    return _row(desk, natural, known, drawn, natural.id, None), [replace(natural, arm=drawn.arm)]


def _rates(natural: Draft, known: _Known, *, plantable: bool) -> Rates:
    """Return the chances of one item. Only gold items can be honeypots: each is one so much the more often."""
    if known.withheld:
        return Rates(1.0, 0.0)
    rates = known.policy.rates(in_badge_zone=has_badge(natural), badge_share=known.shares.badge, raised=known.raised)
    if not plantable or known.shares.gold <= 0:
        return replace(rates, honeypot=0.0)
    return replace(rates, honeypot=min(rates.honeypot / known.shares.gold, _MOST_HONEYPOTS, 1 - rates.withheld))


def _row(desk: Desk, natural: Draft, known: _Known, drawn: Draw, natural_id: str, error: Planted | None) -> DrawRow:
    shares = {"badge_share": round(known.shares.badge, 6), "gold_share": round(known.shares.gold, 6), "raised": known.raised}
    rates = {"withheld": drawn.rates.withheld, "honeypot": drawn.rates.honeypot, "badge": has_badge(natural), **shares}
    return DrawRow(
        id=new_id("drw"),
        team=desk.team,
        project=desk.project,
        item=natural.item,
        reviewer=desk.reviewer,
        epoch=known.secret.epoch,
        arm=drawn.arm,
        propensity=drawn.propensity,
        rates=rates,
        draft=natural.id,
        natural=natural_id,
        planted=None if error is None else error.as_json(),
        gold=natural.item in known.truths,
        at=datetime.now(UTC),
    )


def _rng(secret: Secret, desk: Desk, item: str) -> np.random.Generator:
    words = json.dumps(["planted", secret.epoch, item, desk.reviewer], ensure_ascii=False).encode()
    return np.random.default_rng(int.from_bytes(hmac.digest(secret.key, words, "sha256"), "big"))


class _Kept(Generic[K, T]):
    """What was read last, by name, and for how many seconds it is believed. Several who ask at once may each read it."""

    def __init__(self, seconds: Callable[[T], float], clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._found: OrderedDict[K, tuple[float, T]] = OrderedDict()

    async def get(self, name: K, read: Callable[[], Awaitable[T]]) -> T:
        """Return what is known, read again where that was too long ago."""
        now = self._clock()
        if (kept := self._found.get(name)) is not None and now - kept[0] < self._seconds(kept[1]):
            return kept[1]
        value = await read()
        self._found[name] = (now, value)
        self._found.move_to_end(name)
        while len(self._found) > _KEPT:
            self._found.popitem(last=False)
        return value
