"""Models and drafts as X-AnyLabeling shows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from candor.drafts import Draft
from serving.protocols.asking import is_shown
from serving.requests import ModelStatus


def model(status: ModelStatus, labels: Sequence[str]) -> dict[str, Any]:
    """Return a model with the switches that its user gets.

    What is drawn already is kept unless the user says otherwise: the program takes any failure, such as no network, for an empty answer.
    """
    widgets: list[dict[str, Any]] = [{"name": "button_run", "value": None}]
    if status.confidence_status != "uncalibrated":  # else there is nothing that a threshold could be held against
        widgets.append({"name": "edit_conf", "value": 0.0})
    if labels:
        widgets.append({"name": "button_classes_filter", "value": None})
    widgets.append({"name": "toggle_preserve_existing_annotations", "value": True})
    return {
        "display_name": f"{status.name} ({status.task})",
        "widgets": widgets,
        "params": {},
        "capabilities": {},
        "batch_processing_mode": "default",
        "classes": list(labels),
    }


def drafted(draft: Draft, least: float, classes: Collection[str]) -> dict[str, Any]:
    """Return a draft's shapes. Where there are none, nothing that is drawn is replaced by them; else that is as its user has set it."""
    wire = draft.as_wire()
    labels = wire["labels"] if draft.task == "detection" else wire["labels"][:1]
    shapes = [
        _shape(label, label.get("xyxy") or _whole(wire["image_size"]))
        for label in labels
        if is_shown(label["confidence"], least) and (not classes or label["label"] in classes)
    ]
    return {"shapes": shapes, "description": "", "replace": None if shapes else False, "draft": wire["id"]}


def _whole(size: Sequence[int]) -> list[float]:
    """The box of what is said of the whole image."""
    return [0.0, 0.0, float(size[0]), float(size[1])]


def _shape(label: Mapping[str, Any], xyxy: Sequence[float]) -> dict[str, Any]:
    left, top, right, bottom = xyxy
    return {
        "label": label["label"],
        "shape_type": "rectangle",
        "points": [[left, top], [right, top], [right, bottom], [left, bottom]],
        "score": label["confidence"],
        "attributes": {},
        "description": None,
        "difficult": False,
        "direction": 0,
        "flags": None,
        "group_id": None,
        "kie_linking": [],
    }
