"""The wire of the native API, for validation and for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from candor.predictions import Task

Id = Annotated[str, Field(min_length=1, max_length=512)]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MediaBody(_Body):
    """Where the encoded bytes of an item are: exactly one of the three."""

    url: str | None = Field(None, description="http(s) address that the server fetches.")
    base64: str | None = Field(None, description="The bytes themselves, in base64.")
    upload: str | None = Field(None, description="Id of an earlier upload.")

    @model_validator(mode="after")
    def _one(self) -> MediaBody:
        if sum(value is not None for value in (self.url, self.base64, self.upload)) != 1:
            raise ValueError("give exactly one of url, base64 and upload")
        return self


class ItemBody(_Body):
    """One item: its id, and an image or an audio recording."""

    id: Id = Field(description="The platform's own key of the item.")
    image: MediaBody | None = None
    audio: MediaBody | None = None

    @model_validator(mode="after")
    def _one(self) -> ItemBody:
        if (self.image is None) == (self.audio is None):
            raise ValueError("give exactly one of image and audio")
        return self


class Envelope(_Body):
    """A request whose items are looked at one by one."""

    project: Name | None = None
    reviewer: Name | None = None
    task: Task | None = None
    model: Name | None = None
    include: list[Literal["raw"]] = []
    items: list[Any]


class DraftsRequest(_Body):
    """A request for drafts."""

    project: Name | None = Field(None, description="Project that the drafts belong to.")
    reviewer: Name | None = Field(None, description="Your name for the person who is to review them, if that is known.")
    task: Task | None = Field(None, description="Task; needed at `/v1/drafts` where neither the model nor the media tell it.")
    model: Name | None = Field(None, description="`name`, `name@version` or `name@alias`. Default: the task's configured model.")
    include: list[Literal["raw"]] = Field([], description="`raw`: show raw scores and logits, which are not confidences.")
    items: list[ItemBody] = Field(min_length=1, description="The items, in the order in which their drafts are wanted.")


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    code: str = Field(description="Stable name of the error; docs/reference/errors.md lists them.")
    detail: str = Field(description="What is wrong, and what to do.")
    retryable: bool = Field(description="The same request may succeed later.")
    retry_after: float | None = Field(None, description="Seconds after which to come back.")


class TimingsBody(BaseModel):
    """Seconds that the item spent in each step, and the size of the batch that it was inferred in."""

    fetch: float
    prepare: float
    queue: float
    infer: float
    finish: float
    batch_size: int
    cached: bool = Field(description="A stored draft answered; the other figures are those of the first time.")


class DraftBody(BaseModel):
    """One draft. Beside these fields it carries its task's own: see docs/architecture.

    `badge` stands only where a label has it, and `no_edit` only where it is estimated: with a hundred boxes in an image, fields that say
    nothing would be half of the answer. All other fields are always there.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    item: str
    project: str | None
    task: Task
    model_version: str = Field(description="`name@sha256:<hex>`")
    route: Literal["review", "from_scratch"] = Field(
        description="`from_scratch`: correcting the draft would cost more than starting clean, so it is shown without its labels, unless "
        "raw scores are asked for. What the project's policy said when the draft was made."
    )
    priority: float | None = Field(
        description="How soon people should look, 0 to 1, the hardest first; null without a calibration. Compare within one task."
    )
    badge: Literal["high"] | None = Field(
        None,
        description="Classification: the first label has the badge. Boxes and words have their own. It promises that few such labels are "
        "wrong; `GET /v1/calibrations/{id}` tells how few, and how sure that is.",
    )
    labels: list[dict[str, Any]] | None = Field(
        None,
        description="Detection and classification: label, confidence, `badge`; of a box also `xyxy` in pixels and `no_edit`, the "
        "probability that it stands so well that nobody needs to move it.",
    )
    text: str | None = Field(None, description="Transcription: the whole text; `segments` and their `words` carry times in seconds.")
    confidence: float | None = Field(description="Probability that the whole draft is right, where it is estimated.")
    confidence_status: Literal["calibrated", "unverified", "uncalibrated"]
    unverified_since: str | None = Field(
        description="When the alarm was raised that is open on the calibration; no label has a badge then."
    )
    calibration: str | None = Field(description="Id of the calibration behind the confidences.")
    timings: TimingsBody
    created_at: str


class FailedItem(BaseModel):
    """The entry of an item that could not be drafted."""

    item: str
    error: Problem


class DraftsAnswer(BaseModel):
    """One entry per item, in the request's order."""

    model_version: str
    drafts: list[DraftBody | FailedItem]


class SplitBody(BaseModel):
    """An alias whose items go to two versions."""

    alias: str
    version: str
    canary: str
    share: float = Field(description="Of the items, to the canary.")


class ModelBody(BaseModel):
    """One model, by the version that its name alone stands for."""

    name: str
    version: str
    task: Task
    family: str
    aliases: list[str]
    confidence_status: str
    calibration: str | None
    state: Literal["ready", "loading", "failed", "available"]
    detail: str
    default: bool
    licence: str
    labels: int
    registered: bool = Field(description="By your team; else it is the server's own.")
    splits: list[SplitBody]


class ModelsAnswer(BaseModel):
    """The models of this server."""

    models: list[ModelBody]


class ModelReadiness(BaseModel):
    """Whether one task's default model can draft."""

    task: Task
    model: str
    version: str
    state: str
    detail: str


class ReadyAnswer(BaseModel):
    """Whether every task's default model can draft."""

    ready: bool
    models: list[ModelReadiness]


class UploadAnswer(BaseModel):
    """A stored upload."""

    id: str
    sha256: str
    bytes: int
