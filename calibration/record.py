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
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from calibration.methods import EVENTS, METHODS, Estimator, Method, problem
from candor.errors import InvalidRequest
from candor.manifest import canonical_json
from candor.predictions import TASKS, Task

SCHEMA = 2

Status: TypeAlias = Literal["calibrated", "unverified"]


@dataclass(frozen=True)
class Further:
    """A second event of the same labels, with an estimator of its own: `no_edit` (boxes) or `segment`."""

    method: Method
    parameters: Mapping[str, Any]
    event: str
    fit: Mapping[str, Any]
    figures: Mapping[str, Any]
    status: Status
    reason: str

    @cached_property
    def estimator(self) -> Estimator:
        """The method, ready to be applied."""
        return Estimator(self.method, self.parameters)


@dataclass(frozen=True)
class Badge:
    """The threshold at or above which a label is marked `high`: with probability 1 - delta over the rows that it was selected on, at
    most a share `epsilon` of such labels is wrong, on data like those; with unit `item`, on average over the items with such a label.
    """

    threshold: float
    epsilon: float
    delta: float
    unit: str  # what counts as one draw: `label`, or `item` where the labels of an item stand or fall together
    rows: Mapping[str, Any]  # n, labels at or above the threshold, wrong ones of them, on the selection rows
    figures: Mapping[str, Any]  # coverage and share wrong with their intervals, on the test rows


@dataclass(frozen=True)
class CalibrationRecord:
    """One immutable calibration. `calibration.methods` tells what parameters each method has.

    `display_threshold` belongs to the fit: boxes below it were not fitted and get no claim. `fitted_items` are `item_key`s of
    the items that the fit has seen, so that no evaluation is made on them.
    """

    task: Task
    method: Method
    parameters: Mapping[str, Any]
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
    further: Mapping[str, Further] = field(default_factory=dict)
    badge: Badge | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise InvalidRequest(f"the calibration record is not valid: {problem}")

    @cached_property
    def estimator(self) -> Estimator:
        """The method, ready to be applied."""
        return Estimator(self.method, self.parameters)

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
            record = cls(**{**body, **_parts(body)})
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


def _parts(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a record that are more than JSON values."""
    badge = body.get("badge")
    return {
        "fitted_items": tuple(body.get("fitted_items", ())),
        "further": {name: Further(**value) for name, value in dict(body.get("further", {})).items()},
        "badge": None if badge is None else Badge(**badge),
    }


def _problem(record: CalibrationRecord) -> str:
    """Return what is wrong with a record's own fields; empty where nothing is."""
    if record.schema != SCHEMA:
        return f"schema {record.schema!r} is not known here (known: {SCHEMA}): fit it anew with `candor calibrate`"
    if record.task not in TASKS:
        return f"task {record.task!r}"
    if found := _wrong_types(record):
        return found
    if record.status not in get_args(Status):
        return f"status {record.status!r}"
    _, _, digest = record.model_version.partition("@sha256:")
    if len(digest) != 64:
        return f"model_version {record.model_version!r} is not name@sha256:<hex>"
    return problem(record.method, record.parameters, METHODS[record.task]) or _wrong_further(record) or _wrong_task_fields(record)


def _wrong_types(record: CalibrationRecord) -> str:
    """A record may come from anywhere; what reads it later trusts these."""
    parts: list[CalibrationRecord | Further] = [record, *record.further.values()]
    texts: list[Any] = [record.created_at, *record.fitted_items, *(text for part in parts for text in (part.event, part.reason))]
    objects: list[Any] = [record.data, record.libraries, record.normaliser or {}]
    objects += [told for part in parts for told in (part.parameters, part.fit, part.figures)]
    if record.badge is not None:
        texts.append(record.badge.unit)
        objects += [record.badge.rows, record.badge.figures]
    if not all(isinstance(text, str) for text in texts):
        return "event, reason, created_at, fitted_items and a badge's unit are texts"
    if not all(isinstance(told, Mapping) for told in objects):
        return "data, libraries, normaliser, parameters, fit, figures and a badge's rows are objects"
    unknown = [part.status for part in parts if part.status not in get_args(Status)]
    return f"status {unknown[0]!r}" if unknown else ""


def _wrong_further(record: CalibrationRecord) -> str:
    known = EVENTS[record.task]
    for name, further in record.further.items():
        if name not in known:
            return f"event {name!r} for task {record.task}"
        if found := problem(further.method, further.parameters, known[name]):
            return f"{name}: {found}"
    badge = record.badge
    if badge is not None and not (0 <= badge.threshold <= 1 and 0 < badge.epsilon < 1 and 0 < badge.delta < 1):
        return "the badge's threshold, epsilon and delta are probabilities"
    return ""


def _wrong_task_fields(record: CalibrationRecord) -> str:
    threshold = record.display_threshold
    if record.task == "detection":
        return "" if isinstance(threshold, int | float) and 0 <= threshold <= 1 else f"display_threshold {threshold!r}; it is 0 to 1"
    if threshold is not None:
        return f"display_threshold {threshold!r} for task {record.task}"
    if record.task == "transcription" and not record.normaliser:
        return "the normaliser is missing"
    return ""
