"""Fit structured vector scaling: a temperature for all classes, and a small scale and bias of each class's own. The challenger.

confidence = softmax((1 + v_c) x_c + b_c), x = logits / T, after Berta, Holzmueller, Jordan and Bach, "Structured Matrix Scaling for
Multi-Class Calibration", arXiv 2511.03685, 2025: first a temperature, then a ridge penalty on what departs from it. Their penalty is
a power of the number of classes over a power of the number of rows, tuned on many data sets. Here it is 1 / (2 n s^2), where s, the
spread of v or b over classes, is estimated from the same rows by the method of moments (as DerSimonian and Laird, 1986, do for
the spread of effects over studies), and is 0 where chance would explain it: with a truth that is a mere temperature nothing is left to
overfit.

It may change which class is the most probable: `VectorFit.changed` says how often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds, minimize
from scipy.special import logsumexp, softmax

from calibration.fit import Fit, fit_temperature
from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

_GUESS = (0.2, 0.5)  # spreads of v and b that the estimate of the real ones weighs classes for
_MOST = (0.5, 2.0)  # and the widest that are taken from data
_SURE = 2.0  # standard deviations of what chance alone would show: less than so much is no spread
_LEAST_SCALE = 0.1  # of 1 + v: a class's confidence rises with its logit
_GRADIENT = 1e-3  # of the summed NLL, in units of each parameter's standard deviation: the search ends there


@dataclass(frozen=True, slots=True, eq=False)
class VectorFit:
    """A fitted vector scaling: confidence = softmax(scale logits + bias), both (k,), for logits as the model gives them.

    Other than a temperature it is not indifferent to a constant added to a row's logits. `scale_spread` and `bias_spread` are the
    estimated s of v and b; where both are 0 this is the temperature alone. NLL is over the fitted rows, in nats.
    """

    temperature: Fit
    scale: Floats
    bias: Floats
    scale_spread: float
    bias_spread: float
    nll_after: float

    @property
    def n(self) -> int:
        """How many rows it was fitted on."""
        return self.temperature.n

    @property
    def at_bound(self) -> bool:
        """Whether the data don't determine the temperature."""
        return self.temperature.at_bound

    @property
    def nll_before(self) -> float:
        """Mean NLL of the raw logits."""
        return self.temperature.nll_before

    @property
    def parameters(self) -> dict[str, list[float]]:
        """Parameters of the method `vector`."""
        return {"scale": self.scale.tolist(), "bias": self.bias.tolist()}

    def losses(self, logits: ArrayLike, truth: ArrayLike) -> Floats:
        """NLL of each row (n,) in nats, for logits (n, k)."""
        return _losses(self.scale * np.asarray(logits, np.float64) + self.bias, np.asarray(truth))

    def changed(self, logits: ArrayLike) -> float:
        """Share of rows of logits (n, k) in which another class is the most probable than before; 0 of none."""
        z = np.asarray(logits, np.float64)
        return float((z.argmax(axis=1) != (self.scale * z + self.bias).argmax(axis=1)).mean()) if len(z) else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what a record says of its fit. `temperature`, `low` and `high` are those of the temperature fitted first."""
        return {
            **self.temperature.as_json(),
            "nll_temperature": self.temperature.nll_after,
            "nll_after": self.nll_after,
            "scale_spread": self.scale_spread,
            "bias_spread": self.bias_spread,
        }


def fit_vector(logits: ArrayLike, truth: ArrayLike) -> VectorFit:
    """Fit vector scaling to `logits` (n, k) and `truth` (n,), class indices.

    v multiplies a logit's distance from the class's own centre, where v and b are uncorrelated.

    Raises:
        InvalidRequest: see `fit.fit_temperature`; or no convergence.
    """
    shared = fit_temperature(logits, truth)
    x, y = np.asarray(logits, np.float64) / shared.temperature, np.asarray(truth).astype(np.int64)
    p = softmax(x, axis=1)
    weight = p * (1 - p)
    known = weight.sum(axis=0)
    centre = np.divide((weight * x).sum(axis=0), known, out=x.mean(axis=0), where=known > 1e-9)
    rows = _Rows(x, x - centre, y)
    spreads = (0.0, 0.0) if shared.at_bound else rows.spreads(p)
    v, b = rows.most_probable(p, spreads) if any(spreads) else np.zeros((2, x.shape[1]))
    after = float(_losses(x + v * (x - centre) + b, y).mean())
    return VectorFit(shared, (1 + v) / shared.temperature, b - v * centre, *spreads, after)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Scaled logits (n, k), their distances from the classes' centres, and the truths (n,)."""

    x: Floats
    distance: Floats
    truth: Ints

    def gradients(self, p: Floats) -> Floats:
        """Slopes (2, k) of the summed NLL in v and b, given the probabilities (n, k)."""
        k = p.shape[1]
        reached = np.bincount(self.truth, self.distance[np.arange(len(p)), self.truth], k)
        return np.stack([(p * self.distance).sum(axis=0) - reached, p.sum(axis=0) - np.bincount(self.truth, minlength=k)])

    def spreads(self, p: Floats) -> tuple[float, float]:
        """Estimated standard deviations of v and b over classes."""
        slopes = self.gradients(p)
        parts = ((p * self.distance, (p * self.distance**2).sum(axis=0)), (p, p.sum(axis=0)))
        v, b = (_spread(*one) for one in zip(slopes, *zip(*parts, strict=True), _GUESS, _MOST, strict=True))
        return v, b

    def most_probable(self, p: Floats, spreads: tuple[float, float]) -> Floats:
        """Return v and b (2, k) of least NLL and penalty. The search is in units of each parameter's own standard deviation."""
        k = p.shape[1]
        precision = np.array([[1 / s**2 if s else np.inf] for s in spreads])
        curvature = np.stack([(p * (1 - p) * self.distance**2).sum(axis=0), (p * (1 - p)).sum(axis=0)])
        units = 1 / np.sqrt(curvature + precision)
        finite = np.where(np.isfinite(precision), precision, 0.0)  # a parameter without spread has unit 0, and stays at 0
        at = np.arange(len(p))

        def objective(parameters: Floats) -> tuple[float, Floats]:
            both = parameters.reshape(2, k) * units
            q = self.x + self.distance * both[0] + both[1]
            total = logsumexp(q, axis=1, keepdims=True)
            loss = float((total[:, 0] - q[at, self.truth]).sum() + (finite * both**2).sum() / 2)
            return loss, ((self.gradients(np.exp(q - total)) + finite * both) * units).ravel()

        low = np.full((2, k), -np.inf)
        low[0] = np.divide(_LEAST_SCALE - 1, units[0], out=low[0], where=units[0] > 0)
        options = {"ftol": 1e-13, "gtol": _GRADIENT, "maxiter": 300}
        answer = minimize(objective, np.zeros(2 * k), jac=True, method="L-BFGS-B", bounds=Bounds(low.ravel(), np.inf), options=options)
        if not answer.success or not np.isfinite(answer.x).all():
            raise InvalidRequest(f"the fit of vector scaling did not converge on these {len(p)} rows: {answer.message}")
        return np.asarray(answer.x.reshape(2, k) * units)


