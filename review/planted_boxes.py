"""One error planted in the boxes of a draft that is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from review.boxes import Box, boxes_of, match, overlaps
from review.honeypots import ErrorKind, Payload, Planted, Sources, other_label, said

SHIFTED = (0.20, 0.45)  # the overlap of a shifted box with its object: wrong by the correctness rule, and still about that object
APART = 0.3  # a spurious box overlaps no other by this
_TRIES = 40


def plant(
    kind: ErrorKind,
    payload: Mapping[str, Any],
    gold: Sequence[Mapping[str, Any]],
    sources: Sources,
    rng: np.random.Generator,
    draft_id: str,
) -> tuple[Payload, Planted] | None:
    """Plant one error of a kind; None where this draft has no place for it."""
    labels = [dict(label) for label in payload["labels"]]
    true = boxes_of(gold)
    made: tuple[list[Payload], Payload | None, Box | None] | None
    if kind == "box_spurious":
        made = _spurious(payload, labels, true, sources, rng)
    else:
        right = _right_and_alone(labels, true)
        if not right:
            return None
        at, truth = right[int(rng.integers(len(right)))]
        made = _altered(kind, labels, at, true[truth], payload, sources, rng)
    if made is None:
        return None
    labels, marked, truth_of = made
    return _shown(payload, labels, marked, truth_of, kind, draft_id)


def _altered(
    kind: ErrorKind, labels: list[Payload], at: int, truth: Box, payload: Mapping[str, Any], sources: Sources, rng: np.random.Generator
) -> tuple[list[Payload], Payload | None, Box | None] | None:
    """Return the labels with one removed, renamed or shifted; which one is wrong; and what is true."""
    rest = labels[:at] + labels[at + 1 :]
    if kind == "box_missing":
        return rest, None, truth
    like = _natural(sources, rng)
    if like is None:
        return None
    old = labels[at]
    if kind == "class_swap":
        other = other_label(truth.label, sources, rng)
        new = None if other is None else {"id": "", "label": other, "xyxy": old["xyxy"], **said(like)}
    else:
        corners = _shift(truth, boxes_of(rest), payload["image_size"], rng)
        new = None if corners is None else {"id": "", "label": old["label"], "xyxy": corners, **said(like)}
    return None if new is None else ([*rest, new], new, truth)


def _spurious(
    payload: Mapping[str, Any], labels: list[Payload], true: Sequence[Box], sources: Sources, rng: np.random.Generator
) -> tuple[list[Payload], Payload, None] | None:
    """Add a box of another draft, where it stood there: class, place, size and confidences then go together as they do in nature."""
    width, height = payload["image_size"]
    pool = [one for one in sources.drafts if one["labels"]]
    there = [*boxes_of(labels), *true]
    for _ in range(_TRIES if pool else 0):
        other = pool[int(rng.integers(len(pool)))]
        like = other["labels"][int(rng.integers(len(other["labels"])))]
        scale = np.array([width / other["image_size"][0], height / other["image_size"][1]] * 2)
        corners = [round(float(x), 3) for x in np.asarray(like["xyxy"]) * scale]
        new = {"id": "", "label": like["label"], "xyxy": corners, **said(like)}
        if not there or overlaps(boxes_of([new]), there).max() < APART:
            return [*labels, new], new, None
    return None


def _right_and_alone(labels: Sequence[Mapping[str, Any]], true: Sequence[Box]) -> list[tuple[int, int]]:
    """Return labels that are right and overlap no other box by half: only there can a final label be told to be about them."""
    drafted = boxes_of(labels)
    found = []
    for i, j, _ in match(drafted, true, same_class=True):
        others = [*drafted[:i], *drafted[i + 1 :], *true[:j], *true[j + 1 :]]
        if not others or max(overlaps([drafted[i]], others).max(), overlaps([true[j]], others).max()) < 0.5:
            found.append((i, j))
    return found


def _shift(truth: Box, others: Sequence[Box], size: Sequence[float], rng: np.random.Generator) -> list[float] | None:
    """Move and stretch a true box within the image until it overlaps its object by SHIFTED, and no other object by half."""
    left, top, right, bottom = truth.xyxy
    sides = np.array([right - left, bottom - top])
    for _ in range(_TRIES):
        move, grow = rng.uniform(-0.7, 0.7, 2) * sides, np.exp(rng.normal(0, 0.15, 2))
        middle = np.array([left + right, top + bottom]) / 2 + move
        corners = np.concatenate([middle - sides * grow / 2, middle + sides * grow / 2])
        corners = np.clip(corners, 0, [*size, *size])
        moved = Box(truth.label, (float(corners[0]), float(corners[1]), float(corners[2]), float(corners[3])))
        near = float(overlaps([moved], others).max()) if others else 0.0
        if SHIFTED[0] <= float(overlaps([moved], [truth])[0, 0]) <= SHIFTED[1] and near < 0.5:
            return [round(float(x), 3) for x in corners]
    return None


def _natural(sources: Sources, rng: np.random.Generator) -> Mapping[str, Any] | None:
    """Draw a label of a natural draft, every label being as likely as every other."""
    counts = np.array([len(one["labels"]) for one in sources.drafts], np.int64)
    if not counts.sum():
        return None
    at = int(rng.integers(counts.sum()))
    draft = int(np.searchsorted(np.cumsum(counts), at, side="right"))
    like: Mapping[str, Any] = sources.drafts[draft]["labels"][at - int(counts[:draft].sum())]
    return like


def _shown(
    payload: Mapping[str, Any], labels: list[Payload], marked: Payload | None, truth: Box | None, kind: ErrorKind, draft_id: str
) -> tuple[Payload, Planted]:
    """Put labels in descending score and count their ids up, as rendering does: a gap in them would be a tell."""
    labels = sorted(labels, key=lambda one: -_score(one))
    at = next((i for i, one in enumerate(labels) if one is marked), None)
    labels = [{**label, "id": f"{draft_id}.{i}"} for i, label in enumerate(labels)]
    shown = None if at is None else {"label": labels[at]["label"], "xyxy": list(labels[at]["xyxy"])}
    true = None if truth is None else {"label": truth.label, "xyxy": list(truth.xyxy)}
    return {**payload, "labels": labels}, Planted(kind, None if at is None else str(labels[at]["id"]), shown, true)


def _score(label: Mapping[str, Any]) -> float:
    raw = label.get("raw") or {}
    score: float = raw.get("score", label.get("confidence")) or 0.0
    return score
