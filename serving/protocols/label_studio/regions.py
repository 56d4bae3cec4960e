"""A draft as a prediction of Label Studio, and whether Label Studio would take it.

What is shown of a draft is what the native API shows of it (`Draft.as_wire`): a draft that is withheld, is to be made from scratch, or
found nothing is an empty prediction, and the three can't be told apart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from candor.drafts import Draft
from candor.predictions import Task
from serving.protocols.label_studio.config import Control, Layout
from serving.protocols.label_studio.labels import own_labels, span_label

_LIKELY = 0.5  # the confidence from which one of several choices is ticked
_RAW = ("score", "avg_logprob", "no_speech_prob")
_PERCENT = 100.0


def empty(version: str) -> dict[str, Any]:
    """Return the prediction of a task that nothing is proposed for."""
    return {"result": [], "score": None, "model_version": version}


def prediction(draft: Draft, layout: Layout, version: str) -> tuple[dict[str, Any], list[str]]:
    """Return a draft as a prediction, and what of it had to be left out, in words for the log."""
    shown, left_out = draft.as_wire(), list[str]()
    made = _MAKERS[draft.task](shown, layout, left_out)
    raw = _raw(draft) if made else {}
    result: list[dict[str, Any]] = []
    for regions in made:
        id_ = regions[0]["id"]
        meta = {"candor": {"draft": draft.id, "confidence_status": draft.confidence_status}, "raw": raw.get(id_, {})}
        if found := [fault for region in regions for fault in faults(region, layout)]:
            left_out += found
        else:
            result += [{**region, "meta": meta} for region in regions]
    return {"result": result, "score": _score(draft, shown, result), "model_version": version}, left_out


def faults(region: Mapping[str, Any], layout: Layout) -> list[str]:
    """Return why Label Studio would refuse a region; empty: it takes it."""
    control = next((one for one in (layout.control, layout.text_control) if one and one.name == region["from_name"]), None)
    if control is None or region["to_name"] != layout.object_name or region["type"] != control.result_type:
        return [f"{region['id']}: no control of the labeling config takes it"]
    value = region["value"]
    told = [
        f"{region['id']}: {name} is {number!r}, and has to be from 0 to {most:g}"
        for name, number, most in _numbers(control, region)
        if not (isinstance(number, float | int) and 0 <= number <= most)
    ]
    if control.kind == "TextArea":
        texts = value.get("text")
        ok = isinstance(texts, list) and all(isinstance(one, str) for one in texts)
        return told if ok else [*told, f"{region['id']}: its text is not a list of texts"]
    names = value.get(control.result_type)
    known = {option.name for option in control.options}
    if not isinstance(names, list) or not names or not set(names) <= known:
        told.append(f"{region['id']}: {str(names)[:80]} is not among the labels of {control.name!r}")
    return told


def _numbers(control: Control, region: Mapping[str, Any]) -> Iterator[tuple[str, Any, float]]:
    """Yield the numbers that a region must have, and the most that each may be."""
    value = region["value"]
    if "score" in region:
        yield "score", region["score"], 1.0
    if control.kind == "RectangleLabels":
        yield from ((name, value.get(name), _PERCENT) for name in ("x", "y", "width", "height"))
    elif control.kind == "Labels" or control.per_region:
        yield "end", value.get("end"), sys.float_info.max
        yield "start", value.get("start"), value.get("end") or 0.0


def _boxes(shown: Mapping[str, Any], layout: Layout, left_out: list[str]) -> list[list[dict[str, Any]]]:
    if not shown["labels"]:
        return []
    wide, high = shown["image_size"]
    size = {"original_width": wide, "original_height": high, "image_rotation": 0}
    names = own_labels({label["label"] for label in shown["labels"]}, layout)
    found = []
    for label in shown["labels"]:
        (left, right), (top, bottom) = _within(label["xyxy"][::2], wide), _within(label["xyxy"][1::2], high)
        if label["label"] not in names:
            left_out.append(_no_label(label, layout))
        elif right <= left or bottom <= top:
            left_out.append(f"{label['id']}: its box has no area in the image")
        else:
            corner = {"x": left, "y": top, "width": _rounded(right - left), "height": _rounded(bottom - top), "rotation": 0}
            value = {**corner, layout.control.result_type: [names[label["label"]]]}
            found.append([_region(layout, layout.control, label["id"], value, label["confidence"], **size)])
    return found


def _choices(shown: Mapping[str, Any], layout: Layout, left_out: list[str]) -> list[list[dict[str, Any]]]:
    """One choice is the draft's answer; where several may be ticked, they are those that are likely."""
    labels = shown["labels"]
    if layout.control.multiple and labels and labels[0]["confidence"] is not None:
        chosen = [label for label in labels if label["confidence"] >= _LIKELY]
    else:
        chosen = labels[:1]
    names = own_labels({label["label"] for label in chosen}, layout)
    left_out += [_no_label(label, layout) for label in chosen if label["label"] not in names]
    chosen = [label for label in chosen if label["label"] in names]
    if not chosen:
        return []
    value = {layout.control.result_type: list(dict.fromkeys(names[label["label"]] for label in chosen))}
    return [[_region(layout, layout.control, chosen[0]["id"], value, chosen[0]["confidence"])]]


