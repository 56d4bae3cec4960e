"""Drafts as tensors. Those with an entry for each label say in `item_index` whose it is: items have different numbers of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from candor.drafts import Draft
from candor.errors import CandorError, InvalidRequest
from candor.predictions import Task
from candor.tasks import SPECS


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of the answer: its entries are of `width` numbers each, where that is not 1."""

    name: str
    datatype: str
    width: int = 1

    def described(self) -> dict[str, Any]:
        """Return it as the model's metadata tells it."""
        return {"name": self.name, "datatype": self.datatype, "shape": self._shape(-1)}

    def filled(self, data: Sequence[Any]) -> dict[str, Any]:
        """Return it with its values, row after row."""
        return {"name": self.name, "datatype": self.datatype, "shape": self._shape(len(data) // self.width), "data": list(data)}

    def _shape(self, rows: int) -> list[int]:
        return [rows] if self.width == 1 else [rows, self.width]


_EACH_ITEM = (Output("draft_ids", "BYTES"), Output("drafts", "BYTES"), Output("errors", "BYTES"))
_EACH_LABEL = (Output("item_index", "INT64"), Output("labels", "BYTES"), Output("confidences", "FP32"))
OUTPUTS: Mapping[Task, tuple[Output, ...]] = {
    "detection": (*_EACH_ITEM, *_EACH_LABEL, Output("boxes", "FP32", 4)),
    "classification": (*_EACH_ITEM, *_EACH_LABEL),
    "transcription": (
        *_EACH_ITEM,
        Output("texts", "BYTES"),
        Output("languages", "BYTES"),
        *_EACH_LABEL,
        Output("starts", "FP32"),
        Output("ends", "FP32"),
    ),
}


def tensors(task: Task, answers: Sequence[Draft | CandorError], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """Return the outputs that are wanted; none named: all.

    Raises:
        InvalidRequest: there is no output of a name.
    """
    known = [output.name for output in OUTPUTS[task]]
    if unknown := [name for name in wanted if name not in known]:
        raise InvalidRequest(f"outputs: {unknown[0][:80]!r} is none of {', '.join(known)}")
    values = _values(task, answers)
    return [output.filled(values[output.name]) for output in OUTPUTS[task] if not wanted or output.name in wanted]


def _values(task: Task, answers: Sequence[Draft | CandorError]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {output.name: [] for output in OUTPUTS[task]}
    for place, answer in enumerate(answers):
        wire = answer.as_wire() if isinstance(answer, Draft) else {}
        told = {
            "draft_ids": wire.get("id", ""),
            "drafts": json.dumps(wire, ensure_ascii=False) if wire else "",
            "errors": answer.detail if isinstance(answer, CandorError) else "",
            "texts": wire.get("text", ""),
            "languages": wire.get("language", ""),
        }
        for name in told.keys() & values.keys():
            values[name].append(told[name])
        for label in _labels(task, wire):
            values["item_index"].append(place)
            values["labels"].append(label["text"] if task == "transcription" else label["label"])
            values["confidences"].append(label["confidence"])
            for name, key in (("starts", "start"), ("ends", "end")) if task == "transcription" else ():
                values[name].append(label[key])
            if task == "detection":
                values["boxes"].extend(label["xyxy"])
    return values


def _labels(task: Task, wire: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The labels of one draft: all classes that are shown, boxes, or words."""
    if not wire:
        return []
    return SPECS[task].judged(wire) if task == "transcription" else list(wire["labels"])
