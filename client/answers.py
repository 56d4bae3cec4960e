"""What the API answers, as types. The values are the JSON objects as they came, so that a field that a newer server adds is there too.

Boxes are pixels `xyxy` of the image after EXIF rotation, times are seconds, moments are RFC 3339.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, Required, TypeAlias, TypedDict

from client.files import Task

ConfidenceStatus: TypeAlias = Literal["calibrated", "unverified", "uncalibrated"]


class Problem(TypedDict):
    """An error, as RFC 9457 describes it. `code` is its stable name, `detail` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    retry_after: NotRequired[float | None]


class Label(TypedDict, total=False):
    """One label of a draft. Boxes have `xyxy` and may have `no_edit`, the probability that nobody needs to move them."""

    id: str
    label: Required[str]
    confidence: Required[float | None]
    xyxy: list[float]
    no_edit: float | None
    badge: Literal["high"]
    raw: dict[str, Any]


class Word(TypedDict, total=False):
    """One word of a transcript."""

    start: float
    end: float
    text: Required[str]
    confidence: float | None
    badge: Literal["high"]
    raw: dict[str, Any]


class Segment(TypedDict, total=False):
    """One segment of a transcript."""

    id: str
    start: Required[float]
    end: Required[float]
    text: Required[str]
    confidence: float | None
    words: list[Word]


class Timings(TypedDict):
    """Seconds that the item spent in each step. `cached`: a stored draft answered."""

    fetch: float
    prepare: float
    queue: float
    infer: float
    finish: float
    batch_size: int
    cached: bool


class Draft(TypedDict, total=False):
    """One entry of an answer: a draft, or an item with its `error` and nothing else."""

    item: Required[str]
    error: Problem
    id: str
    project: str | None
    task: Task
    model_version: str
    route: Literal["review", "from_scratch"]
    priority: float | None
    badge: Literal["high"] | None
    confidence: float | None
    confidence_status: ConfidenceStatus
    unverified_since: str | None
    calibration: str | None
    timings: Timings
    created_at: str
    image_size: list[int]
    labels: list[Label]
    text: str
    language: str
    segments: list[Segment]
    no_speech: bool


class Model(TypedDict):
    """One model, by the version that its name alone stands for."""

    name: str
    version: str
    task: Task
    family: str
    aliases: list[str]
    confidence_status: ConfidenceStatus
    calibration: str | None
    state: Literal["ready", "loading", "failed", "available"]
    detail: str
    default: bool
    licence: str
    labels: int
    registered: bool
    splits: list[dict[str, Any]]


class Ready(TypedDict):
    """Whether every task's default model can draft."""

    ready: bool
    models: list[dict[str, Any]]


class Version(TypedDict):
    """A registered version. `manifest`, `report` and `aliases` are told of one alone, not in a list."""

    id: str
    model: str
    version: str | None
    task: Task
    family: str
    state: Literal["validating", "ready", "failed", "retired"]
    job: str | None
    bytes: int
    created_at: str
    created_by: str
    settled_at: str | None
    request: dict[str, Any]
    aliases: NotRequired[list[str]]
    manifest: NotRequired[dict[str, Any] | None]
    report: NotRequired[dict[str, Any] | None]


class Canary(TypedDict):
    """The version that gets a share of the items."""

    version: str
    share: float


class Alias(TypedDict):
    """Where an alias points."""

    alias: str
    model: str
    version: str
    canary: Canary | None
    revision: int
    moved_at: str


class Move(TypedDict):
    """One move of an alias. No version: it was removed."""

    at: str
    by: str
    version: str | None
    canary: Canary | None
    revision: int


class PartialUpload(TypedDict):
    """How an upload in parts stands."""

    id: str
    bytes: int
    sha256: str
    received: int
    part_bytes: int
    complete: bool
    expires_at: str | None


class Job(TypedDict):
    """Work that goes on at the server."""

    id: str
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    step: str
    progress: float
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: Problem | None
    created_at: str
    started_at: str | None
    ended_at: str | None


