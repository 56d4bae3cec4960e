"""Honeypots: drafts of gold items that are wrong in one recorded place. Whether people find it is what their catch rate is made of.

A real error of the model on the item is preferred, since people know how models err. Where the draft is right, one error is planted in it.
What a client sees is that of a natural draft: the same fields, ids that count up, boxes in the order of their score; and what is shown
of a planted label's confidence is drawn from natural drafts, whole rows at a time, so that it is no tell.

Honeypots judge people. They never enter calibration, exports or training: `Planted` is to be stored with the draft, and away from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from candor.predictions import Task
from review.boxes import IOU, Box, boxes_of, overlaps
from review.compare import Comparison, Edit, compare, words_of
from review.words import Normalise, plain

ErrorKind: TypeAlias = Literal[
    "class_swap", "box_shift", "box_spurious", "box_missing", "word_substituted", "word_missing", "word_inserted"
]  # fmt: skip
Payload: TypeAlias = dict[str, Any]

# People who correct what is there still overlook what is not: omissions must be seeded, three in ten at least.
MIX: Mapping[Task, Mapping[ErrorKind, float]] = {
    "classification": {"class_swap": 1.0},
    "detection": {"box_missing": 0.35, "class_swap": 0.30, "box_spurious": 0.20, "box_shift": 0.15},
    "transcription": {"word_missing": 0.35, "word_substituted": 0.40, "word_inserted": 0.25},
}
OMISSIONS: frozenset[ErrorKind] = frozenset(("box_missing", "word_missing"))
_OWN = ("id", "label", "xyxy", "text", "start", "end", "words")  # of a label itself; the rest is what is said about it


@dataclass(frozen=True, slots=True)
class Planted:
    """The one error of a honeypot: what is shown, what is true, and whether the model made it by itself (`natural`).

    `label` is the id of the wrong label as it is shown, None where one is missing. `shown` and `truth` are `{"label", "xyxy"}`, or
    `{"text", "word"}` with the whole text and the word; None where there is none. `at` is the word's position among the normalised words
    of the shown text: its own, or that of the word before which one is missing.
    """

    kind: ErrorKind
    label: str | None
    shown: Mapping[str, Any] | None
    truth: Mapping[str, Any] | None
    at: int | None = None
    natural: bool = False

    @property
    def omission(self) -> bool:
        """Whether something is missing, rather than wrong."""
        return self.kind in OMISSIONS

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Sources:
    """What planted errors are made of.

    `drafts` are payloads of natural drafts of the same model version: classes, boxes, words and confidences are drawn from them.
    `confusion` holds, for a true label (or word), with which others the model confuses it and how often.
    """

    drafts: Sequence[Mapping[str, Any]]
    confusion: Mapping[str, Mapping[str, float]]
    labels: Sequence[str] = ()
    normalise: Normalise = plain


def honeypot(
    task: Task, payload: Mapping[str, Any], gold: Mapping[str, Any], sources: Sources, rng: np.random.Generator, draft_id: str
) -> tuple[Payload, Planted] | None:
    """Return a wrong draft of a gold item and the record of its error; None where nothing fits, and another item is to be taken.

    The same generator, the same honeypot: seed it from a keyed hash of the item, so that a repeated request shows the same. What depends
    on the payload (the draft's own confidence, its route) is to be computed from the one that is returned.

    Raises:
        InvalidRequest: gold of another task's kind.
    """
    comparison = compare(task, payload, gold, sources.normalise)
    if found := natural_error(task, payload, gold, comparison, rng, sources.normalise):
        return dict(payload), found
    kinds = list(MIX[task])
    # in an order drawn by weight, so that a kind that doesn't fit this item makes room for the next
    keys = rng.random(len(kinds)) ** (1 / np.array([MIX[task][kind] for kind in kinds]))
    for kind in (kinds[i] for i in np.argsort(-keys)):
        if made := plant(kind, payload, gold, sources, rng, draft_id):
            return made
    return None


def plant(
    kind: ErrorKind, payload: Mapping[str, Any], gold: Mapping[str, Any], sources: Sources, rng: np.random.Generator, draft_id: str
) -> tuple[Payload, Planted] | None:
    """Plant one error of a kind in a draft that is right; None where this draft has no place for it."""
    from review import planted_boxes, planted_words  # noqa: PLC0415 - both are made of this module's types

    if "text" in gold:
        return planted_words.plant(kind, payload, str(gold["text"]), sources, rng)
    if "boxes" in gold:
        return planted_boxes.plant(kind, payload, gold["boxes"], sources, rng, draft_id)
    return _swap_class(payload, sources, rng) if kind == "class_swap" else None


def natural_error(
    task: Task, payload: Mapping[str, Any], gold: Mapping[str, Any], comparison: Comparison, rng: np.random.Generator, normalise: Normalise
) -> Planted | None:
    """Return one error that the model made by itself, omissions and others alike; None where the draft is right.

    A box that would be moved, but overlaps its object by half or more, is right by the correctness rule.
    """
    wrong = [edit for edit in comparison.edits if edit.kind not in ("kept", "moved")]
    if task == "detection":
        wrong = [edit for edit in wrong if _stands_alone(edit, boxes_of(payload["labels"]), boxes_of(gold["boxes"]), payload)]
    if not wrong:
        return None
    edit = wrong[int(rng.integers(len(wrong)))]
    if task == "transcription":
        return _natural_word(payload, str(gold["text"]), comparison, comparison.edits.index(edit), normalise)
    shown = next((one for one in payload["labels"] if str(one["id"]) == edit.draft), None)
    regions = [gold] if task == "classification" else gold["boxes"]
    truth = None if edit.final is None else _what(regions[edit.final])
    kind: ErrorKind = "box_missing" if shown is None else "box_spurious" if truth is None and task == "detection" else "class_swap"
    if task == "classification" and shown is None:
        return None  # there is no draft to find an error in
    return Planted(kind, edit.draft, None if shown is None else _what(shown), truth, natural=True)


def _stands_alone(edit: Edit, drafted: Sequence[Box], true: Sequence[Box], payload: Mapping[str, Any]) -> bool:
    """Whether a box that is missing or too many overlaps no other by half: else nobody could tell from final boxes what became of it."""
    if edit.kind == "relabelled":
        return True
    own = true[edit.final] if edit.final is not None else next(
        box for box, label in zip(drafted, payload["labels"], strict=True) if str(label["id"]) == edit.draft
    )  # fmt: skip
    others = [box for box in (*drafted, *true) if box is not own]
    return not others or float(overlaps([own], others).max()) < IOU


def said(label: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a draft says about a label, without the label itself: confidences, badge, raw scores."""
    return {name: value for name, value in label.items() if name not in _OWN}


def drawn_from(weights: Mapping[str, float], rng: np.random.Generator) -> str | None:
    """Draw a name by weight; None where there is nothing to draw."""
    names = [name for name, weight in weights.items() if weight > 0]
    if not names:
        return None
    shares = np.array([weights[name] for name in names])
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def other_label(truth: str, sources: Sources, rng: np.random.Generator, instead: Sequence[str] = ()) -> str | None:
    """Draw a wrong label for a true one: along the model's confusions, else from `instead`, else any of the label set."""
    confused = {name: weight for name, weight in sources.confusion.get(truth, {}).items() if name != truth}
    rest = [name for name in instead if name != truth] or [name for name in sources.labels if name != truth]
    return drawn_from(confused, rng) or drawn_from(dict.fromkeys(rest, 1.0), rng)


def _what(label: Mapping[str, Any]) -> dict[str, Any]:
    return {"label": label["label"], **({"xyxy": list(label["xyxy"])} if "xyxy" in label else {})}


def _swap_class(payload: Mapping[str, Any], sources: Sources, rng: np.random.Generator) -> tuple[Payload, Planted] | None:
    """Put a wrong class first. All confidences are those of one natural draft, which names of this one are laid upon."""
    labels = payload["labels"]
    pool = [one for one in sources.drafts if len(one["labels"]) == len(labels)]
    if not labels or not pool:
        return None
    names = [str(label["label"]) for label in labels]
    wrong = other_label(names[0], sources, rng, names[1:2])
    if wrong is None:
        return None
    # the true class takes the wrong one's place, or the second
    place = names.index(wrong) if wrong in names else min(1, len(names) - 1)
    names[place], names[0] = names[0], wrong
    model = pool[int(rng.integers(len(pool)))]
    new = [{"id": old["id"], "label": name, **said(like)} for old, name, like in zip(labels, names, model["labels"], strict=True)]
    badge = {"badge": model["badge"]} if "badge" in model else {}
    rest = {name: value for name, value in payload.items() if name not in ("badge", "labels")}
    return {**rest, **badge, "labels": new}, Planted("class_swap", str(labels[0]["id"]), {"label": wrong}, {"label": labels[0]["label"]})


def _natural_word(payload: Mapping[str, Any], gold: str, comparison: Comparison, index: int, normalise: Normalise) -> Planted:
    edit = comparison.edits[index]
    kinds: dict[str, ErrorKind] = {"substituted": "word_substituted", "deleted": "word_inserted", "inserted": "word_missing"}
    at = sum(one.draft is not None for one in comparison.edits[:index])
    text = " ".join(words_of(payload))
    shown = {"text": text, "word": edit.before}
    return Planted(kinds[edit.kind], None, shown, {"text": gold, "word": edit.after}, at, natural=True)