def _text(shown: Mapping[str, Any], layout: Layout, _left_out: list[str]) -> list[list[dict[str, Any]]]:
    if layout.text_control is not None:
        return [_segment(one, shown["duration"], layout, layout.text_control) for one in shown["segments"]]
    if not shown["text"].strip():
        return []
    return [[_region(layout, layout.control, f"{shown['id']}.0", {"text": [shown["text"]]}, _share_of_words(shown))]]


def _segment(segment: Mapping[str, Any], duration: float, layout: Layout, text_control: Control) -> list[dict[str, Any]]:
    """Return the span of a segment and its text: two regions of one id.

    Their score is the mean of the words' confidences, the share of them that is likely right, as a whole text's is. That all of them
    are right is another number, which not every calibration knows: of one place in the tool people expect one meaning.
    """
    span = {"start": segment["start"], "end": segment["end"], "channel": 0}
    id_, length = segment["id"], {"original_length": duration}
    confidence = _share_of(segment["words"])
    labels, text = {layout.control.result_type: [span_label(layout)]}, {"text": [segment["text"]]}
    return [
        _region(layout, layout.control, id_, {**span, **labels}, confidence, **length),
        _region(layout, text_control, id_, {**span, **text}, confidence, **length),
    ]


_MAKERS: Mapping[Task, Callable[[Mapping[str, Any], Layout, list[str]], list[list[dict[str, Any]]]]] = {
    "detection": _boxes,
    "classification": _choices,
    "transcription": _text,
}


def _region(layout: Layout, control: Control, id_: str, value: Mapping[str, Any], confidence: float | None, **more: Any) -> dict[str, Any]:
    """Return one region. Nothing but a confidence is ever its score: where there is none, it has no score."""
    score = {} if confidence is None else {"score": _rounded(confidence)}
    names = {"from_name": control.name, "to_name": layout.object_name, "type": control.result_type}
    return {"id": id_, **names, "value": dict(value), **score, **more}


def _within(sides: Sequence[float], size: float) -> tuple[float, float]:
    """Return two sides of a box in percent of the image, and no further than the image."""
    low, high = (_rounded(min(max(_PERCENT * side / size, 0.0), _PERCENT)) for side in sides)
    return low, high


def _score(draft: Draft, shown: Mapping[str, Any], result: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the confidence of a whole prediction: the draft's; of boxes and words the mean, which is the share that is likely right.

    Where nothing is proposed there is none.
    """
    if not result:
        return None
    if draft.task == "classification":
        whole = shown["confidence"]
        return None if whole is None else _rounded(whole)
    return _share_of_words(shown) if draft.task == "transcription" else _mean([region.get("score") for region in result])


def _share_of_words(shown: Mapping[str, Any]) -> float | None:
    return _share_of([word for segment in shown["segments"] for word in segment["words"]])


def _share_of(words: Sequence[Mapping[str, Any]]) -> float | None:
    return _mean([word["confidence"] for word in words])


def _raw(draft: Draft) -> dict[str, dict[str, float]]:
    """Return what the model itself said of each label, by the label's id."""
    whole = draft.as_wire(raw=True)
    labels = whole["segments"] if draft.task == "transcription" else whole["labels"]
    return {label["id"]: {name: label["raw"][name] for name in _RAW if name in label.get("raw", {})} for label in labels}


def _mean(confidences: Sequence[float | None]) -> float | None:
    known = [one for one in confidences if one is not None]
    return _rounded(sum(known) / len(known)) if known and len(known) == len(confidences) else None


def _rounded(number: float) -> float:
    return round(float(number), 4)


def _no_label(label: Mapping[str, Any], layout: Layout) -> str:
    return f"{label['id']}: {label['label'][:80]!r} is not among the labels of {layout.control.name!r}"
