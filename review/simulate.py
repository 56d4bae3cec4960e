"""A programme of simulated reviewers, drawn and judged by the very code that draws and judges real ones.

Many programmes run side by side, item by item: `arms.choose` draws arms, `alarms.advance` moves detectors and screens. What is made up are
the people and the drafts:

- An item's draft is right with probability p, drawn from a Beta distribution; what the server says of it, `right`, is p unless the
  confidence is misspecified.
- An attentive reviewer finds an error with the item's own probability, Beta(18, 2), moved on the logit scale by the reviewer's skill.
- A stamper looks only at some items (1 - `lam`), and there is attentive; some start to stamp in the middle; some know honeypots when they
  see them.
- Nobody catches an impossible honeypot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import log

import numpy as np
from numpy.typing import NDArray

from candor.predictions import Floats, Ints
from review.alarms import FLOOR, RUN_LENGTH, SCREEN, WORSE, advance, log_mixture, log_odds_of, log_odds_of_review
from review.arms import ARMS, Policy, choose

ITEMS = 3_000
SPOIL = 0.02  # right drafts that anybody changes
DIFFICULTY = (18.0, 2.0)
SKILL = 0.35  # standard deviation between attentive reviewers, logit
WEAK = log(0.78 / 0.22) - log(0.9 / 0.1)
_WITHHELD, _HONEYPOT, _ASSISTED = (ARMS.index(name) for name in ("withheld", "honeypot", "assisted"))


@dataclass(frozen=True, slots=True)
class Group:
    """Alike reviewers: `lam` is the share of items that they don't look at, from item `since` on; `recognise` of them know honeypots."""

    name: str
    count: int
    lam: float = 0.0
    since: int = 0
    skill: float = 0.0
    spread: float = 0.0
    recognise: float = 0.0


ATTENTIVE = Group("attentive", 30, spread=SKILL)
WEAK_ONES = Group("weak", 3, skill=WEAK)


