"""The task registry: for each task, its media, its correctness rule, and how a prediction is rendered as a draft's labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from candor.confidences import Confidences
from candor.predictions import Classification, Detections, Floats, Prediction, Segment, Task, Transcript

TOP_K = 5  # labels that are shown of an image


@dataclass(frozen=True, slots=True)
class Rendering:
    """What rendering needs to know beside the prediction."""

    draft_id: str
    labels: Sequence[str]
    display_threshold: float | None = None
    top_k: int = TOP_K


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task. `render` gives a draft's payload as JSON values. Of a payload, `confidence` is the whole draft's probability, where it is
    estimated, and `judged` are the labels that a person finds right or wrong; `blank` stands in their place where they are not shown.
    """

    name: Task
    media: Literal["image", "audio"]
    prediction: type
    calibrated_score: str
    correctness: str
    render: Callable[[Any, Confidences, Rendering], dict[str, Any]]
    confidence: Callable[[dict[str, Any]], float | None]
    judged: Callable[[Mapping[str, Any]], list[Mapping[str, Any]]]
    blank: Mapping[str, Any]


def _round(value: float, digits: int = 6) -> float:
    return round(float(value), digits)


def _at(confidences: Confidences, index: int) -> dict[str, Any]:
    """What is known of one label. `no_edit` is there only where it is estimated, and `badge` only where the label has it."""
    found: dict[str, Any] = {"confidence": None if confidences.labels is None else _round(confidences.labels[index])}
    if confidences.no_edit is not None:
        found["no_edit"] = _round(confidences.no_edit[index])
    return {**found, **_badge(confidences, index)}


def _badge(confidences: Confidences, index: int) -> dict[str, str]:
    return {"badge": "high"} if confidences.badges is not None and confidences.badges[index] else {}


def _marked(prediction: Detections | Classification) -> dict[str, bool]:
    """Say of a logit that it was made from a rounded probability."""
    return {"reconstructed": True} if prediction.reconstructed else {}


def _render_detections(prediction: Detections, confidences: Confidences, how: Rendering) -> dict[str, Any]:
    threshold = how.display_threshold or 0.0
    shown = [i for i in range(len(prediction.score)) if prediction.score[i] >= threshold]
    return {
        "image_size": list(prediction.image_size),
        "labels": [
            {
                "id": f"{how.draft_id}.{position}",
                "label": how.labels[prediction.class_index[i]],
                "xyxy": [_round(x, 3) for x in prediction.xyxy[i]],
                **_at(confidences, i),
                "raw": {"score": _round(prediction.score[i]), "logit": _round(prediction.logit[i]), **_marked(prediction)},
            }
            for position, i in enumerate(shown)
        ],
    }


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits (…, k) over the last axis, computed in float64 from the row maximum."""
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def _render_classification(prediction: Classification, confidences: Confidences, how: Rendering) -> dict[str, Any]:
    scores = softmax(prediction.logits)
    best = np.argsort(-prediction.logits, kind="stable")[: how.top_k]
    # the badge speaks of the draft's answer, which is the first label: its promise was measured on that alone
    first = _badge(confidences, int(best[0])) if len(best) else {}
    others = replace(confidences, badges=None)
    return {
        "image_size": list(prediction.image_size),
        **first,
        "labels": [
            {
                "id": f"{how.draft_id}.{position}",
                "label": how.labels[i],
                **_at(others, int(i)),
                **(first if position == 0 else {}),
                "raw": {"score": _round(scores[i]), "logit": _round(prediction.logits[i]), **_marked(prediction)},
            }
            for position, i in enumerate(best)
        ],
    }


def _render_segment(segment: Segment, at: tuple[int, int], confidences: Confidences, draft_id: str) -> dict[str, Any]:
    """Render the segment of a position, whose first word has another over all segments: `at` is both."""
    position, first_word = at
    # a segment's probability comes from a model of its own: the product of its words' is not it
    own = None if confidences.segments is None else _round(confidences.segments[position])
    return {
        "id": f"{draft_id}.{position}",
        "start": _round(segment.start, 3),
        "end": _round(segment.end, 3),
        "text": segment.text.strip(),
        "confidence": own,
        "words": [
            {
                "text": word.text.strip(),
                "start": _round(word.start, 3),
                "end": _round(word.end, 3),
                **_at(confidences, first_word + number),
                "raw": {"score": _round(word.score), "logit": _round(word.logit)},
            }
            for number, word in enumerate(segment.words)
        ],
        "raw": {
            "avg_logprob": _round(segment.avg_logprob),
            "no_speech_prob": _round(segment.no_speech_prob),
            "compression_ratio": _round(segment.compression_ratio),
        },
    }


def _render_transcript(prediction: Transcript, confidences: Confidences, how: Rendering) -> dict[str, Any]:
    rendered, first_word = [], 0
    for position, segment in enumerate(prediction.segments):
        rendered.append(_render_segment(segment, (position, first_word), confidences, how.draft_id))
        first_word += len(segment.words)
    return {
        "duration": _round(prediction.duration, 3),
        "language": prediction.language,
        "text": prediction.text,
        "no_speech": not prediction.segments,
        "segments": rendered,
    }


def _not_estimated(_payload: dict[str, Any]) -> None:
    return None


def _first_label(payload: dict[str, Any]) -> float | None:
    labels = payload["labels"]
    confidence: float | None = labels[0]["confidence"] if labels else None
    return confidence


def _every_label(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(payload["labels"])


def _best_label(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(payload["labels"][:1])


def _every_word(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [word for segment in payload["segments"] for word in segment["words"]]


SPECS: Mapping[Task, TaskSpec] = {
    "detection": TaskSpec(
        name="detection",
        media="image",
        prediction=Detections,
        calibrated_score="logit of each box's displayed score",
        correctness="the box matches an unmatched true box of its class at IoU >= 0.5, in descending score; a duplicate is wrong",
        render=_render_detections,
        confidence=_not_estimated,
        judged=_every_label,
        blank={"labels": []},
    ),
    "classification": TaskSpec(
        name="classification",
        media="image",
        prediction=Classification,
        calibrated_score="logits over the label set",
        correctness="the label equals the truth",
        render=_render_classification,
        confidence=_first_label,
        judged=_best_label,
        blank={"labels": []},
    ),
    "transcription": TaskSpec(
        name="transcription",
        media="audio",
        prediction=Transcript,
        calibrated_score="log-odds of each word's least token probability",
        correctness="the word is a correct word in the alignment of the normalised text with the normalised reference",
        render=_render_transcript,
        confidence=_not_estimated,
        judged=_every_word,
        blank={"text": "", "segments": []},
    ),
}


def render(task: Task, prediction: Prediction, confidences: Confidences, how: Rendering) -> dict[str, Any]:
    """Return the payload of a draft, raw scores included, as JSON values."""
    return SPECS[task].render(prediction, confidences, how)


def without_raw(value: Any) -> Any:
    """Return a payload without its raw scores, which are shown only on request."""
    return without(value, "raw")


def without(value: Any, name: str) -> Any:
    """Return a payload without the fields of a name, wherever they stand."""
    if isinstance(value, dict):
        return {key: without(inner, name) for key, inner in value.items() if key != name}
    if isinstance(value, list):
        return [without(inner, name) for inner in value]
    return value
