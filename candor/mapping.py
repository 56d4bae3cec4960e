"""A project's own labels over a model's classes: many to one, or dropped.

A mapping never makes a number up. A box keeps the confidence that it has as its own class: that is the least that its label can
have, since whoever is a car is a vehicle too. An image's label has the sum of its classes' probabilities, and what was dropped
stays missing from the sum: nothing is scaled up to 1.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import exp, log
from typing import Any

import numpy as np

from candor.manifest import canonical_json
from candor.predictions import Floats, Task
from candor.tasks import TOP_K

SAME_OBJECT = 0.5  # IoU from which two boxes of one label are one object: the correctness rule's
_ORIGINS = 5  # classes that a merged label names in its raw scores


@dataclass(frozen=True)
class LabelMap:
    """`to` maps a model's class to the project's label; a class that it does not name is dropped.

    `labels` are those of the project, where it has more than the model can propose: people may use them all.
    """

    to: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Names the mapping on the drafts that were made with it."""
        return hashlib.sha256(canonical_json([dict(self.to), sorted(self.labels)])).hexdigest()[:16]

    @cached_property
    def vocabulary(self) -> list[str]:
        """All labels of the project."""
        return sorted({*self.labels, *self.to.values()})

    def mapped(self, task: Task, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return a draft's payload in the project's labels. An image's payload must have the labels of all classes.

        Beside its raw scores each label keeps the class that it was; the payload keeps the vocabulary that it is in. A transcript
        has no classes and stays as it is.
        """
        if task == "transcription":
            return dict(payload)
        own = [self._renamed(label, task, place) for place, label in enumerate(payload["labels"]) if label["label"] in self.to]
        labels = _boxes(own) if task == "detection" else _classes(own)
        badge = labels[0].get("badge") if labels and task == "classification" else None
        kept = {name: value for name, value in payload.items() if name != "badge"}
        draft_id = payload["labels"][0]["id"].rpartition(".")[0] if labels else ""
        return {
            **kept,
            **({"badge": badge} if badge else {}),
            "labels": [{**label, "id": f"{draft_id}.{position}"} for position, label in enumerate(labels)],
            "raw": {"vocabulary": self.vocabulary},
        }

    def _renamed(self, label: Mapping[str, Any], task: Task, place: int) -> dict[str, Any]:
        name, raw = str(label["label"]), label["raw"]
        new = self.to[name]
        # of an image, only the model's first answer was calibrated as an answer
        as_class = self._sources[new] == 1 and (task == "detection" or place == 0)
        return {**label, "label": new, "raw": {**raw, "class": name, "as_class": as_class}}

    @cached_property
    def _sources(self) -> Counter[str]:
        return Counter(self.to.values())


def vocabulary(payload: Mapping[str, Any]) -> list[str] | None:
    """Return the labels in which a stored draft is to be judged: the project's; None where the model's classes are its labels."""
    found: list[str] | None = payload.get("raw", {}).get("vocabulary")
    return found


def _boxes(shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return boxes without those that another one of the same label stands for already."""
    boxes = np.array([label["xyxy"] for label in shown], np.float64).reshape(-1, 4)
    kept: list[int] = []
    for i in sorted(range(len(shown)), key=lambda i: -_worth(shown[i])):
        rivals = [j for j in kept if _other_class(shown[i], shown[j])]
        if not rivals or _overlaps(boxes[i], boxes[rivals]).max() < SAME_OBJECT:
            kept.append(i)
    return [shown[i] for i in sorted(kept)]


def _classes(shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the labels of an image, each with the sum of its classes, in descending confidence."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for label in shown:
        groups.setdefault(label["label"], []).append(label)
    in_order = sorted((_merged(group) for group in groups.values()), key=_worth, reverse=True)[:TOP_K]
    # the badge's promise was measured on the model's first answer: it holds for the label that takes it in, where that comes first
    return [label if position == 0 else _without_badge(label) for position, label in enumerate(in_order)]


def _worth(label: Mapping[str, Any]) -> float:
    """What labels are ordered by: confidence, else the raw score."""
    confidence = label["confidence"]
    return float(label["raw"]["score"] if confidence is None else confidence)


def _other_class(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two boxes are of one label and of different classes: of one class, the model has said already which are two objects."""
    return bool(one["label"] == other["label"] and one["raw"]["class"] != other["raw"]["class"])


def _overlaps(box: Floats, others: Floats) -> Floats:
    """Intersection over union of a box (4,) with others (n, 4)."""
    corner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(corner, 0, None).prod(axis=1)
    areas = np.clip(others[:, 2:] - others[:, :2], 0, None).prod(axis=1)
    union = np.clip(box[2:] - box[:2], 0, None).prod() + areas - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _merged(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one label for the classes of an image that share it; `group` is in descending score."""
    first = group[0]
    if len(group) == 1:
        return first
    best = max(label["raw"]["logit"] for label in group)
    raw = {
        **first["raw"],
        "score": _sum([label["raw"]["score"] for label in group]),
        "logit": round(best + log(sum(exp(label["raw"]["logit"] - best) for label in group)), 6),
        "from": [{"class": one["raw"]["class"], **{name: one["raw"][name] for name in ("score", "logit")}} for one in group[:_ORIGINS]],
    }
    confidence = None if first["confidence"] is None else _sum([label["confidence"] for label in group])
    return {**first, "confidence": confidence, "raw": raw}


def _sum(values: Sequence[float]) -> float:
    return min(round(sum(values), 6), 1.0)  # figures of six digits may add up to a little more


def _without_badge(label: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in label.items() if name != "badge"}
