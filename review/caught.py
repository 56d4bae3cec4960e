"""Was a honeypot's error found? `caught` is put right, `noticed` is changed but not put right, `missed` is left as it was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from candor.errors import InvalidRequest
from review.boxes import IOU, Box, boxes_of, overlaps
from review.compare import STILL
from review.honeypots import Planted
from review.words import Normalise, WordStep, align, plain

Catch: TypeAlias = Literal["caught", "noticed", "missed"]


def judge(planted: Planted, final: Mapping[str, Any], normalise: Normalise = plain) -> Catch:
    """Judge a final label (`label`, `boxes` or `text`) against the record of the error.

    Only the error's own place counts: whoever finds it and spoils something else has caught it, and whoever changes everything else has
    not. `normalise` must be the one that the error was planted with.

    Raises:
        InvalidRequest: a final label of another task's kind.
    """
    if planted.kind.startswith("word_"):
        return _word(planted, str(_of(final, "text")), normalise)
    place = planted.shown or planted.truth or {}
    if "xyxy" in place:
        return _box(planted, boxes_of(_of(final, "boxes")))
    label = _of(final, "label")
    if planted.truth is not None and label == planted.truth["label"]:
        return "caught"
    return "missed" if planted.shown is not None and label == planted.shown["label"] else "noticed"


def _of(final: Mapping[str, Any], name: str) -> Any:
    if name not in final:
        raise InvalidRequest(f"the final label of a draft of this kind is in `{name}`")
    return final[name]


def _box(planted: Planted, final: Sequence[Box]) -> Catch:
    shown, truth = (None if one is None else boxes_of([one])[0] for one in (planted.shown, planted.truth))
    if truth is not None and any(box.label == truth.label for box in _near(truth, final, IOU)):
        # with a shifted box half an overlap with the object is what was wanted, wherever the shown one lay
        return "caught"
    if shown is None:
        return "noticed" if truth is not None and _near(truth, final, IOU) else "missed"
    there = _near(shown, final, IOU if planted.kind != "box_shift" else STILL)
    if any(box.label == shown.label for box in there):
        return "missed"
    return "noticed" if truth is not None or there else "caught"


def _near(box: Box, final: Sequence[Box], iou: float) -> list[Box]:
    if not final:
        return []
    return [other for other, overlap in zip(final, overlaps([box], final)[0], strict=True) if overlap >= iou]


def _word(planted: Planted, final: str, normalise: Normalise) -> Catch:
    shown, truth = planted.shown or {}, planted.truth or {}
    before, after = normalise(str(shown["text"])).split(), normalise(final).split()
    if after == normalise(str(truth["text"])).split():
        return "caught"
    at, steps = planted.at or 0, align(before, after)
    if planted.kind == "word_missing":
        return _omitted(str(truth["word"]), at, steps, after)
    own = next(step for step in steps if step.first == at)
    if own.kind == "kept":
        return "missed"
    there = _between(steps, at, at + 1, after)
    if planted.kind == "word_inserted":  # a neighbour that was changed too may take its place in the alignment: count
        right = len(there) < sum(step.first is not None for step in _around(steps, at, at + 1))
    else:
        right = truth["word"] in there
    return "caught" if right else "noticed"


def _omitted(word: str, at: int, steps: Sequence[WordStep], after: Sequence[str]) -> Catch:
    there = _between(steps, at, at, after)
    if word in there:
        return "caught"
    replaced = sum(step.first is not None for step in _around(steps, at, at))
    return "noticed" if len(there) > replaced else "missed"


def _around(steps: Sequence[WordStep], start: int, stop: int) -> Sequence[WordStep]:
    """Return the steps between the last kept word before position `start` and the first kept one from `stop` on."""
    low = max((i + 1 for i, step in enumerate(steps) if step.kind == "kept" and (step.first or 0) < start), default=0)
    high = min((i for i, step in enumerate(steps) if step.kind == "kept" and (step.first or 0) >= stop), default=len(steps))
    return steps[low:high]


def _between(steps: Sequence[WordStep], start: int, stop: int, after: Sequence[str]) -> list[str]:
    return [after[step.second] for step in _around(steps, start, stop) if step.second is not None]
