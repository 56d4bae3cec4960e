"""The calibration record: what maps raw scores to probabilities for one model version, and the data and figures that justify it.

It is JSON, named by the hash of its own content, so that a record that was edited is refused. There is no code in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from candor.errors import InvalidRequest
from candor.manifest import canonical_json
from candor.predictions import TASKS, Task

SCHEMA = 1

Method: TypeAlias = Literal["temperature", "temperature_bias", "word_temperature_bias"]
Status: TypeAlias = Literal["calibrated", "unverified"]

METHODS: Mapping[Task, Method] = {
    "classification": "temperature",
    "detection": "temperature_bias",
    "transcription": "word_temperature_bias",
}


@dataclass(frozen=True)
class CalibrationRecord:
    """One immutable calibration. `parameters` holds `temperature` and, but for `temperature`, `bias`: confidence =
    softmax(logits / temperature), or sigmoid(logit / temperature + bias).

    `display_threshold` belongs to the fit: boxes below it were not fitted and get no claim. `fitted_items` are `item_key`s of
    the items that the fit has seen, so that no evaluation is made on them.
    """

    task: Task
    method: Method
    parameters: Mapping[str, float]
    model_version: str  # name@sha256:<hex>
    event: str  # what a confidence is the probability of
    data: Mapping[str, Any]  # name, sha256, split, counts, caveat
    fit: Mapping[str, Any]  # interval of the temperature, rows, NLL
    figures: Mapping[str, Any]  # before, after and their paired difference, on held-out rows
    status: Status
    reason: str
    created_at: str  # ISO 8601, UTC
    libraries: Mapping[str, str] = field(default_factory=dict)
    display_threshold: float | None = None  # detection
    normaliser: Mapping[str, str] | None = None  # transcription: name, version
    fitted_items: tuple[str, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise InvalidRequest(f"the calibration record is not valid: {problem}")

    @cached_property
    def id(self) -> str:
        """`cal_` and 26 characters of the SHA-256 of the canonical JSON, in base 32."""
        digest = hashlib.sha256(canonical_json(self._body())).digest()
        return "cal_" + base64.b32encode(digest).decode().lower()[:26]

    def _body(self) -> dict[str, Any]:
        return {**asdict(self), "fitted_items": list(self.fitted_items)}

    def as_json(self) -> dict[str, Any]:
        """Return the record, its id first, as JSON values."""
        return {"id": self.id, **self._body()}

    @classmethod
    def from_json(cls, value: Any) -> CalibrationRecord:
        """Build a record from JSON values and hold it against its id.

        Raises:
            InvalidRequest: a field is missing, unknown or wrong, or the content is not what the id names.
        """
        if not isinstance(value, Mapping):
            raise InvalidRequest("the calibration record is not a JSON object")
        body = {key: inner for key, inner in value.items() if key != "id"}
        try:
            record = cls(**{**body, "fitted_items": tuple(body.get("fitted_items", ()))})
            found = record.id
        except (TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest(f"the calibration record is not valid: {error}") from error
        if value.get("id") != found:
            raise InvalidRequest(
                f"the calibration record was changed after it was made: it is named {value.get('id')!r}, its content is {found!r}. "
                "Take the original file, or make a new one with `candor calibrate`"
            )
        return record


def load(path: Path) -> CalibrationRecord:
    """Read a record from a JSON file.

    Raises:
        InvalidRequest: the file is missing, is not such a record, or was edited.
    """
    try:
        return CalibrationRecord.from_json(json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant))
    except OSError as error:
        raise InvalidRequest(f"the calibration {path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the calibration {path} is not JSON: {error}") from error
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error.detail}") from error


def item_key(sha256: str) -> str:
    """The short name under which a record remembers an item that it was fitted on: the first 16 hex digits of its SHA-256."""
    return sha256[:16]


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _problem(record: CalibrationRecord) -> str:
    """Return what is wrong with a record's own fields; empty where nothing is."""
    if record.schema != SCHEMA:
        return f"schema {record.schema!r} is not known here (known: {SCHEMA})"
    if record.task not in TASKS or record.method != METHODS[record.task]:
        return f"method {record.method!r} for task {record.task!r}"
    if record.status not in get_args(Status):
        return f"status {record.status!r}"
    _, _, digest = record.model_version.partition("@sha256:")
    if len(digest) != 64:
        return f"model_version {record.model_version!r} is not name@sha256:<hex>"
    return _wrong_parameters(record) or _wrong_task_fields(record)


def _wrong_parameters(record: CalibrationRecord) -> str:
    expected = {"temperature"} if record.method == "temperature" else {"temperature", "bias"}
    if set(record.parameters) != expected:
        return f"parameters {sorted(record.parameters)}; {record.method} has {sorted(expected)}"
    for name, value in record.parameters.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            return f"parameter {name} is {value!r}"
    return "" if record.parameters["temperature"] > 0 else f"temperature {record.parameters['temperature']} is not above 0"


def _wrong_task_fields(record: CalibrationRecord) -> str:
    threshold = record.display_threshold
    if record.task == "detection":
        return "" if isinstance(threshold, int | float) and 0 <= threshold <= 1 else f"display_threshold {threshold!r}; it is 0 to 1"
    if threshold is not None:
        return f"display_threshold {threshold!r} for task {record.task}"
    if record.task == "transcription" and not record.normaliser:
        return "the normaliser is missing"
    return ""
