"""The arm of an item: is its draft shown, withheld, or replaced by one with a planted error? Drawn before anything is shown.

A keyed hash of (epoch, item, reviewer) makes a number u in [0, 1). It falls into one of three pieces: `withheld` from the left, then
`honeypot`, then `assisted`. So the arm can be neither guessed nor chosen; it needs no state; it does not depend on the order of items; and
a raised honeypot rate moves items from `assisted` to `honeypot` and no others. The length of an arm's piece is its propensity, which is
to be stored with the draw: rates change, and an item that was drawn keeps its arm.

Source of the estimators' need: Horvitz and Thompson, "A generalization of sampling without replacement" (JASA, 1952).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

Arm: TypeAlias = Literal["withheld", "honeypot", "assisted"]
Stakes: TypeAlias = Literal["normal", "high"]
ARMS: tuple[Arm, ...] = ("withheld", "honeypot", "assisted")

LEAST_CONTROL = 0.05  # below this nobody can say whether drafts help
LEAST_PROPENSITY = 0.02  # weights are cut at 1 / this
MOST_OF_STRATUM = 0.5  # that is withheld, however rare the stratum is
HIGH_STAKES_CONTROL = 0.2


@dataclass(frozen=True, slots=True)
class Rates:
    """The probability of each arm for one item."""

    withheld: float
    honeypot: float

    @property
    def assisted(self) -> float:
        """What is left."""
        return 1 - self.withheld - self.honeypot

    def of(self, arm: Arm) -> float:
        """The probability of one arm."""
        probability: float = getattr(self, arm)
        return probability


@dataclass(frozen=True, slots=True)
class Policy:
    """How a project shares its items out.

    `control` is withheld on average; `badge_budget` is the share of it that is spent on items whose draft has the badge, where errors
    that nobody looks for do the harm. `honeypot` is the usual rate, `raised` the one for the next `raised_items` items of a reviewer
    whose ordinary reviews look too quick to agree (`alarms.Screen`). High stakes: no badge, more control, and drafts only from
    `strict_confidence` on.
    """

    control: float = 0.10
    honeypot: float = 0.02
    raised: float = 0.20
    raised_items: int = 150
    badge_budget: float = 0.30
    stakes: Stakes = "normal"
    strict_confidence: float = 0.9

    def __post_init__(self) -> None:
        if found := _problem(self):
            raise InvalidRequest(found)

    @property
    def control_rate(self) -> float:
        """What is withheld on average: with high stakes never less than a fifth."""
        return max(self.control, HIGH_STAKES_CONTROL) if self.stakes == "high" else self.control

    @property
    def shows_badges(self) -> bool:
        """Whether a draft may carry the badge: a promise that invites nobody to look is not made where much is at stake."""
        return self.stakes == "normal"

    def shows(self, confidence: float | None) -> bool:
        """Whether an item of the assisted arm is shown its draft; with high stakes only a confidence that is known and high will do."""
        return self.stakes == "normal" or (confidence is not None and confidence >= self.strict_confidence)

    def rates(self, *, in_badge_zone: bool, badge_share: float, raised: bool = False) -> Rates:
        """Return the probabilities for an item whose draft is in the badge zone, or not.

        `badge_share` is the share of all items whose draft is there, as far as is known. Where it is smaller than `badge_budget`, such
        items are withheld more often and the others less, so that the average stays; up to half of them, and never so seldom that a
        weight would be cut.

        Raises:
            InvalidRequest: a share outside 0 to 1.
        """
        if not 0 <= badge_share <= 1:
            raise InvalidRequest(f"the share of items in the badge zone is between 0 and 1, not {badge_share}")
        zone, other = self._control_by_zone(badge_share)
        withheld = zone if in_badge_zone else other
        return Rates(withheld, min(self.raised if raised else self.honeypot, 1 - withheld))

    def _control_by_zone(self, share: float) -> tuple[float, float]:
        rate = self.control_rate
        if share >= self.badge_budget or share == 0:
            return rate, rate
        zone = min(self.badge_budget * rate / share, MOST_OF_STRATUM)
        return max(zone, rate), max((rate - zone * share) / (1 - share), LEAST_PROPENSITY)

    def as_json(self) -> dict[str, float | int | str]:
        """Return the policy as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Draw:
    """The arm that an item drew, with its propensity and the rates that it was drawn with."""

    arm: Arm
    propensity: float
    rates: Rates

    @property
    def weight(self) -> float:
        """1 / propensity."""
        return 1 / self.propensity

    def as_json(self) -> dict[str, float | str]:
        """Return the draw as JSON values."""
        return {"arm": self.arm, "propensity": self.propensity, "withheld": self.rates.withheld, "honeypot": self.rates.honeypot}


def uniform(secret: bytes, epoch: str, item: str, reviewer: str | None = None) -> float:
    """Return the item's number in [0, 1): HMAC-SHA256 under the project's secret, of which the first 53 bits count.

    The three names are hashed as a JSON list, so that no two lists of names run together. Without a reviewer everybody who gets the item
    has the same number, as overlap needs.

    Source: Krawczyk, Bellare and Canetti, RFC 2104; a keyed hash is a pseudorandom function, so u is uniform to whoever lacks the key.

    Raises:
        InvalidRequest: a secret of fewer than 16 bytes.
    """
    if len(secret) < 16:
        raise InvalidRequest("the project's secret needs 16 bytes at least: whoever guesses it knows which drafts are honeypots")
    words = json.dumps([epoch, item, reviewer], ensure_ascii=False, separators=(",", ":")).encode()
    return (int.from_bytes(hmac.digest(secret, words, "sha256")[:8], "big") >> 11) / (1 << 53)


def draw(rates: Rates, u: float) -> Draw:
    """Return the arm at a number in [0, 1)."""
    arm = ARMS[int(choose(u, rates.withheld, rates.honeypot))]
    return Draw(arm, rates.of(arm), rates)


def choose(u: ArrayLike, withheld: ArrayLike, honeypot: ArrayLike) -> Ints:
    """Return the positions in ARMS of many items at once; any shapes that broadcast."""
    numbers, first = np.asarray(u, np.float64), np.asarray(withheld, np.float64)
    return np.asarray((numbers >= first).astype(np.int64) + (numbers >= first + np.asarray(honeypot, np.float64)))


def inverse_propensities(draws: list[Draw]) -> Floats:
    """Return the weights (n,) of draws, cut where a propensity is below 0.02."""
    return np.array([1 / max(one.propensity, LEAST_PROPENSITY) for one in draws])


def policy_of(value: Mapping[str, object]) -> Policy:
    """Build a policy from JSON values.

    Raises:
        InvalidRequest: an unknown field, or a value outside its range.
    """
    try:
        return Policy(**value)  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidRequest(f"the review policy is not valid: {error}") from error


def _problem(policy: Policy) -> str:
    if not LEAST_CONTROL <= policy.control <= MOST_OF_STRATUM:
        return f"control is {policy.control}: withhold {LEAST_CONTROL} to {MOST_OF_STRATUM} of the drafts, or the effect stays unknown"
    if not 0 < policy.honeypot <= policy.raised <= 1 - MOST_OF_STRATUM:
        return f"honeypot and raised are rates above 0, raised not below honeypot and at most {1 - MOST_OF_STRATUM}"
    if not (0 <= policy.badge_budget <= 1 and 0 <= policy.strict_confidence <= 1 and policy.raised_items >= 1):
        return "badge_budget and strict_confidence are between 0 and 1, and raised_items is 1 or more"
    return "" if policy.stakes in ("normal", "high") else f"stakes are normal or high, not {policy.stakes}"
