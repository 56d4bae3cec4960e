"""Drafts and models as Roboflow's clients read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from candor.drafts import Draft
from serving.protocols.asking import is_shown
from serving.protocols.roboflow.reading import NAME_ALONE, Filter
from serving.requests import ModelStatus

TASKS = {"detection": "object-detection", "classification": "classification"}


def registered(found: Sequence[ModelStatus]) -> list[dict[str, Any]]:
    """Return the models for images, each under all of its ids."""
    return [
        described(f"{one.name}/{version}", one)
        for one in found
        if one.task in TASKS
        for version in dict.fromkeys((NAME_ALONE, *one.aliases))
    ]


def described(model_id: str, status: ModelStatus) -> dict[str, Any]:
    """Return one model under an id. Images come in any size and number."""
    return {"model_id": model_id, "task_type": TASKS[status.task], "batch_size": None, "input_height": None, "input_width": None}


def predicted(draft: Draft, labels: Sequence[str], wanted: Filter) -> dict[str, Any]:
    """Return a draft's labels. `confidence` is the calibrated one: null where the model is not calibrated."""
    wire = draft.as_wire()
    width, height = wire["image_size"]
    passing = [
        label
        for label in wire["labels"]
        if is_shown(label["confidence"], wanted.least) and (not wanted.classes or label["label"] in wanted.classes)
    ]
    number = {name: place for place, name in enumerate(labels)}
    shown = [_label(label, number) for label in passing[: wanted.most]]
    timings = wire["timings"]
    found = {
        "inference_id": wire["id"],
        "time": round(sum(timings[step] for step in ("fetch", "prepare", "queue", "infer", "finish")), 6),
        "image": {"width": width, "height": height},
        "predictions": shown,
        "model_version": wire["model_version"],
        "confidence_status": wire["confidence_status"],
    }
    if draft.task == "classification":
        best = shown[0] if shown else {"class": "", "confidence": None}
        return {**found, "top": best["class"], "confidence": best["confidence"]}
    return found


def _label(label: Mapping[str, Any], number: Mapping[str, int]) -> dict[str, Any]:
    named = {"class": label["label"], "class_id": number.get(label["label"], -1), "confidence": label["confidence"]}
    if "xyxy" not in label:
        return named
    left, top, right, bottom = label["xyxy"]
    box = {"x": (left + right) / 2, "y": (top + bottom) / 2, "width": right - left, "height": bottom - top}
    box = {name: round(value, 4) for name, value in box.items()}
    return {**box, **named, "detection_id": label["id"]}
