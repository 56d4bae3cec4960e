"""What a person's final label makes of a draft: derived from what was shown and what came back, never from what a client says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calibration.streams import Stream
from candor.drafts import Draft
from candor.errors import InvalidRequest
from candor.predictions import Task
from candor.tasks import SPECS
from review.boxes import boxes_of
from review.caught import judge
from review.compare import compare
from review.honeypots import Planted
from serving.calibrations.judging import BoxesTruth, LabelTruth, TextTruth, TrueBox, Truth
from serving.projects.body import nearest
from store.draws import DrawRow
from store.gold import GoldItem
from store.reviews import ReviewRow
from store.withdrawals import of_gold, of_review

Final = Mapping[str, Any]  # `label`, `boxes` or `text`, as truths are written
_BEYOND = 1.0  # pixels by which a drawn box may stand over the image's edge: tools round
_SUGGESTIONS = 20  # looked for in one call: each takes milliseconds with a large label set
_KIND: Mapping[Task, str] = {"classification": "label", "detection": "boxes", "transcription": "text"}
_WIRE: Mapping[Task, str] = {
    "classification": "label, or labels of a review",
    "detection": "boxes, or labels of a review",
    "transcription": "text, or segments of a review",
}


@dataclass(slots=True)
class Vocabulary:
    """The labels that people may use; empty where any will do. What differs in case alone is one label."""

    labels: Sequence[str] = ()
    _names: dict[str, str] = field(default_factory=dict)
    _suggested: int = 0

    def __post_init__(self) -> None:
        self._names = {label.strip().casefold(): label for label in self.labels}

    def name(self, label: str) -> str:
        """Return a label as the project writes it.

        Raises:
            InvalidRequest: it is none of them; the detail names the nearest.
        """
        found = self._names.get(label.strip().casefold()) if self._names else label
        if found is None:
            self._suggested += 1
            near = nearest(label, self.labels) if self._suggested <= _SUGGESTIONS else ""
            raise InvalidRequest(f"{label[:80]!r} is none of the project's labels{near}")
        return found

    def checked(self, final: Final) -> dict[str, Any]:
        """Return a final label or a truth in the project's own writing.

        Raises:
            InvalidRequest: a label that is none of the project's.
        """
        if "boxes" in final:
            return {"boxes": [{"label": self.name(one["label"]), "xyxy": list(one["xyxy"])} for one in final["boxes"]]}
        if "label" in final:
            return {"label": None if final["label"] is None else self.name(final["label"])}
        return {"text": final["text"]}


def written(task: Task, final: Final) -> dict[str, Any]:
    """Return final labels in the form of truths. `labels`, pairs of a label and its corners or None, are read as the task means them.

    Raises:
        InvalidRequest: a final label of another task's kind.
    """
    if "labels" not in final or task == "transcription":
        require_kind(task, final)
        return dict(final)
    labels = final["labels"]
    if task == "classification":
        return {"label": labels[0][0] if labels else None}
    if any(xyxy is None for _, xyxy in labels):
        raise InvalidRequest("a label of this task needs xyxy")
    return {"boxes": [{"label": label, "xyxy": xyxy} for label, xyxy in labels]}


def require_kind(task: Task, final: Final) -> None:
    """Refuse a final label of another task's kind.

    Raises:
        InvalidRequest: it is.
    """
    if set(final) != {_KIND[task]}:
        raise InvalidRequest(
            f"the task is {task}: its labels are written in `{_KIND[task]}`, not in `{', '.join(sorted(final)) or 'nothing'}`"
        )


def require_boxes(final: Final, size: Sequence[float] | None = None) -> None:
    """Refuse boxes without an area, and such as lie outside an image of a size.

    Raises:
        InvalidRequest: one does.
    """
    for box in boxes_of(final.get("boxes", ())):
        left, top, right, bottom = box.xyxy
        if left >= right or top >= bottom:
            raise InvalidRequest(f"xyxy {list(box.xyxy)} has no area")
        if size is not None and (min(left, top) < -_BEYOND or right > size[0] + _BEYOND or bottom > size[1] + _BEYOND):
            raise InvalidRequest(f"xyxy {list(box.xyxy)} lies outside the image of {size[0]} x {size[1]} pixels (after EXIF rotation)")


def shown(draft: Draft, arm: str) -> dict[str, Any]:
    """Return the payload that a client was shown: of a withheld draft the task's blank labels."""
    payload = dict(draft.payload)
    blank = arm == "withheld" or payload.get("route") == "from_scratch"
    return {**payload, **SPECS[draft.task].blank} if blank else payload


