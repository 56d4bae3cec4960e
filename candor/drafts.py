"""A draft: what Candor proposed for one item, as it is stored and as it goes over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from candor.confidences import ConfidenceStatus
from candor.predictions import Task
from candor.tasks import SPECS, without, without_raw


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that one item spent in each step, and the size of the (largest) batch that it was inferred in.

    `queue` is time prepared and waiting for the device; `infer` the wall time of its batches. `cached` says that a stored draft
    answered without the model; the other figures are then those of the first time.
    """

    fetch: float = 0.0
    prepare: float = 0.0
    queue: float = 0.0
    infer: float = 0.0
    finish: float = 0.0
    batch_size: int = 0
    cached: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the timings as JSON values, to the microsecond."""
        steps = {name: round(getattr(self, name), 6) for name in ("fetch", "prepare", "queue", "infer", "finish")}
        return {**steps, "batch_size": self.batch_size, "cached": self.cached}


@dataclass(frozen=True, slots=True)
class Draft:
    """One immutable draft. `payload` holds the task's own fields, raw scores included, and what policy decided: `route` and `priority`.

    `unverified_since` is set where an alarm about its calibration was open when it was shown: since when.
    """

    id: str
    item: str
    task: Task
    model_version: str
    calibration: str | None
    confidence_status: ConfidenceStatus
    confidence: float | None
    payload: Mapping[str, Any]
    timings: Timings
    media_sha256: str
    created_at: datetime
    project: str | None = None
    unverified_since: datetime | None = None
    team: str = "default"  # who asked for it; nobody else sees it
    label_map: str | None = None  # the project's mapping of labels that it was made with: `LabelMap.digest`
    arm: str = "assisted"  # no client ever sees it: `withheld` is shown without labels, `honeypot` with what was planted; `twin` never

    def as_wire(self, *, raw: bool = False) -> dict[str, Any]:
        """Return the draft as the native API shows it: with `raw` all that is stored of it.

        Else one that is to be made from scratch is shown without its labels, so that nobody corrects them. A withheld one is shown,
        always, as if the model had found nothing.
        """
        payload = self._unlabelled() if self.arm == "withheld" else dict(self.payload)
        payload = payload if raw else self._shown(payload)
        return {
            "id": self.id,
            "item": self.item,
            "project": self.project,
            "task": self.task,
            "model_version": self.model_version,
            "route": "review",  # of a draft that is older than policies
            "priority": None,
            **payload,
            "confidence": None if self.arm == "withheld" else self.confidence,
            "confidence_status": self.confidence_status,
            "unverified_since": self.unverified_since.isoformat() if self.unverified_since else None,
            "calibration": self.calibration,
            "timings": self.timings.as_json(),
            "created_at": self.created_at.isoformat(),
        }

    def _shown(self, payload: dict[str, Any]) -> dict[str, Any]:
        payload = without_raw(payload)
        return {**payload, **SPECS[self.task].blank} if payload.get("route") == "from_scratch" else payload

    def _unlabelled(self) -> dict[str, Any]:
        """Return the payload that this draft would have if the model had proposed nothing for the item."""
        payload = {name: value for name, value in self.payload.items() if name != "badge"} | dict(SPECS[self.task].blank)
        if "no_speech" in payload:
            payload["no_speech"] = True
        nothing_to_correct = None if payload.get("priority") is None else 0.0
        return {**payload, "route": "review", "priority": nothing_to_correct}

    def again(self) -> Draft:
        """Return the draft as it is shown when it answers once more without the model."""
        return replace(self, timings=replace(self.timings, cached=True))

    def doubted(self, since: datetime) -> Draft:
        """Return the draft as it is shown while an alarm is open: its confidences are unverified, and no label is marked `high`."""
        return replace(self, confidence_status="unverified", unverified_since=since, payload=without(dict(self.payload), "badge"))

    def for_item(self, draft_id: str, item: str, project: str | None, created_at: datetime) -> Draft:
        """Return the same proposal as a draft of another item with the same bytes: what people do with it is another story."""
        return replace(self.again().renamed(draft_id), item=item, project=project, created_at=created_at, arm="assisted")

    def renamed(self, draft_id: str) -> Draft:
        """Return the same draft under another id."""
        return replace(self, id=draft_id, payload=_renamed(dict(self.payload), self.id, draft_id))


def _renamed(value: Any, old: str, new: str) -> Any:
    """Give the labels of a payload the ids of another draft: `<draft id>.<position>`."""
    if isinstance(value, dict):
        return {
            key: new + inner.removeprefix(old) if key == "id" and isinstance(inner, str) else _renamed(inner, old, new)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_renamed(inner, old, new) for inner in value]
    return value
