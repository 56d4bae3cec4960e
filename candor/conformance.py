"""The suite that every family passes, a team's own included: `check(model, samples, bad)` returns what it verified.

from candor.conformance import check
check(family.load(manifest, artifact, Device()), samples=[...], bad=[b"", b"no media"])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from candor.errors import CandorError, UnreadableItem
from candor.families import LoadedModel, MediaLimits
from candor.predictions import Classification, Detections, Prediction, Transcript


class NonConformant(AssertionError):
    """The family breaks a rule of the protocol; the message says which."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far float noise may move a prediction between batches."""

    pixels: float = 0.05
    logit: float = 2e-3
    seconds: float = 0.021  # one step of Whisper's time grid


def predict(model: LoadedModel, samples: Sequence[bytes], batch: int) -> list[Prediction]:
    """Run samples through prepare, infer and finish in batches of `batch` units, with no engine around them."""
    limits = MediaLimits()
    items = [model.prepare(data, limits) for data in samples]
    units = [(index, unit) for index, item in enumerate(items) for unit in item.units]
    results: list[list[object]] = [[] for _ in items]
    for start in range(0, len(units), batch):
        part = units[start : start + batch]
        answers = model.infer([unit for _, unit in part])
        if len(answers) != len(part):
            raise NonConformant(f"infer was given {len(part)} units and answered {len(answers)} results")
        for (index, _), answer in zip(part, answers, strict=True):
            if isinstance(answer, CandorError):
                raise answer
            results[index].append(answer)
    return [model.finish(item, result) for item, result in zip(items, results, strict=True)]


def differences(one: Prediction, other: Prediction, tolerance: Tolerance | None = None) -> str:
    """Return how two predictions differ beyond float noise; empty where they do not."""
    noise = tolerance or Tolerance()
    if isinstance(one, Detections) and isinstance(other, Detections):
        return _detections_differ(one, other, noise)
    if isinstance(one, Classification) and isinstance(other, Classification):
        worst = float(np.abs(one.logits - other.logits).max())
        return "" if worst <= noise.logit else f"logits differ by {worst:.2g}"  # so that NaN differs
    if isinstance(one, Transcript) and isinstance(other, Transcript):
        return _transcripts_differ(one, other, noise)
    return f"{type(one).__name__} against {type(other).__name__}"


def _detections_differ(one: Detections, other: Detections, noise: Tolerance) -> str:
    if one.image_size != other.image_size:
        return f"image sizes {one.image_size} and {other.image_size}"
    if len(one.score) != len(other.score):
        return f"{len(one.score)} boxes against {len(other.score)}"
    if not len(one.score):
        return ""
    # Near-ties may swap places: pair each box with its nearest of the same class.
    for i in range(len(one.score)):
        same = other.class_index == one.class_index[i]
        moved = np.abs(other.xyxy[same] - one.xyxy[i]).max(axis=1) if same.any() else np.array([np.inf])
        drift = np.abs(other.logit[same] - one.logit[i]) if same.any() else np.array([np.inf])
        if not ((moved <= noise.pixels) & (drift <= noise.logit)).any():
            return f"box {i} moved by {moved.min():.2g} px or its logit by {drift.min():.2g}"
    return ""


def _transcripts_differ(one: Transcript, other: Transcript, noise: Tolerance) -> str:
    if one.text != other.text:
        return f"texts {one.text!r} and {other.text!r}"
    cuts = [[len(segment.words) for segment in transcript.segments] for transcript in (one, other)]
    if cuts[0] != cuts[1]:
        return f"words per segment {cuts[0]} and {cuts[1]}"
    for a, b in zip(one.segments, other.segments, strict=True):
        for left, right in zip(a.words, b.words, strict=True):
            if not max(abs(left.start - right.start), abs(left.end - right.end)) <= noise.seconds:
                return f"times of {left.text!r}: {left.start}-{left.end} and {right.start}-{right.end}"
            if not abs(left.logit - right.logit) <= 10 * noise.logit:
                return f"logits of {left.text!r}: {left.logit} and {right.logit}"
    return ""


def check(model: LoadedModel, samples: Sequence[bytes], bad: Sequence[bytes], tolerance: Tolerance | None = None) -> list[str]:
    """Check a loaded model against the protocol with at least three good samples and some bad ones.

    Returns:
        One line per rule that was verified.

    Raises:
        NonConformant: the first rule that it breaks.
    """
    if len(samples) < 3:
        raise ValueError("give at least three samples, so that batches can differ")
    model.warmup()
    passed = ["warmup returns"]
    if model.memory() <= 0:
        raise NonConformant("memory() must say how many bytes the model holds")
    passed.append("memory is reported")
    alone = predict(model, samples, batch=1)
    _check_values(alone)
    passed.append("predictions are finite and in range")
    for name, batched in (
        ("one batch", predict(model, samples, batch=len(samples) * 4)),
        ("batches of two", predict(model, samples, batch=2)),
        ("reversed order", list(reversed(predict(model, list(reversed(samples)), batch=len(samples))))),
        ("a second time", predict(model, samples, batch=1)),
    ):
        for index, (one, other) in enumerate(zip(alone, batched, strict=True)):
            if found := differences(one, other, tolerance):
                raise NonConformant(f"sample {index} alone against {name}: {found}")
        passed.append(f"the same predictions in {name}")
    _check_bad(model, bad)
    passed.append(f"{len(bad)} bad items refused with UnreadableItem")
    return passed


def _check_values(predictions: Sequence[Prediction]) -> None:
    for prediction in predictions:
        if isinstance(prediction, Detections):
            values = [prediction.xyxy, prediction.logit, prediction.score]
            if (np.diff(prediction.score) > 0).any():
                raise NonConformant("boxes are not in descending score")
        elif isinstance(prediction, Classification):
            values = [prediction.logits]
        else:
            words = [word for segment in prediction.segments for word in segment.words]
            values = [np.array([(w.start, w.end, w.logit, w.score) for w in words])]
        if not all(np.isfinite(value).all() for value in values):
            raise NonConformant("a prediction holds NaN or infinity")


def _check_bad(model: LoadedModel, bad: Sequence[bytes]) -> None:
    for data in bad:
        try:
            item = model.prepare(data, MediaLimits())
            list(item.units)
        except UnreadableItem:
            continue
        except Exception as error:
            raise NonConformant(f"bad bytes {data[:20]!r} raised {type(error).__name__}, not UnreadableItem") from error
        raise NonConformant(f"bad bytes {data[:20]!r} were accepted")
