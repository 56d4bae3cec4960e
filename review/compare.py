"""A draft and a person's final label: what was edited, region by region or word by word, and what that makes of the draft.

It is derived from both contents and from nothing that a client says about them. Final labels are JSON values as truths are: `label` for
classification (null: none of the labels), `boxes` for detection, `text` for transcription.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from candor.errors import InvalidRequest
from candor.predictions import Task
from candor.tasks import SPECS
from review.boxes import Box, boxes_of, match
from review.words import Normalise, align, plain

Verdict: TypeAlias = Literal["accepted", "corrected", "rejected"]
EditKind: TypeAlias = Literal["kept", "relabelled", "moved", "deleted", "added", "substituted", "inserted"]

STILL = 0.95  # boxes that overlap by this are where they were: clients round
_PIXEL = 1.0


@dataclass(frozen=True, slots=True)
class Edit:
    """One label of the draft, of the final labels, or of both. `draft` is the draft label's id, a word's the position in the draft's text.

    A box that was moved and relabelled at once is `relabelled`; its `iou` tells how far it was moved.
    """

    kind: EditKind
    draft: str | None
    final: int | None
    before: str | None
    after: str | None
    iou: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All edits, and what they make of the draft: accepted where nothing changed, rejected where nothing of it is left."""

    verdict: Verdict
    edits: tuple[Edit, ...]

    @property
    def changed(self) -> int:
        """How many labels were not kept."""
        return sum(edit.kind != "kept" for edit in self.edits)

    @property
    def size(self) -> float:
        """The share of labels that were not kept, 0 to 1."""
        return self.changed / len(self.edits) if self.edits else 0.0


def compare(task: Task, payload: Mapping[str, Any], final: Mapping[str, Any], normalise: Normalise = plain) -> Comparison:
    """Compare a draft's payload with the final label. `normalise` makes words comparable, for transcription.

    Raises:
        InvalidRequest: a final label of another task's kind.
    """
    if task == "classification":
        return _classes(payload, _of(final, "label", str | None))
    if task == "detection":
        return _boxes(payload, boxes_of(_of(final, "boxes", list | tuple)))
    return _texts(payload, _of(final, "text", str), normalise)


def words_of(payload: Mapping[str, Any]) -> list[str]:
    """Return the displayed words of a transcript's payload; its text's where it has none of their own."""
    words = [str(word["text"]) for word in SPECS["transcription"].judged(payload)]
    return words or str(payload.get("text", "")).split()


def _of(final: Mapping[str, Any], name: str, kind: Any) -> Any:
    if set(final) & {"label", "boxes", "text"} != {name} or not isinstance(final[name], kind):
        raise InvalidRequest(f"the final label of this task is in `{name}`: give that and no other of label, boxes and text")
    return final[name]


def _classes(payload: Mapping[str, Any], final: str | None) -> Comparison:
    labels = payload["labels"]
    if not labels:
        edits = (Edit("added", None, 0, None, final),) if final is not None else ()
        return Comparison("corrected" if edits else "accepted", edits)
    first = labels[0]
    if final == first["label"]:
        return Comparison("accepted", (Edit("kept", first["id"], 0, final, final),))
    if final is None:
        return Comparison("rejected", (Edit("deleted", first["id"], None, first["label"], None),))
    offered = any(final == label["label"] for label in labels)  # further down the draft's list: it still helped
    return Comparison("corrected" if offered else "rejected", (Edit("relabelled", first["id"], 0, first["label"], final),))


def _boxes(payload: Mapping[str, Any], final: tuple[Box, ...]) -> Comparison:
    ids, drafted = [str(label["id"]) for label in payload["labels"]], boxes_of(payload["labels"])
    pairs = match(drafted, final)
    edits = [Edit(_pair_kind(drafted[i], final[j], iou), ids[i], j, drafted[i].label, final[j].label, round(iou, 6)) for i, j, iou in pairs]
    left, new = {i for i, _, _ in pairs}, {j for _, j, _ in pairs}
    edits += [Edit("deleted", ids[i], None, box.label, None) for i, box in enumerate(drafted) if i not in left]
    edits += [Edit("added", None, j, None, box.label) for j, box in enumerate(final) if j not in new]
    return Comparison(_verdict(edits, had_labels=bool(drafted)), tuple(edits))


def _pair_kind(draft: Box, final: Box, iou: float) -> EditKind:
    if draft.label != final.label:
        return "relabelled"
    near = max(abs(a - b) for a, b in zip(draft.xyxy, final.xyxy, strict=True)) <= _PIXEL
    return "kept" if iou >= STILL or near else "moved"


def _texts(payload: Mapping[str, Any], final: str, normalise: Normalise) -> Comparison:
    before, after = normalise(" ".join(words_of(payload))).split(), normalise(final).split()
    edits = [
        Edit(
            step.kind,
            None if step.first is None else str(step.first),
            step.second,
            None if step.first is None else before[step.first],
            None if step.second is None else after[step.second],
        )
        for step in align(before, after)
    ]
    return Comparison(_verdict(edits, had_labels=bool(before)), tuple(edits))


def _verdict(edits: list[Edit], *, had_labels: bool) -> Verdict:
    kinds = {edit.kind for edit in edits}
    if kinds <= {"kept"}:
        return "accepted"
    return "corrected" if not had_labels or kinds & {"kept", "moved", "relabelled"} else "rejected"
