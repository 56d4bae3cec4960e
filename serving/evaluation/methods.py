"""Which methods are fitted for a task, and which one wins: the default, unless another one does better on rows that neither has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from calibration.alternatives import challenger_wins
from calibration.features import WORD_FEATURES, word_features
from calibration.fit import fit_temperature, fit_temperature_bias, publishable
from calibration.fit_classes import fit_classes
from calibration.fit_isotonic import LEAST_ISOTONIC, fit_isotonic
from calibration.fit_vector import fit_vector
from calibration.fit_words import enough, fit_logistic
from calibration.measure import log_losses
from calibration.methods import Estimator, Method
from candor.manifest import Manifest
from candor.predictions import Floats, Transcript
from serving.evaluation.evaluate import class_losses
from serving.evaluation.rows import Outcome, Rows

LEAST_VECTOR = 2_000  # rows from which one scale and bias per class is tried at all


@dataclass(frozen=True)
class Fitted:
    """One method fitted on one side of the split. `fit` is what the record keeps of it."""

    method: Method
    parameters: Mapping[str, Any]
    fit: Mapping[str, Any]

    @property
    def estimator(self) -> Estimator:
        """The method, ready to be applied."""
        return Estimator(self.method, self.parameters)


def chosen(manifest: Manifest, fit_rows: Rows, select_rows: Rows, outcomes: Sequence[Outcome]) -> tuple[Fitted, list[str]]:
    """Fit the task's default, and its challengers where the rows suffice; return the winner and, in words, how each challenger did.

    A challenger must have the lower NLL on the selection rows with its whole 95 % interval.

    Raises:
        InvalidRequest: the rows can't hold the default.
    """
    champion = default(manifest, fit_rows)
    notes = []
    for name, make, missing in _challengers(manifest, fit_rows, outcomes):
        if missing:
            notes.append(f"{name} was not tried: {missing}")
            continue
        challenger = make()
        if len(np.unique(select_rows.cluster)) < 2:
            notes.append(f"{name} was not compared: too few sources to select on")
            continue
        before, after = (losses(one.estimator, select_rows, outcomes) for one in (champion, challenger))
        wins, gain = challenger_wins(before, after, select_rows.cluster)
        bounds = f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}) nats" if gain.high is not None else "no interval"
        notes.append(
            f"{name} {'won' if wins else 'did not win'} against {champion.method}: NLL {bounds} on {len(select_rows.correct)} rows"
        )
        champion = challenger if wins else champion
    return champion, notes


def default(manifest: Manifest, rows: Rows) -> Fitted:
    """Fit a task's default method.

    Raises:
        InvalidRequest: the rows can't hold it.
    """
    if manifest.task == "classification":
        of_image = publishable(fit_temperature(rows.logits, rows.truth if rows.truth is not None else np.zeros(0, np.int64)))
        return Fitted("temperature", {"temperature": of_image.temperature}, of_image.as_json())
    if manifest.task == "detection":
        return by_class(manifest, rows, rows.correct)
    of_word = publishable(fit_temperature_bias(rows.logits, rows.correct))
    return Fitted("word_temperature_bias", {"temperature": of_word.temperature, "bias": of_word.bias}, of_word.as_json())


def by_class(manifest: Manifest, rows: Rows, correct: Floats) -> Fitted:
    """Fit detection's method for one event: `correct` (n,) says of each box whether it happened.

    Raises:
        InvalidRequest: the rows can't hold it.
    """
    class_index = rows.class_index if rows.class_index is not None else np.zeros(0, np.int64)
    fit = fit_classes(rows.logits, class_index, correct, len(manifest.labels))
    publishable(fit.pooled)
    return Fitted("class_temperature_bias", fit.parameters, fit.as_json())


def losses(estimator: Estimator, rows: Rows, outcomes: Sequence[Outcome]) -> Floats:
    """NLL of each row, in nats: over all classes for classification, else of right or wrong."""
    over_classes = class_losses(estimator, rows)
    if "confidence" in over_classes:
        return over_classes["confidence"]
    confidence = rows.attached(outcomes, estimator).confidence
    return log_losses(confidence if confidence is not None else np.zeros(0), rows.correct)


def _challengers(manifest: Manifest, rows: Rows, outcomes: Sequence[Outcome]) -> list[tuple[Method, Callable[[], Fitted], str]]:
    """Return each challenger's name, its fit, and why it is not tried (empty where it is)."""
    n = len(rows.correct)
    if manifest.task == "classification":
        return [("vector", partial(_vector, rows), "" if n >= LEAST_VECTOR else f"{n} rows, and it takes {LEAST_VECTOR:,}")]
    if manifest.task == "detection":
        return [("isotonic", partial(_isotonic, rows), "" if n >= LEAST_ISOTONIC else f"{n} rows, and it takes {LEAST_ISOTONIC:,}")]
    return [("word_logistic", partial(_words, rows, outcomes), enough(rows.correct))]


def _vector(rows: Rows) -> Fitted:
    fit = fit_vector(rows.logits, rows.truth if rows.truth is not None else np.zeros(0, np.int64))
    publishable(fit.temperature)
    return Fitted("vector", fit.parameters, fit.as_json())


def _isotonic(rows: Rows) -> Fitted:
    return Fitted("isotonic", fit_isotonic(rows.logits, rows.correct), {"n": len(rows.correct)})


def _words(rows: Rows, outcomes: Sequence[Outcome]) -> Fitted:
    features = np.zeros((len(rows.correct), len(WORD_FEATURES)))
    for index in np.unique(rows.item):
        outcome, mine = outcomes[index], rows.item == index
        assert isinstance(outcome, Transcript)  # noqa: S101 - rows of words come from transcripts
        features[mine] = word_features(outcome)[rows.position[mine]]
    fit = fit_logistic(features, rows.correct, rows.cluster)
    return Fitted("word_logistic", fit.parameters(WORD_FEATURES), fit.as_json())
