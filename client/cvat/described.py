"""What drafts for CVAT: a model, or a project, with the labels that it can propose."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from client.api import Client, DraftOptions
from client.errors import BadOption

Shape: TypeAlias = Literal["rectangle", "tag"]


@dataclass(frozen=True, slots=True)
class Described:
    """What Candor is asked for, and what may come: labels, each as a rectangle or a tag."""

    options: DraftOptions
    labels: tuple[str, ...]
    shape: Shape


def described(candor: Client, model: str | None, project: str | None) -> Described:
    """Return what the server says of a model or a project. Of both, the project's labels count.

    Raises:
        ClientError: neither is named, the server knows none of that name for images, or can't be asked.
    """
    kind, name = ("project", project) if project else ("model", model)
    if not name:
        raise BadOption("say what drafts: a model, or a project that has one")
    listed = candor.send("GET", "/api/functions").json()
    notes = {(one["candor.kind"], one["candor.name"]): one for one in (found["metadata"]["annotations"] for found in listed.values())}
    found = notes.get((kind, name.partition("@")[0] if kind == "model" else name))
    if found is None:
        known = ", ".join(sorted(own for own_kind, own in notes if own_kind == kind)) or "none"
        raise BadOption(f"there is no {kind} {name!r} that drafts for images and is installed; there is: {known}")
    labels = json.loads(found["spec"])
    shape: Shape = "tag" if found["candor.task"] == "classification" else "rectangle"
    return Described(DraftOptions(found["candor.task"], model, project), tuple(label["name"] for label in labels), shape)


def shown(draft: Mapping[str, Any], shape: Shape, threshold: float | None) -> Iterable[Mapping[str, Any]]:
    """Return the labels of a draft that go to CVAT: all boxes, or the first class.

    The threshold is held against confidences; where there are none it is not applied, since a raw score is not one.
    """
    labels: list[Mapping[str, Any]] = draft["labels"] if shape == "rectangle" else draft["labels"][:1]
    return [one for one in labels if threshold is None or one["confidence"] is None or one["confidence"] >= threshold]


def score(label: Mapping[str, Any]) -> float:
    """Return a label's confidence as CVAT takes it. It has no word for "not known", and takes a score left out for 1: so that is 0."""
    confidence: float | None = label["confidence"]
    return 0.0 if confidence is None else confidence
