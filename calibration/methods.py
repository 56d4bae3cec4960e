"""The methods that a calibration can use: what parameters each has, and the probabilities that it gives for one prediction.

temperature              classification   softmax(z / temperature)
vector                   classification   softmax(scale z + bias), scale and bias by class
top_temperature_bias     classification   sigmoid(logit(p) / temperature + bias) for the top label's softmax probability p; what is left
                                          is shared among the others as the softmax shares it
temperature_bias         detection        sigmoid(logit / temperature + bias)
class_temperature_bias   detection        sigmoid(slope logit + bias), slope and bias by class
isotonic                 detection        a rising step-free curve through (x, y), x a logit
word_temperature_bias    transcription    sigmoid(logit / temperature + bias) on each word's logit
word_logistic            transcription    sigmoid of a weighted sum of a word's features
segment_logistic         transcription    the same for segments, for the event `segment`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from scipy.special import expit

from calibration.features import SEGMENT_FEATURES, WORD_FEATURES, segment_features, word_features
from candor.predictions import Classification, Detections, Floats, Prediction, Task, Transcript
from candor.tasks import softmax

Method: TypeAlias = Literal[
    "temperature",
    "vector",
    "top_temperature_bias",
    "temperature_bias",
    "class_temperature_bias",
    "isotonic",
    "word_temperature_bias",
    "word_logistic",
    "segment_logistic",
]

METHODS: Mapping[Task, tuple[Method, ...]] = {
    "classification": ("temperature", "vector", "top_temperature_bias"),
    "detection": ("temperature_bias", "class_temperature_bias", "isotonic"),
    "transcription": ("word_temperature_bias", "word_logistic"),
}
EVENTS: Mapping[Task, Mapping[str, tuple[Method, ...]]] = {  # further events that a calibration may estimate beside its own
    "classification": {},
    "detection": {"no_edit": METHODS["detection"]},
    "transcription": {"segment": ("segment_logistic",)},
}

_LINE = ("temperature", "bias")
_LOGISTIC = ("features", "centre", "scale", "weights", "bias")
_PARAMETERS: Mapping[Method, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "vector": ("scale", "bias"),
    "top_temperature_bias": _LINE,
    "temperature_bias": _LINE,
    "class_temperature_bias": ("slope", "bias"),
    "isotonic": ("x", "y"),
    "word_temperature_bias": _LINE,
    "word_logistic": _LOGISTIC,
    "segment_logistic": _LOGISTIC,
}
_GREATEST = 1e6  # of any parameter: beyond it a product with a logit overflows, and NaN is never "at most"
_NUMBERS = {"temperature"}
_SCALAR_BIAS = ("top_temperature_bias", "temperature_bias", "word_temperature_bias", "word_logistic", "segment_logistic")
_FEATURES: Mapping[str, Sequence[str]] = {"word_logistic": WORD_FEATURES, "segment_logistic": SEGMENT_FEATURES}


@dataclass(frozen=True)
class Estimator:
    """One method with its parameters, ready to be applied."""

    method: Method
    parameters: Mapping[str, Any]

    @cached_property
    def arrays(self) -> dict[str, Any]:
        """The parameters as arrays, made once."""
        return {name: np.asarray(value, np.float64) for name, value in self.parameters.items() if name != "features"}

    def __call__(self, prediction: Prediction, words: Floats | None = None) -> Floats:
        """Return the probabilities: one per box, class, word, or (segment_logistic, given the words' own) segment."""
        return _APPLY[self.method](self.arrays, prediction, words)


def problem(method: object, parameters: Mapping[str, Any], allowed: Sequence[str]) -> str:
    """Return what is wrong with a method and its parameters; empty where nothing is."""
    if method not in allowed or method not in get_args(Method):
        return f"method {method!r}; known here: {', '.join(allowed)}"
    expected = _PARAMETERS[method]  # type: ignore[index]
    if set(parameters) != set(expected):
        return f"parameters {sorted(parameters)}; {method} has {sorted(expected)}"
    for name, value in parameters.items():
        if name != "features" and (found := _wrong(name, value)):
            return found
    if parameters.get("temperature", 1) <= 0:
        return f"temperature {parameters['temperature']} is not above 0"
    return _misshapen(str(method), parameters)


def _wrong(name: str, value: Any) -> str:
    items = value if isinstance(value, list | tuple) and name not in _NUMBERS else [value]
    bad = [one for one in items if isinstance(one, bool) or not isinstance(one, int | float) or not abs(one) <= _GREATEST]
    return f"parameter {name} is {bad[0]!r}" if bad else ""


def _misshapen(method: str, parameters: Mapping[str, Any]) -> str:
    if method in _SCALAR_BIAS and isinstance(parameters["bias"], list | tuple):
        return f"the bias of {method} is one number"
    if method == "isotonic" and (found := _no_curve(parameters["x"], parameters["y"])):
        return found
    if method in _FEATURES:
        known = list(_FEATURES[method])
        if list(parameters["features"]) != known:
            return f"it was fitted on the features {list(parameters['features'])}, and this release has {known}: fit it anew"
        if any(not isinstance(parameters[name], list | tuple) or len(parameters[name]) != len(known) for name in _LOGISTIC[1:4]):
            return f"{method} has one centre, scale and weight for each of its {len(known)} features"
    pairs = {"vector": ("scale", "bias"), "class_temperature_bias": ("slope", "bias")}
    if method in pairs:
        one, other = (parameters[name] for name in pairs[method])
        if not isinstance(one, list | tuple) or not isinstance(other, list | tuple) or len(one) != len(other) or not one:
            return f"{' and '.join(pairs[method])} of {method} are two lists of one length"
    return ""


def _no_curve(x: Any, y: Any) -> str:
    if not isinstance(x, list | tuple) or not isinstance(y, list | tuple) or len(x) != len(y) or not x:
        return "x and y of isotonic are two lists of one length"
    if any(a > b for values in (x, y) for a, b in pairwise(values)) or not 0 <= y[0] <= y[-1] <= 1:
        return "isotonic is a rising curve of probabilities: neither x nor y falls, and y is from 0 to 1"
    return ""


def _temperature(arrays: Mapping[str, Any], prediction: Any, _words: Floats | None) -> Floats:
    return softmax(np.asarray(prediction.logits, np.float64) / arrays["temperature"])


def _vector(arrays: Mapping[str, Any], prediction: Any, _words: Floats | None) -> Floats:
    return softmax(arrays["scale"] * np.asarray(prediction.logits, np.float64) + arrays["bias"])


def _top(arrays: Mapping[str, Any], prediction: Any, _words: Floats | None) -> Floats:
    shares = softmax(prediction.logits)
    best = int(np.argmax(prediction.logits))
    rest = np.delete(np.asarray(prediction.logits, np.float64), best)
    others = softmax(rest)  # not 1 - p: a sure softmax leaves nothing to divide by
    p = float(expit(top_logit(prediction) / arrays["temperature"] + arrays["bias"]))
    shares[np.arange(len(shares)) != best] = (1 - p) * others
    shares[best] = p
    return shares


def top_logit(prediction: Classification) -> float:
    """Return the log-odds of the top label's softmax probability, from the logits, so that it is finite."""
    logits = np.asarray(prediction.logits, np.float64)
    best = int(np.argmax(logits))
    return float(logits[best] - np.logaddexp.reduce(np.delete(logits, best)))


def _line(arrays: Mapping[str, Any], prediction: Any, _words: Floats | None) -> Floats:
    return np.asarray(expit(score_logits(prediction) / arrays["temperature"] + arrays["bias"]))


def _by_class(arrays: Mapping[str, Any], prediction: Any, _words: Floats | None) -> Floats:
    slope, bias = arrays["slope"][prediction.class_index], arrays["bias"][prediction.class_index]
    return np.asarray(expit(slope * np.asarray(prediction.logit, np.float64) + bias))


def _isotonic(arrays: Mapping[str, Any], prediction: Any, _words: Floats | None) -> Floats:
    return np.asarray(np.interp(score_logits(prediction), arrays["x"], arrays["y"]))


def _of_words(arrays: Mapping[str, Any], prediction: Any, _words: Floats | None) -> Floats:
    return logistic(arrays, word_features(prediction))


def _of_segments(arrays: Mapping[str, Any], prediction: Any, words: Floats | None) -> Floats:
    return logistic(arrays, segment_features(prediction, words if words is not None else np.zeros(0)))


def logistic(arrays: Mapping[str, Any], features: Floats) -> Floats:
    """Return sigmoid(weights . (features - centre) / scale + bias) for features (n, f)."""
    return np.asarray(expit(((features - arrays["centre"]) / arrays["scale"]) @ arrays["weights"] + arrays["bias"]))


def score_logits(prediction: Detections | Transcript) -> Floats:
    """Return the logits that are calibrated: one per box, or one per word over all segments in order."""
    if isinstance(prediction, Detections):
        return np.asarray(prediction.logit, np.float64)
    return np.array([word.logit for segment in prediction.segments for word in segment.words], np.float64)


_APPLY: Mapping[Method, Callable[[Mapping[str, Any], Any, Floats | None], Floats]] = {
    "temperature": _temperature,
    "vector": _vector,
    "top_temperature_bias": _top,
    "temperature_bias": _line,
    "class_temperature_bias": _by_class,
    "isotonic": _isotonic,
    "word_temperature_bias": _line,
    "word_logistic": _of_words,
    "segment_logistic": _of_segments,
}
