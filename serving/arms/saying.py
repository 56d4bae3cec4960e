"""What is said of a planted label: its confidences, badge and raw scores.

Of a label that is wrong instead of right, what the model said of the right one: over all honeypots, planted and the model's own, that is
just what it says over all drafts. Of one too many, figures that lie between those of two natural labels. None is a copy of another item's:
whoever sees the same six digits twice knows that one of both is a honeypot.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp
from typing import Any

import numpy as np

from candor.drafts import Draft
from candor.tasks import SPECS
from review.honeypots import Payload, Planted, said

_MOVED = 0.02  # of its sides, by which a box that stood in another image is moved


def own_words(payload: Payload, error: Planted, natural: Draft, like: Sequence[Draft], rng: np.random.Generator) -> tuple[Payload, Planted]:
    """Return a planted payload, and the record of its error, in which no label repeats what is said of another item's."""
    if error.natural:
        return payload, error
    if natural.task == "classification":
        return _swapped(payload, natural), error
    if natural.task == "transcription":
        return _spoken(payload, error, natural, like, rng), error
    if error.kind == "box_spurious":
        return _added(payload, error, natural, like, rng)
    return (payload, error) if error.kind == "box_missing" else _changed(payload, error, natural)


def _swapped(payload: Payload, natural: Draft) -> Payload:
    """Keep the confidences where they were, and let the names alone change places."""
    labels = [
        {"id": new["id"], "label": new["label"], **said(old)} for new, old in zip(payload["labels"], natural.payload["labels"], strict=True)
    ]
    return {**natural.payload, "labels": labels}


def _changed(payload: Payload, error: Planted, natural: Draft) -> tuple[Payload, Planted]:
    """Put a box of another class or place where the right one was."""
    left = [(one["label"], one["xyxy"]) for one in payload["labels"]]
    old = next(i for i, one in enumerate(natural.payload["labels"]) if (one["label"], one["xyxy"]) not in left)
    new = next(one for one in payload["labels"] if one["id"] == error.label)
    labels = [dict(one) for one in natural.payload["labels"]]
    labels[old] |= {"label": new["label"], "xyxy": new["xyxy"]}
    return {**natural.payload, "labels": labels}, replace(error, label=str(labels[old]["id"]))


def _added(payload: Payload, error: Planted, natural: Draft, like: Sequence[Draft], rng: np.random.Generator) -> tuple[Payload, Planted]:
    width, height = payload["image_size"]
    labels = [dict(one) for one in payload["labels"]]
    new = next(one for one in labels if one["id"] == error.label)
    left, top, right, bottom = new["xyxy"]
    sides = np.array([right - left, bottom - top] * 2)
    corners = np.clip(np.array([left, top, right, bottom]) + sides * rng.normal(0, _MOVED, 4), 0, [width, height] * 2)
    new |= {"xyxy": [round(float(x), 3) for x in corners], **_between(said(new), _pool(like), rng)}
    labels.sort(key=lambda one: -one["raw"]["score"])
    labels = [{**one, "id": f"{natural.id}.{i}"} for i, one in enumerate(labels)]
    marked = next(one for one in labels if one["xyxy"] == new["xyxy"] and one["label"] == new["label"])
    shown = {"label": marked["label"], "xyxy": list(marked["xyxy"])}
    return {**payload, "labels": labels}, replace(error, label=str(marked["id"]), shown=shown)


def _spoken(payload: Payload, error: Planted, natural: Draft, like: Sequence[Draft], rng: np.random.Generator) -> Payload:
    segments = []
    for new, old in zip(payload["segments"], natural.payload["segments"], strict=True):
        words = [dict(word) for word in new["words"]]
        if error.kind == "word_substituted":
            words = [word | said(before) for word, before in zip(words, old["words"], strict=True)]
        elif len(words) > len(old["words"]):
            at = _inserted([said(word) for word in words], [said(word) for word in old["words"]])
            words[at] |= _between(said(words[at]), _pool(like), rng)
        segments.append({**new, "words": words})
    return {**payload, "segments": segments}


def _inserted(new: Sequence[Any], old: Sequence[Any]) -> int:
    return next((i for i, _ in enumerate(new) if [*new[:i], *new[i + 1 :]] == [*old]), 0)


def _pool(like: Sequence[Draft]) -> list[Payload]:
    return [said(label) for one in like for label in SPECS[one.task].judged(one.payload)]


def _between(one: Payload, pool: Sequence[Payload], rng: np.random.Generator) -> Payload:
    """Return what could have been said of a label that lies between this one and its neighbour in score, both with the same fields."""
    alike = sorted((other for other in pool if set(other) == set(one)), key=lambda other: float(other["raw"]["logit"]))
    logits = [float(other["raw"]["logit"]) for other in alike]
    own = float(one["raw"]["logit"])
    at = bisect_left(logits, own)
    near = [alike[i] for i in range(max(at - 3, 0), min(at + 4, len(alike))) if logits[i] != own]
    if not near:
        return one
    other, share = near[int(rng.integers(len(near)))], float(rng.uniform(0.2, 0.8))
    found = {name: _mixed(value, other[name], share) if name in ("confidence", "no_edit") else value for name, value in one.items()}
    logit = _mixed(own, other["raw"]["logit"], share)
    score = 1 / (1 + exp(-logit)) if _is_odds(one["raw"]) else _mixed(one["raw"]["score"], other["raw"]["score"], share)
    return {**found, "raw": {**one["raw"], "score": round(score, 6), "logit": logit}}


def _is_odds(raw: Mapping[str, Any]) -> bool:
    """Say whether a model's logit is the log-odds of its score."""
    return bool(abs(1 / (1 + exp(-max(-60.0, raw["logit"]))) - raw["score"]) < 1e-4)


def _mixed(one: Any, other: Any, share: float) -> Any:
    return one if one is None or other is None else round((1 - share) * one + share * other, 6)
