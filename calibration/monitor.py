"""Watch a calibration while labels come in: alarms whose rate of false ones holds however often one looks.

Three questions are asked of each label, in the order of arrival, with p its confidence and y its truth (1 right, 0 wrong):

- `over`: does E[y | past, p] >= p - epsilon still hold? A bettor who doubts it multiplies a stake of 1 by 1 + b (p - epsilon - y) at each
  label. Where it holds, no label can be expected to make the stake grow; so the stake, averaged over several shares b, ever reaches
  1 / alpha with probability alpha at most (Ville's inequality).
- `under`: its mirror, E[y | past, p] <= p + epsilon, with 1 + b (y - p - epsilon).
- `change`: did one of both cease to hold at some label? Shiryaev-Roberts: R = (R + 1) (1 + b (…)), so that a new bettor joins at each
  label, averaged over shares and, three to one, over both directions: too high a confidence does the harm. Where both hold, R - labels
  can't be expected to grow, so that on average at least `run_length` labels go by before R reaches `run_length`. A stake that shrank for
  long has little left when trouble begins; R has not.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2024); Podkopaev and Ramdas,
"Tracking the risk of a deployed model" (ICLR 2022); Shin, Ramdas and Rinaldo, "E-detectors" (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import exp, isfinite, log
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from candor.errors import InvalidRequest
from candor.predictions import Floats

Direction: TypeAlias = Literal["over", "under"]
AlarmKind: TypeAlias = Literal["over", "under", "change"]

EPSILON = 0.01  # of confidence; nobody is called for less
ALPHA = 0.01
RUN_LENGTH = 10_000.0
BETS = (0.1, 0.25, 0.5, 0.8, 0.95)
DOUBT = (0.75, 0.25)  # how a change is thought to go: over, under
_ROWS = 32_768  # computed at once: each takes some 20 numbers of memory


@dataclass(frozen=True, slots=True)
class Alarm:
    """The first time that one question was answered: after how many labels (`at`, counted from 1), and with what evidence.

    `value` is the average stake, or R, at that label; `direction` says whether confidences were too high (`over`) or too low.
    """

    kind: AlarmKind
    direction: Direction
    at: int
    value: float


@dataclass(frozen=True, slots=True)
class Monitor:
    """All that must be remembered between labels: a value, never changed; `run` and `update` return the next one.

    A false `over` alarm ever comes with probability alpha at most, and so does a false `under`. Alarms stay: a new calibration gets a new
    monitor. Stakes are kept as logarithms, so that a million labels neither overflow nor vanish.

    `heaviest` is the greatest weight that a label may have, fixed before the first one. A label of weight w is bet on with the share
    b w / heaviest: never more than b, so that no stake becomes negative. Where the null hypothesis holds for each label, any share that
    is fixed before its truth is known is fair. Where w is 1 / (probability of being sampled), the mean of w (p - epsilon - y) over sampled
    labels is proportional to that of p - epsilon - y over all, so that the bet is fair as well where the hypothesis holds only for
    all labels taken together. Equal weights are best left out: they would only make the bets small.

    Labels that stand or fall together (the boxes of an image) are not each other's past: give one row per item, see `by_item`.
    """

    epsilon: float = EPSILON
    alpha: float = ALPHA
    run_length: float = RUN_LENGTH
    heaviest: float = 1.0
    bets: tuple[float, ...] = BETS
    labels: int = 0
    stakes: tuple[tuple[float, ...], ...] = ()  # logarithms, one row per direction and one column per bet
    joined: tuple[tuple[float, ...], ...] = ()  # logarithms of sums over labels, 0 among them, of 1 / stake: R + 1 = stake x joined
    alarms: tuple[Alarm, ...] = ()

    def __post_init__(self) -> None:
        if found := _problem(self):
            raise InvalidRequest(f"the monitor is not valid: {found}")
        zeros = ((0.0,) * len(self.bets),) * 2
        object.__setattr__(self, "stakes", self.stakes or zeros)
        object.__setattr__(self, "joined", self.joined or zeros)

    def alarm(self, kind: AlarmKind) -> Alarm | None:
        """Return the alarm of a kind; None where there was none so far."""
        return next((one for one in self.alarms if one.kind == kind), None)

    @property
    def log_evidence(self) -> dict[Direction, float]:
        """The logarithm of the average stake in each direction now; an alarm comes at -log(alpha)."""
        over, under = _log_mean(np.asarray(self.stakes)).tolist()
        return {"over": over, "under": under}

    def update(self, confidence: float, correct: float, weight: float = 1.0) -> Monitor:
        """Return the monitor after one more label; see `run`."""
        return self.run([confidence], [correct], [weight])

    def run(self, confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Monitor:
        """Return the monitor after more labels, in the order in which their truth became known: the same as one `update` for each.

        `confidence` (n,) is what was shown, `correct` (n,) is 0 or 1, or the share right of an item's labels; `weights` (n,) are above 0
        and at most `heaviest`, 1 where they are left out.

        Raises:
            InvalidRequest: lengths that differ, or a value outside its range or NaN.
        """
        p, y, w = _rows(confidence, correct, weights, self.heaviest)
        state = self
        for start in range(0, len(p), _ROWS):
            state = state._after(*(one[start : start + _ROWS] for one in (p, y, w)))
        return state

    def _after(self, p: Floats, y: Floats, w: Floats) -> Monitor:
        excess = np.stack([p - y, y - p], axis=1) - self.epsilon
        shares = (w / self.heaviest)[:, None, None] * np.asarray(self.bets)
        growth = np.log1p(shares * excess[:, :, None])  # (n, directions, bets)
        stakes = np.add.accumulate(np.concatenate([np.asarray(self.stakes)[None], growth]))
        joined = np.logaddexp.accumulate(np.concatenate([np.asarray(self.joined)[None], -stakes[1:]]))
        return replace(
            self,
            labels=self.labels + len(p),
            stakes=_tuples(stakes[-1]),
            joined=_tuples(joined[-1]),
            alarms=self.alarms + self._new_alarms(stakes[1:], stakes[1:] + joined[:-1]),
        )

    def _new_alarms(self, stakes: Floats, detectors: Floats) -> tuple[Alarm, ...]:
        """Return the alarms that come within these labels and had not come before; both are logarithms (n, directions, bets)."""
        wanted: dict[AlarmKind, tuple[Floats, float]] = {
            "over": (stakes[:, :1], -log(self.alpha)),
            "under": (stakes[:, 1:], -log(self.alpha)),
            "change": (detectors + np.log(2 * np.asarray(DOUBT))[:, None], log(self.run_length)),
        }
        found = []
        for kind, (curves, bar) in wanted.items():
            first = None if self.alarm(kind) else _first_above(curves, bar)
            if first is not None:
                most = _log_mean(curves[first])  # of each direction
                direction: Direction = kind if kind != "change" else "over" if most[0] >= most[1] else "under"
                found.append(Alarm(kind, direction, self.labels + first + 1, exp(_log_mean(curves[first].ravel()))))
        return tuple(sorted(found, key=lambda one: one.at))

    def as_json(self) -> dict[str, Any]:
        """Return the monitor as JSON values; `from_json` gives back the very same one."""
        lists = {name: [list(row) for row in getattr(self, name)] for name in ("stakes", "joined")}
        return {**asdict(self), **lists, "bets": list(self.bets), "alarms": [asdict(one) for one in self.alarms]}

    @classmethod
    def from_json(cls, value: Any) -> Monitor:
        """Build a monitor from JSON values.

        Raises:
            InvalidRequest: a field is missing, unknown or wrong.
        """
        if not isinstance(value, Mapping):
            raise InvalidRequest("the monitor is not a JSON object")
        try:
            tables = {name: tuple(tuple(map(float, row)) for row in value[name]) for name in ("stakes", "joined")}
            alarms = tuple(Alarm(**one) for one in value["alarms"])
            return cls(**{**value, **tables, "bets": tuple(value["bets"]), "alarms": alarms})
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(f"the monitor is not valid: {error!r}") from error


def by_item(confidence: ArrayLike, correct: ArrayLike, items: ArrayLike) -> tuple[Floats, Floats]:
    """Return the mean confidence and the share right of each item (k,), in the order in which items first come.

    A wrong box makes its neighbours' being wrong likelier, so that bets on one after the other would not be fair; a bet on their mean
    is. Each item then counts once, however many labels it has.
    """
    p, y, _ = _rows(confidence, correct, None, 1.0)
    names = np.asarray(items)
    if names.shape != p.shape:
        raise InvalidRequest(f"each label belongs to one item: there are {len(p)} labels, and items of shape {names.shape}")
    _, first, numbers = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)
    sizes = np.bincount(numbers)[order]
    return np.bincount(numbers, weights=p)[order] / sizes, np.bincount(numbers, weights=y)[order] / sizes


def _first_above(curves: Floats, bar: float) -> int | None:
    """Return the first row at which the mean of exp(curves) (n, …) reaches exp(bar)."""
    flat = curves.reshape(len(curves), -1)
    near = np.flatnonzero(flat.max(axis=1) >= bar)  # a mean is its greatest part at most
    above = near[_log_mean(flat[near]) >= bar]
    return int(above[0]) if len(above) else None


def _log_mean(logarithms: Floats) -> Floats:
    """Return the logarithm of the mean of exp over the last axis."""
    return np.asarray(np.logaddexp.reduce(logarithms, axis=-1) - log(logarithms.shape[-1]))


def _rows(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None, heaviest: float) -> tuple[Floats, Floats, Floats]:
    p, y = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    w = np.ones_like(p) if weights is None else np.asarray(weights, np.float64)
    if p.ndim != 1 or not p.shape == y.shape == w.shape:
        raise InvalidRequest(f"confidence, correctness and weights must be lists of one length, not {p.shape}, {y.shape} and {w.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise InvalidRequest("a confidence is NaN or outside 0 to 1")
    if not ((y >= 0) & (y <= 1)).all():
        raise InvalidRequest("a row's correctness is NaN or outside 0 (wrong) to 1 (right)")
    if not ((w > 0) & (w <= heaviest)).all():
        raise InvalidRequest(f"a weight is NaN, 0 or less, or above {heaviest:g}: clip weights, and make the monitor with the greatest one")
    return p, y, w


def _problem(monitor: Monitor) -> str:
    """Return what is wrong with a monitor's own fields; empty where nothing is."""
    if not (0 <= monitor.epsilon < 1 and 0 < monitor.alpha < 1 and monitor.run_length > 1 and 0 < monitor.heaviest < float("inf")):
        return "epsilon and alpha are probabilities, the run length is above 1 and the greatest weight above 0"
    # p - epsilon - y is -(1 + epsilon) at least, and so is its mirror: below this share, 1 + b (…) is above 0 for every label
    if not monitor.bets or not all(0 < bet * (1 + monitor.epsilon) < 1 for bet in monitor.bets):
        return f"each bet is above 0 and below 1 / (1 + epsilon), or a stake could become negative: {monitor.bets}"
    for table in (monitor.stakes, monitor.joined):
        shape = [len(row) for row in table]
        if table and (shape != [len(monitor.bets)] * 2 or not all(isfinite(one) for row in table for one in row)):
            return "stakes and joined hold one finite number for each direction and bet"
    if bool(monitor.stakes) != bool(monitor.joined) or monitor.labels < 0:
        return "labels, stakes and joined do not belong together"
    return _wrong_alarms(monitor)


def _wrong_alarms(monitor: Monitor) -> str:
    kinds = [one.kind for one in monitor.alarms]
    if len(set(kinds)) < len(kinds) or not set(kinds) <= set(get_args(AlarmKind)):
        return f"alarms of kinds {kinds}; each kind of {', '.join(get_args(AlarmKind))} comes once at most"
    if not all(0 < one.at <= monitor.labels and one.direction in get_args(Direction) for one in monitor.alarms):
        return "an alarm came at a label that there was not, or in no direction"
    return ""


def _tuples(table: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())