@dataclass(frozen=True, slots=True)
class Derived:
    """What was done with a draft. `caught` is known of honeypots alone."""

    verdict: str
    edits: list[dict[str, Any]]
    caught: str | None = None


def derive(draft: Draft, draw: DrawRow | None, final: Final) -> Derived:
    """Compare a final label with what was shown, and with a honeypot's error.

    Raises:
        InvalidRequest: a final label of another task's kind, or a draft of an old form.
    """
    planted = draw.planted if draw is not None and draw.arm == "honeypot" else None
    try:
        found = compare(draft.task, shown(draft, arm_of(draft, draw)), final)
        caught = None if planted is None else judge(Planted(**planted), final)
    except (KeyError, IndexError, TypeError) as error:
        raise InvalidRequest(f"draft {draft.id} was stored without what it takes to compare it: {error!r}") from error
    return Derived(found.verdict, [edit.as_json() for edit in found.edits], caught)


def arm_of(draft: Draft, draw: DrawRow | None) -> str:
    """Return the arm that a draft was shown under."""
    return draft.arm if draw is None else draw.arm


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a review says of a draft: the stream, the truth, and by which source. `propensity` is the chance of a blind item's draw."""

    draft: str
    source: str
    stream: Stream
    truth: Truth
    propensity: float | None = None


def evidence(row: ReviewRow, draw: DrawRow | None, gold: GoldItem | None) -> list[Evidence]:
    """Return what a review that counts says of the model's draft; nothing of one that was skipped.

    - A withheld draft is judged by the label that was made without seeing it, with the chance of its draw: `blind`.
    - The natural draft of an item that was gold when it was drawn is judged by the gold label, once, whoever reviewed it: `gold`. So is the
      one behind a honeypot: an error is planted more easily in some drafts than in others, and what is left would look too good or too bad.
    - The honeypot itself says nothing of the model: `honeypot`. All else is `review`, which never calibrates.
    """
    if row.final is None:
        return []
    source, truth = of_review(row.event_id, row.revision), truth_of(row.final)
    if draw is None:
        return [Evidence(row.draft, source, "review", truth)]
    if draw.arm == "withheld":
        return [Evidence(draw.natural, source, "blind", truth, draw.propensity)]
    known = [Evidence(draw.natural, of_gold(gold.revision), "gold", truth_of(gold.truth))] if draw.gold and gold is not None else []
    if draw.arm == "honeypot":
        return [Evidence(draw.draft, source, "honeypot", truth), *known]
    return known or [Evidence(row.draft, source, "review", truth)]


def truth_of(final: Final) -> Truth:
    """Return a final label or a gold item's truth as outcomes are judged by it."""
    if "boxes" in final:
        return BoxesTruth(tuple(TrueBox(box.label, box.xyxy) for box in boxes_of(final["boxes"])))
    return LabelTruth(final["label"]) if "label" in final else TextTruth(str(final["text"]))


def labels_of(body: Mapping[str, Any]) -> list[str]:
    """Return the labels that a project's body names; none where the model's classes are its labels."""
    targets: Iterable[str] = (body.get("label_map") or {}).values()
    return list(dict.fromkeys([*(body.get("labels") or ()), *targets]))