def population(lam: float = 0.7, recognise: float = 0.0) -> tuple[Group, ...]:
    """Return the forty reviewers: 30 attentive, 3 weak but honest, 4 stampers, and 3 who begin to stamp in the middle."""
    stampers = Group("stampers", 4, lam=lam, recognise=recognise)
    return ATTENTIVE, WEAK_ONES, stampers, Group("drifters", 3, lam=lam, since=ITEMS // 2, recognise=recognise)


@dataclass(frozen=True, slots=True)
class World:
    """What a programme is made of. `draft_error` is the mean share of wrong drafts; `misspecified` by how much more often they are wrong
    than the confidence says (0.3: 30 % more, -0.3: less); `impossible` the share of honeypots that nobody can catch.

    `rate` is a fixed share of honeypots; None raises it adaptively, as the policy says.
    """

    groups: tuple[Group, ...]
    draft_error: float = 0.10
    misspecified: float = 0.0
    impossible: float = 0.0
    rate: float | None = None
    items: int = ITEMS
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of programmes x reviewers: the item (from 1) at which each was accused, 0 never, and what was seen of each.

    `control_wrong` and `assisted_wrong` count wrong final labels of `control` and `assisted` items.
    """

    group: NDArray[np.str_]  # (reviewers,)
    accused: Ints
    first_screen: Ints
    screens: Ints
    honeypots: Ints
    control: Ints
    control_wrong: Ints
    assisted: Ints
    assisted_wrong: Ints
    items: int

    def of(self, *names: str) -> NDArray[np.bool_]:
        """Return which reviewers (columns) belong to groups."""
        return np.isin(self.group, names)


class _Programmes:
    """The state of all reviewers of all programmes, (programmes, reviewers)."""

    def __init__(self, world: World, programmes: int, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        groups = [group for group in world.groups for _ in range(group.count)]
        self.shape = (programmes, len(groups))
        self.lam = np.array([group.lam for group in groups])
        self.since = np.array([group.since for group in groups])
        self.skill = np.array([group.skill for group in groups]) + np.array([g.spread for g in groups]) * rng.normal(size=self.shape)
        self.knows = rng.random(self.shape) < np.array([group.recognise for group in groups])
        self.log_r = np.full((*self.shape, len(WORSE)), -np.inf)
        self.screen = np.full((*self.shape, len(WORSE)), -np.inf)
        self.left = np.zeros(self.shape, np.int64)
        self.names = np.array([group.name for group in groups])
        self.counts = {name: np.zeros(self.shape, np.int64) for name in _COUNTS}

    def step(self, item: int, uniforms: Floats) -> None:
        """Give every reviewer the next item, whose numbers in [0, 1) draw its arm."""
        policy, world, rng = self.world.policy, self.world, self.rng
        usual, raised = (policy.rates(in_badge_zone=False, badge_share=0.0, raised=one).honeypot for one in (False, True))
        rate = np.where(self.left > 0, raised, usual) if world.rate is None else np.full(self.shape, world.rate)
        arm = choose(uniforms, policy.control_rate, rate)
        self.left -= self.left > 0
        right, says = self._drafts()
        stamps = (rng.random(self.shape) < self.lam) & (item >= self.since)
        finds = rng.random(self.shape) < self._catch()
        looks = finds & ~stamps
        spoils = rng.random(self.shape) < SPOIL
        missed = self._judge_honeypots(arm == _HONEYPOT, looks, item)
        # a spoilt or overlooked label is wrong; somebody without a draft makes the errors of somebody who looks
        assisted_wrong = np.where(right, spoils & ~stamps, ~looks)
        corrected = np.where(right, spoils & ~stamps, looks)
        log_e = np.where((arm == _HONEYPOT)[..., None], log_odds_of(missed), log_odds_of_review(corrected, says))
        self._screen(arm != _WITHHELD, log_e, item)
        blind_wrong = rng.random(self.shape) < 0.03
        for name, found in (
            ("control", arm == _WITHHELD),
            ("control_wrong", (arm == _WITHHELD) & blind_wrong),
            ("assisted", arm == _ASSISTED),
            ("assisted_wrong", (arm == _ASSISTED) & assisted_wrong),
        ):
            self.counts[name] += found

    def _drafts(self) -> tuple[NDArray[np.bool_], Floats]:
        """Return whether drafts are right, and what the server says of their probability to be."""
        error = self.rng.beta(1.0, 1 / self.world.draft_error - 1, self.shape)
        true = np.clip(error * (1 + self.world.misspecified), 0, 1)
        return self.rng.random(self.shape) >= true, 1 - error

    def _catch(self) -> Floats:
        easy = np.clip(self.rng.beta(*DIFFICULTY, self.shape), 1e-9, 1 - 1e-9)
        return np.asarray(1 / (1 + np.exp(-(np.log(easy / (1 - easy)) + self.skill))))

    def _judge_honeypots(self, shown: NDArray[np.bool_], looks: NDArray[np.bool_], item: int) -> NDArray[np.bool_]:
        """Move the detectors of those who are shown one, and return who would miss it."""
        possible = self.rng.random(self.shape) >= self.world.impossible
        missed = ~(possible & (looks | self.knows))
        moved = advance(self.log_r[shown], log_odds_of(missed[shown], FLOOR, WORSE))
        self.log_r[shown] = moved
        self.counts["honeypots"] += shown
        over = np.zeros(self.shape, np.bool_)
        over[shown] = log_mixture(moved) >= log(RUN_LENGTH)
        self.counts["accused"][over & (self.counts["accused"] == 0)] = item + 1
        return missed

    def _screen(self, shown: NDArray[np.bool_], log_e: Floats, item: int) -> None:
        moved = advance(self.screen, log_e)
        self.screen = np.where(shown[..., None], moved, self.screen)
        fired = shown & (log_mixture(self.screen) >= log(SCREEN))
        self.screen[fired] = -np.inf
        self.left[fired] = self.world.policy.raised_items
        self.counts["screens"] += fired
        first = fired & (self.counts["first_screen"] == 0)
        self.counts["first_screen"][first] = item + 1


_COUNTS = ("accused", "first_screen", "screens", "honeypots", "control", "control_wrong", "assisted", "assisted_wrong")


def run(
    world: World, programmes: int, seed: int, progress: Callable[[], None] | None = None, uniforms: Callable[[int], Floats] | None = None
) -> Outcome:
    """Run programmes side by side; the same seed, the same outcome.

    `uniforms` gives an item's numbers (programmes, reviewers); where it is left out they are drawn, as the keyed hash's are uniform.
    """
    rng = np.random.default_rng(seed)
    state = _Programmes(world, programmes, rng)
    for item in range(world.items):
        state.step(item, rng.random(state.shape) if uniforms is None else uniforms(item))
        if progress is not None and item % 100 == 99:
            progress()
    return Outcome(state.names, **state.counts, items=world.items)