class Calibration(TypedDict):
    """A calibration record. `record`, the whole of it, is told of one alone, not in a list."""

    id: str
    model_version: str
    task: Task
    method: str
    event: str
    status: Literal["calibrated", "unverified"]
    reason: str
    in_force: bool
    badge: bool
    display_threshold: float | None
    origin: str
    misfit: str | None
    made_at: str
    stored_at: str
    record: NotRequired[dict[str, Any]]


class Confidences(TypedDict):
    """Which calibration is in force for a version, and how that came."""

    model_version: str
    calibration: str | None
    confidence_status: ConfidenceStatus
    since: str | None
    unverified_since: str | None
    history: list[dict[str, Any]]


class Project(TypedDict):
    """A project. `project` is what was set; `docs/projects.md` describes it."""

    name: str
    project: dict[str, Any]
    revision: int
    created_at: str
    changed_at: str


class FinalLabel(TypedDict, total=False):
    """A label as a person left it. What a draft's label has besides may stay."""

    label: Required[str]
    xyxy: list[float] | None


class Review(TypedDict, total=False):
    """What a person did with one draft, as it is reported.

    It names the draft, or the item and its project, and has the final labels in one of `labels`, `text` and `segments`, unless it was
    skipped. The same `event_id` with other content is a new revision.
    """

    event_id: Required[str]
    draft: str
    item: str
    project: str
    reviewer: str
    seconds: float
    finished_at: str
    skipped: bool
    deleted: bool
    guideline_version: str
    labels: list[FinalLabel]
    text: str
    segments: list[dict[str, Any]]


class Reviewed(TypedDict, total=False):
    """What came of one reported review: what was stored, or its `error`."""

    event_id: Required[str]
    error: Problem
    id: str
    draft: str
    item: str
    status: Literal["stored", "already"]
    counts: bool
    verdict: Literal["accepted", "corrected", "rejected"] | None
    second_review: bool
    note: str | None


class Gold(TypedDict):
    """A gold item. `truth` is what is right for it."""

    item: str
    truth: dict[str, Any]
    revision: int
    changed_at: str


class GoldPut(TypedDict):
    """What came of gold items that were sent."""

    added: int
    corrected: int
    unchanged: int
    errors: list[dict[str, str]]


class Draw(TypedDict):
    """Which arm was drawn for an item, and with which probability."""

    id: str
    at: str
    item: str
    arm: Literal["assisted", "withheld", "honeypot"]
    draft: str
    natural: str
    gold: bool
    planted: dict[str, Any] | None
    propensity: float
    rates: dict[str, Any]
    epoch: str
    reviewer: str | None


class AuditEntry(TypedDict):
    """Who did what."""

    id: str
    at: str
    team: str
    key: str
    action: str
    target: str
    detail: dict[str, Any]
    request_id: str


class Webhook(TypedDict):
    """An address that is told of events."""

    id: str
    url: str
    events: list[str]
    project: str | None
    created_by: str
    created_at: str
    rotated_at: str | None


class NewWebhook(Webhook):
    """A webhook with the secret that signs what it is told, which is shown this once."""

    secret: str


class Delivery(TypedDict):
    """What a webhook is told once, and how far that has got. `body`, what is sent, is told of one alone, not in a list."""

    id: str
    event: str
    about: str
    state: Literal["waiting", "delivered", "dead"]
    attempts: int
    status: int | None
    error: str | None
    created_at: str
    next_at: str | None
    ended_at: str | None
    body: NotRequired[dict[str, Any]]


class Key(TypedDict):
    """An API key, without what it is used with."""

    id: str
    name: str
    team: str
    scopes: list[str]
    created_at: str
    created_by: str
    expires_at: str | None
    revoked_at: str | None


class NewKey(Key):
    """An API key that was just made. `key` is what it is used with."""

    key: str
