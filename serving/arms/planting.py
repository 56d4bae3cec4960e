"""Honeypots in drafts as they are served: nothing but the planted error may differ from what the model would have made.

`review.honeypots` plants in labels. Here the rest follows from them: confidence, route and priority, the classes behind a project's labels,
and the order of the fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from candor.drafts import Draft
from candor.errors import InvalidRequest
from candor.mapping import LabelMap, vocabulary
from candor.policy import Policy, decided
from candor.tasks import SPECS
from review.compare import compare
from review.honeypots import Planted, Sources, honeypot
from serving.arms.saying import own_words

_SAME_CLASSES = 0.75  # of planted classes: more classes than images usually have would be a tell
_MEASURED = 5  # confusions of a class, from which on nothing else is thought of
LEAST_POOL = 30  # natural drafts, below which nothing is planted: too few to hide among


@dataclass(frozen=True, slots=True)
class Material:
    """What planted errors of one model version are made of: natural drafts of the project, and what the model takes for what."""

    drafts: Sequence[Draft] = ()
    confusion: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Making:
    """What it takes beside the material to make a draft: the project's policy and labels. `classes` are the model's."""

    policy: Policy
    classes: Sequence[str]
    labels: LabelMap | None


def planted(
    natural: Draft, truth: Mapping[str, Any], material: Material, making: Making, rng: np.random.Generator
) -> tuple[Draft, Planted] | None:
    """Return a natural draft of a gold item with one error, and the record of the error; None where none can be hidden in it.

    The error may be the model's own. A draft whose labels are not shown can't carry one.
    """
    like = [one for one in material.drafts if _alike(one, natural) and one.id != natural.id]
    if len(like) < LEAST_POOL or not _is_shown(natural.payload):
        return None
    names = vocabulary(natural.payload) or making.classes
    sources = Sources(_company(natural, like, rng), _mistakes(natural, like, material.confusion), names)
    try:
        made = honeypot(natural.task, natural.payload, truth, sources, rng, natural.id)
    except (InvalidRequest, KeyError, TypeError):
        return None  # the truth is of another task, or the draft is older than what it takes
    if made is None:
        return None
    payload, error = own_words(*made, natural, like, rng)
    payload = _with_classes(payload, making.labels, rng) if making.labels else payload
    payload = _in_order(decided(natural.task, payload, making.policy, calibrated=natural.calibration is not None), natural, like)
    if not _is_shown(payload):
        return None
    return replace(natural, payload=payload, confidence=SPECS[natural.task].confidence(payload), arm="honeypot"), error


def _company(natural: Draft, like: Sequence[Draft], rng: np.random.Generator) -> list[Mapping[str, Any]]:
    """Return the payloads that boxes are taken from: mostly only their boxes of classes that this image has, as in nature."""
    payloads: list[Mapping[str, Any]] = [one.payload for one in like]
    here = {label["label"] for label in natural.payload.get("labels", ())}
    if natural.task != "detection" or rng.random() >= _SAME_CLASSES:
        return payloads
    known: list[Mapping[str, Any]] = [{**one, "labels": [label for label in one["labels"] if label["label"] in here]} for one in payloads]
    return known if any(one["labels"] for one in known) else payloads


def _mistakes(natural: Draft, like: Sequence[Draft], measured: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Return what each class of an image may be taken for: as was measured; else mostly for others of the image, or that go with it."""
    found = {name: weights for name, weights in measured.items() if sum(weights.values()) >= _MEASURED}
    if natural.task != "detection":
        return {**measured}
    here = {label["label"] for label in natural.payload["labels"]}
    for name in here - set(found):
        beside = Counter[str]()
        for one in like:
            there = {label["label"] for label in one.payload["labels"]}
            beside.update(there - {name} if name in there else ())
        beside = beside or Counter(label["label"] for one in like for label in one.payload["labels"] if label["label"] != name)
        shares = {other: (1 - _SAME_CLASSES) * count / beside.total() for other, count in beside.items()}
        others = here - {name}
        found[name] = shares | {other: shares.get(other, 0.0) + _SAME_CLASSES / len(others) for other in others}
    return found


def confusion(drafts: Sequence[Draft], truths: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return what a model takes for what, and how often, from its drafts of gold items."""
    found: dict[str, dict[str, float]] = {}
    for draft in drafts:
        truth = truths.get(draft.item)
        if truth is None:
            continue
        try:
            edits = compare(draft.task, draft.payload, truth).edits
        except (InvalidRequest, KeyError):
            continue
        for edit in edits:
            if edit.kind in ("relabelled", "substituted") and edit.before and edit.after:
                of_true = found.setdefault(edit.after, {})
                of_true[edit.before] = of_true.get(edit.before, 0.0) + 1
    return found


def has_badge(draft: Draft) -> bool:
    """Say whether a draft invites nobody to look: everything that people judge in it wears the badge."""
    judged = SPECS[draft.task].judged(draft.payload)
    return bool(judged) and all("badge" in label for label in judged)


def _is_shown(payload: Mapping[str, Any]) -> bool:
    return bool(payload.get("route", "review") == "review")


def _alike(one: Draft, natural: Draft) -> bool:
    """Say whether what is said about the labels of one draft could be said about those of the other."""
    return (
        one.task == natural.task
        and one.calibration == natural.calibration
        and one.label_map == natural.label_map
        and (one.unverified_since is None) == (natural.unverified_since is None)
        and _is_shown(one.payload)
    )


def _with_classes(payload: dict[str, Any], labels: LabelMap, rng: np.random.Generator) -> dict[str, Any]:
    """Let each of a project's labels have been one of its own classes: what is said about it may come from another label."""
    if "labels" not in payload:
        return payload
    classes: dict[str, list[str]] = {}
    for name, label in sorted(labels.to.items()):
        classes.setdefault(label, []).append(name)
    return {**payload, "labels": [_with_class(n, one, classes.get(one["label"], []), rng) for n, one in enumerate(payload["labels"])]}


def _with_class(position: int, label: dict[str, Any], classes: Sequence[str], rng: np.random.Generator) -> dict[str, Any]:
    raw = label.get("raw", {})
    if not classes or raw.get("class") in (None, *classes):
        return label
    names = [str(name) for name in rng.permutation(list(classes))]
    new = {**raw, "class": names[0]}
    if "as_class" in raw:
        new["as_class"] = len(classes) == 1 and ("xyxy" in label or position == 0)
    if "from" in raw:
        new["from"] = [{**one, "class": name} for one, name in zip(raw["from"], names, strict=False)]
    return {**label, "raw": new}


def _in_order(payload: dict[str, Any], natural: Draft, like: Sequence[Draft]) -> dict[str, Any]:
    """Put the fields in the order that a natural draft with the same fields has them in."""
    model = next((one.payload for one in (natural, *like) if set(one.payload) == set(payload)), payload)
    return {name: payload[name] for name in model}
