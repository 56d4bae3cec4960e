"""Alarms about reviewers who let errors pass, whose rate of false ones holds however often one looks.

`Detector` judges honeypots against the policy's floor: does the reviewer still catch 80 in 100? Each honeypot multiplies a stake by the
likelihood ratio of a worse catch rate p1 against the floor p0: p1 / p0 where it was caught, (1 - p1) / (1 - p0) where it was missed. Where
the true rate is p0 or more, no honeypot can be expected to make it grow. Shiryaev-Roberts adds a new stake at each honeypot, R = (R + 1) e,
averaged over several p1: it finds people who begin to stamp late, as a stake that has shrunk for long does not. On average at least
10,000 honeypots of an honest reviewer go by before a false alarm.

`Screen` does the same with all reviews: are ordinary drafts, whose truth nobody knows, corrected as often as calibrated confidence says,
and honeypots caught? It depends on a calibration that may be wrong, so it accuses nobody: it only raises the rate of honeypots for a while.

Sources: Shiryaev (1963), Roberts (1966); Shin, Ramdas and Rinaldo, "E-detectors" (2022); Wang and Ramdas, "False discovery rate control
with e-values" (JRSS B, 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp, isfinite, log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from candor.errors import InvalidRequest
from candor.predictions import Floats

FLOOR = 0.8
WORSE = (0.1, 0.2, 0.35, 0.5)  # catch rates of people who don't look
RUN_LENGTH = 10_000.0  # honeypots of an honest reviewer until a false alarm, on average at least
SCREEN = 4_000.0  # of ordinary reviews, likewise
CATCH, SLACK = 0.9, 0.9  # an attentive reviewer corrects this share of wrong drafts; and the confidence may be wrong by that much
_KEPT = 400  # latest honeypots that are kept as evidence


# --- any number of reviewers at once


def log_odds_of(missed: ArrayLike, floor: float = FLOOR, worse: Sequence[float] = WORSE) -> Floats:
    """Return the logarithms (…, k) of what each honeypot (…) multiplies the stakes by, one for each worse rate."""
    rates = np.asarray(worse, np.float64)
    return np.where(np.asarray(missed, np.bool_)[..., None], np.log((1 - rates) / (1 - floor)), np.log(rates / floor))


def log_odds_of_review(corrected: ArrayLike, right: ArrayLike, worse: Sequence[float] = WORSE) -> Floats:
    """Return the same for ordinary reviews: `right` is the calibrated probability that the draft needs no change.

    An attentive reviewer corrects with q0 = (1 - p) x 0.9 x 0.9 at least, and one who catches p1 of wrong drafts with q0 p1 / 0.9.
    """
    expected = (1 - np.clip(np.asarray(right, np.float64), 0, 1)) * CATCH * SLACK
    ratio = np.asarray(worse, np.float64) / CATCH
    passed = np.log1p(-expected[..., None] * ratio) - np.log1p(-expected)[..., None]
    return np.where(np.asarray(corrected, np.bool_)[..., None], np.log(ratio), passed)


def advance(log_r: Floats, log_e: Floats) -> Floats:
    """Return log R after one more observation, R = (R + 1) e; R begins at 0, whose logarithm is -inf."""
    # the logaddexp of log R and 0, by operations that run on many numbers at once
    return np.asarray(np.maximum(log_r, 0.0) + np.log1p(np.exp(-np.abs(log_r))) + log_e)


def log_mixture(logarithms: Floats) -> Floats:
    """Return the logarithm (…) of the mean over the worse rates."""
    most = np.max(logarithms, axis=-1, keepdims=True)
    most = np.where(np.isfinite(most), most, 0.0)
    with np.errstate(divide="ignore"):  # all of them may be -inf, R not having begun
        return np.asarray(np.log(np.exp(logarithms - most).mean(axis=-1)) + most[..., 0])


# --- one reviewer's honeypots


@dataclass(frozen=True, slots=True)
class Seen:
    """One honeypot that was reviewed."""

    item: str
    missed: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """Why a reviewer is suspected, and how sure that is.

    `at` is the honeypot, counted from 1, at which `value` reached `run_length`. Misses most likely set in `since` honeypots before: of
    these `n` `misses` were missed, and `items` names them. `first` and `last` delimit them; more than 400 are not looked back on.
    """

    at: int
    value: float
    n: int
    misses: int
    items: tuple[str, ...]
    first: str
    last: str
    floor: float = FLOOR
    run_length: float = RUN_LENGTH

    @property
    def says(self) -> str:
        """The alarm in words, for the notice."""
        return (
            f"{self.misses} of the last {self.n} honeypots were missed, where at most {1 - self.floor:.0%} may be; an honest reviewer "
            f"causes a false alarm once in {self.run_length:,.0f} honeypots or more"
        )


@dataclass(frozen=True, slots=True)
class Detector:
    """What must be remembered of one reviewer between honeypots: a value, never changed; `run` and `update` return the next one.

    The alarm is latched: it stays until somebody clears it (`cleared`), and nothing that comes later takes it back. `stake` holds the
    logarithms of the start-at-zero stakes, whose mean is the e-value of the whole record, for `accused`.
    """

    floor: float = FLOOR
    worse: tuple[float, ...] = WORSE
    run_length: float = RUN_LENGTH
    honeypots: int = 0
    log_r: tuple[float, ...] = ()  # empty before the first honeypot, where R is 0
    stake: tuple[float, ...] = ()
    recent: tuple[Seen, ...] = ()
    alarm: Alarm | None = None

    def __post_init__(self) -> None:
        if found := _problem(self):
            raise InvalidRequest(f"the detector is not valid: {found}")
        object.__setattr__(self, "stake", self.stake or (0.0,) * len(self.worse))

    @property
    def value(self) -> float:
        """R now."""
        return exp(float(log_mixture(np.asarray(self.log_r)))) if self.log_r else 0.0

    @property
    def evidence(self) -> float:
        """The e-value of all honeypots so far: of an honest reviewer it is above x with probability 1 / x at most, at any time."""
        return exp(float(log_mixture(np.asarray(self.stake))))

    def update(self, item: str, *, missed: bool) -> Detector:
        """Return the detector after one more honeypot. One that was noticed, though not put right, was not missed: somebody looked."""
        log_e = log_odds_of(missed, self.floor, self.worse)
        log_r = advance(np.asarray(self.log_r) if self.log_r else np.full(len(self.worse), -np.inf), log_e)
        stake = np.asarray(self.stake) + log_e
        recent = (*self.recent, Seen(item, missed))[-_KEPT:]
        then = replace(self, honeypots=self.honeypots + 1, log_r=tuple(log_r.tolist()), stake=tuple(stake.tolist()), recent=recent)
        value = float(log_mixture(log_r))
        if self.alarm is None and value >= log(self.run_length):
            return replace(then, alarm=then._explained(exp(min(value, 700.0))))
        return then

    def run(self, honeypots: Sequence[tuple[str, bool]]) -> Detector:
        """Return the detector after more honeypots (item, missed), in the order in which they were reviewed."""
        state = self
        for item, missed in honeypots:
            state = state.update(item, missed=missed)
        return state

    def cleared(self) -> Detector:
        """Return a detector that begins anew, for after somebody looked into the alarm: its evidence is spent."""
        return Detector(self.floor, self.worse, self.run_length)

    def _explained(self, value: float) -> Alarm:
        """Return the alarm with the stretch of honeypots that speaks most against the reviewer: where the largest stake began."""
        steps = log_odds_of([one.missed for one in self.recent], self.floor, self.worse)
        tails = np.cumsum(steps[::-1], axis=0)[::-1]
        since = int(np.argmax(tails.max(axis=1)))
        seen = self.recent[since:]
        missed = tuple(one.item for one in seen if one.missed)
        ends = (seen[0].item, seen[-1].item)
        return Alarm(self.honeypots, value, len(seen), len(missed), missed, *ends, self.floor, self.run_length)

    def as_json(self) -> dict[str, Any]:
        """Return the detector as JSON values; `from_json` gives back the very same one."""
        found = {name: list(getattr(self, name)) for name in ("worse", "log_r", "stake")}
        alarm = None if self.alarm is None else {**asdict(self.alarm), "items": list(self.alarm.items)}
        kept = {"floor": self.floor, "run_length": self.run_length, "honeypots": self.honeypots, "alarm": alarm}
        return {**kept, **found, "recent": [[one.item, one.missed] for one in self.recent]}

    @classmethod
    def from_json(cls, value: Any) -> Detector:
        """Build a detector from JSON values.

        Raises:
            InvalidRequest: a field is missing, unknown or wrong.
        """
        if not isinstance(value, Mapping):
            raise InvalidRequest("the detector is not a JSON object")
        try:
            tables = {name: tuple(float(one) for one in value[name]) for name in ("worse", "log_r", "stake")}
            recent = tuple(Seen(str(item), bool(missed)) for item, missed in value["recent"])
            alarm = value["alarm"]
            if alarm is not None:
                alarm = Alarm(**{**alarm, "items": tuple(alarm["items"])})
            return cls(**{**value, **tables, "recent": recent, "alarm": alarm})
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(f"the detector is not valid: {error!r}") from error


# --- all reviews of one reviewer


@dataclass(frozen=True, slots=True)
class Screen:
    """A look at all reviews of drafts that were shown: where too few are corrected, honeypots come more often for a while.

    `left` is how many further items of the reviewer get the raised rate. R begins anew after each time, so that a stretch of honeypots
    is asked for once and not for ever.
    """

    worse: tuple[float, ...] = WORSE
    threshold: float = SCREEN
    raised_items: int = 150
    reviews: int = 0
    times: int = 0
    left: int = 0
    log_r: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        fits = self.threshold > 1 and self.raised_items > 0 and 0 <= self.left <= self.raised_items and 0 <= self.times <= self.reviews
        if not fits or not _rates(self.worse, FLOOR) or not _logs(self.log_r, self.worse):
            raise InvalidRequest("the screen is not valid: a threshold above 1, worse rates below 0.8, and counts that belong together")

    @property
    def raised(self) -> bool:
        """Whether the next item is drawn with the raised rate."""
        return self.left > 0

    def drawn(self) -> Screen:
        """Return the screen after one more item was drawn for the reviewer, of whatever arm."""
        return replace(self, left=self.left - 1) if self.left else self

    def update(self, *, corrected: bool, right: float) -> Screen:
        """Return the screen after one more review of a natural draft whose calibrated probability of standing is `right`."""
        return self._after(log_odds_of_review(corrected, right, self.worse))

    def honeypot(self, *, missed: bool) -> Screen:
        """Return the screen after one more honeypot: few as they are, each says more than many ordinary reviews."""
        return self._after(log_odds_of(missed, FLOOR, self.worse))

    def _after(self, log_e: Floats) -> Screen:
        log_r = advance(np.asarray(self.log_r) if self.log_r else np.full(len(self.worse), -np.inf), log_e)
        if float(log_mixture(log_r)) >= log(self.threshold):
            return replace(self, reviews=self.reviews + 1, times=self.times + 1, left=self.raised_items, log_r=())
        return replace(self, reviews=self.reviews + 1, log_r=tuple(log_r.tolist()))

    def as_json(self) -> dict[str, Any]:
        """Return the screen as JSON values; `from_json` gives back the very same one."""
        return {**asdict(self), "worse": list(self.worse), "log_r": list(self.log_r)}

    @classmethod
    def from_json(cls, value: Any) -> Screen:
        """Build a screen from JSON values.

        Raises:
            InvalidRequest: a field is missing, unknown or wrong.
        """
        try:
            return cls(**{**value, "worse": tuple(map(float, value["worse"])), "log_r": tuple(map(float, value["log_r"]))})
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(f"the screen is not valid: {error!r}") from error


# --- over reviewers


def accused(evidence: ArrayLike, alpha: float = 0.05) -> NDArray[np.bool_]:
    """Return who of many reviewers (n,) may be named at once, so that at most a share alpha of the named is expected to be honest.

    The k with the largest e-values are named, k the greatest number with e_(k) >= n / (k alpha). It holds however they depend.

    Source: Wang and Ramdas (2022), the e-BH procedure. `evidence` are e-values (`Detector.evidence`), not R, which is none.
    """
    values = np.asarray(evidence, np.float64)
    if values.ndim != 1 or not (values >= 0).all() or not 0 < alpha < 1:
        raise InvalidRequest("evidence is a list of e-values, not negative, and alpha is between 0 and 1")
    n = len(values)
    order = np.argsort(-values, kind="stable")
    enough = np.flatnonzero(values[order] >= n / (np.arange(1, n + 1) * alpha))
    named = np.zeros(n, np.bool_)
    if len(enough):
        named[order[: enough[-1] + 1]] = True
    return named


def _rates(worse: Sequence[float], below: float) -> bool:
    return bool(worse) and all(0 < one < below for one in worse)


def _logs(some: Sequence[float], worse: Sequence[float]) -> bool:
    return len(some) in (0, len(worse)) and all(isfinite(one) for one in some)


def _problem(detector: Detector) -> str:
    if not (0 < detector.floor < 1 and detector.run_length > 1 and _rates(detector.worse, detector.floor)):
        return "the floor is between 0 and 1, the worse rates lie below it, and the run length is above 1"
    if not (_logs(detector.log_r, detector.worse) and _logs(detector.stake, detector.worse) and detector.honeypots >= len(detector.recent)):
        return "honeypots, stakes and R do not belong together"
    return "" if bool(detector.honeypots) == bool(detector.log_r) else "R is known after the first honeypot, and not before"
