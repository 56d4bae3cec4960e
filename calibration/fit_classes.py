"""Fit temperature and bias by class, shrunk towards what all classes share: the calibration of a detector's boxes.

confidence = sigmoid((a + da_c) logit + (b + db_c)), with da_c ~ N(0, 0.2^2) and db_c ~ N(0, 0.5^2): the most probable parameters of a
hierarchical logistic model (Gelman et al., Bayesian Data Analysis, 2013, chapter 5). A class with many boxes gets its own line, one
with few stays near the shared one, and one with none has the shared one. Fitted without shrinkage, rare classes overfit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds, minimize
from scipy.special import expit

from calibration.fit import WIDEST, Fit, fit_temperature_bias
from candor.errors import InvalidRequest
from candor.predictions import Floats, Ints

SPREADS = (0.2, 0.5)  # standard deviations of da and db over classes
LEAST_SLOPE = 0.05  # a confidence rises with the score in every class, so that the order within a class never changes
_GRADIENT = 1e-6  # as in `fit`: converged where the gradient of the mean is below it


@dataclass(frozen=True, slots=True, eq=False)
class ClassFit:
    """A fitted calibration by class. `pooled` is the fit that knows no classes: it lends its interval and `at_bound`.

    `slope` and `bias` are (classes,), `rows` (classes,) counts each class's rows, `shared_slope` and `shared_bias` are a and b.
    `nll_after` is the mean NLL over the fitted rows, in nats, without the penalty.
    """

    pooled: Fit
    slope: Floats
    bias: Floats
    rows: Ints
    shared_slope: float
    shared_bias: float
    nll_after: float

    @property
    def n(self) -> int:
        """How many rows it was fitted on."""
        return self.pooled.n

    @property
    def low(self) -> float:
        """Lower end of the 95 % profile-likelihood interval of the pooled temperature."""
        return self.pooled.low

    @property
    def high(self) -> float:
        """Upper end of the same."""
        return self.pooled.high

    @property
    def at_bound(self) -> bool:
        """Whether the data don't determine the pooled temperature: `fit.publishable(fit.pooled)` then refuses."""
        return self.pooled.at_bound

    @property
    def nll_before(self) -> float:
        """Mean NLL of the raw scores."""
        return self.pooled.nll_before

    @property
    def parameters(self) -> dict[str, list[float]]:
        """Parameters of the method `class_temperature_bias`."""
        return {"slope": self.slope.tolist(), "bias": self.bias.tolist()}

    def as_json(self) -> dict[str, Any]:
        """Return what a record says of its fit. `temperature`, `bias`, `low` and `high` are the pooled fit's."""
        return {
            **self.pooled.as_json(),
            "nll_pooled": self.pooled.nll_after,
            "nll_after": self.nll_after,
            "shared": {"slope": self.shared_slope, "bias": self.shared_bias},
            "classes": len(self.rows),
            "classes_with_rows": int((self.rows > 0).sum()),
        }


def fit_classes(
    logit: ArrayLike, class_index: ArrayLike, correct: ArrayLike, classes: int, spreads: tuple[float, float] = SPREADS
) -> ClassFit:
    """Fit a shrunk temperature and bias for each of `classes` classes. All three lists are (n,); `correct` is 0 or 1.

    `spreads` are the standard deviations of da and db over classes. Where the pooled fit runs into its bounds, every class has
    the pooled values.

    Raises:
        InvalidRequest: see `fit.fit_temperature_bias`; or a class outside 0 to `classes` - 1.
    """
    pooled = fit_temperature_bias(logit, correct)
    z, y = np.asarray(logit, np.float64), np.asarray(correct, np.float64)
    c = _checked_classes(class_index, len(z), classes)
    rows = np.bincount(c, minlength=classes)
    a, b = 1 / pooled.temperature, pooled.bias or 0.0
    slope, bias = np.full(classes, a), np.full(classes, b)
    if not pooled.at_bound:
        present, numbers = np.unique(c, return_inverse=True)
        slope_of, bias_of = _most_probable(z, y, numbers, (a, b), spreads)
        a, b = float(slope_of.mean()), float(bias_of.mean())
        slope[:], bias[:] = a, b
        slope[present], bias[present] = slope_of, bias_of
    q = slope[c] * z + bias[c]
    return ClassFit(pooled, slope, bias, rows, a, b, float((np.logaddexp(0, q) - y * q).mean()))


def _most_probable(z: Floats, y: Floats, c: Ints, start: tuple[float, float], spreads: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return slope and bias (m,) of the m classes that have rows, `c` (n,) being their numbers.

    The penalty is least where a and b are the means of the classes' own values, so they need no parameters of their own.
    Parameters are in units of their spread, which makes the penalty's curvature 1 in each.
    """
    n, m = len(z), int(c.max()) + 1
    units = np.repeat(spreads, m)

    def objective(parameters: Floats) -> tuple[float, Floats]:
        slope, bias = np.split(parameters * units, 2)
        q = slope[c] * z + bias[c]
        wrong = expit(q) - y
        off = (parameters.reshape(2, m) - parameters.reshape(2, m).mean(axis=1, keepdims=True)).ravel()
        data = np.concatenate([np.bincount(c, wrong * z, m), np.bincount(c, wrong, m)])
        return float((np.logaddexp(0, q) - y * q).sum() + off @ off / 2) / n, (data * units + off) / n

    low = np.repeat((LEAST_SLOPE, -np.inf), m) / units
    high = np.repeat((WIDEST, np.inf), m) / units
    first = np.repeat(start, m) / units
    options = {"ftol": 0, "gtol": 1e-9, "maxiter": 2000}
    answer = minimize(objective, first, jac=True, method="L-BFGS-B", bounds=Bounds(low, high), options=options)
    gradient = objective(answer.x)[1]
    free = ~((answer.x <= low) & (gradient > 0)) & ~((answer.x >= high) & (gradient < 0))
    if not np.isfinite(answer.x).all() or np.abs(gradient[free]).max(initial=0.0) > _GRADIENT:
        raise InvalidRequest(f"the fit by class did not converge on these {n} rows: {answer.message}")
    slope, bias = np.split(answer.x * units, 2)
    return np.maximum(slope, LEAST_SLOPE), bias


def _checked_classes(class_index: ArrayLike, n: int, classes: int) -> Ints:
    c = np.asarray(class_index)
    if c.shape != (n,):
        raise InvalidRequest(f"there must be one class for each of the {n} rows, not {c.shape}")
    if not np.issubdtype(c.dtype, np.integer) or c.min() < 0 or c.max() >= classes:
        raise InvalidRequest(f"a class is not an index from 0 to {classes - 1}")
    return c.astype(np.int64)