def _losses(logits: Floats, truth: Ints) -> Floats:
    return np.asarray(logsumexp(logits, axis=1) - logits[np.arange(len(logits)), truth])


def _spread(slope: Floats, part: Floats, diagonal: Floats, guess: float, most: float) -> float:
    """Standard deviation of a parameter over classes, from the NLL's slopes (k,) where the parameter is 0 in all.

    The NLL's curvature is H = diag(diagonal) - part' part. If the parameters are drawn with spread s, the mean of slope_c^2 is
    H_cc + s^2 (H H)_cc; classes are weighed as is best where s is about `guess`. At most `most`; and 0 unless the slopes are larger
    than chance makes them.
    """
    gram = part @ part.T if len(part) < part.shape[1] else part.T @ part
    crossed = ((gram @ part) * part).sum(axis=0) if len(part) < part.shape[1] else (gram**2).sum(axis=1)
    own = (part**2).sum(axis=0)
    noise, signal = diagonal - own, crossed - 2 * diagonal * own + diagonal**2
    weight = 1 / (1 + guess**2 * noise) ** 2
    there = float((weight * signal).sum())
    excess, by_chance = float((weight * (slope**2 - noise)).sum()), float(np.sqrt(2 * ((weight * noise) ** 2).sum()))
    return min(float(np.sqrt(excess / there)), most) if there > 1e-9 and excess > _SURE * by_chance else 0.0
