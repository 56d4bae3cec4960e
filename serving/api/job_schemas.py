"""The wire of outcomes and jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from calibration.streams import Stream
from serving.api.schemas import Id, Name, Problem
from serving.calibrations.judging import BoxesTruth, LabelTruth, TextTruth, TrueBox, Truth
from serving.calibrations.outcomes import Told

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class BoxBody(_Body):
    """One true box."""

    label: Name
    xyxy: Annotated[list[Number], Field(min_length=4, max_length=4)] = Field(description="Pixels of the image after EXIF rotation.")
    crowd: bool = Field(False, description="A region of many such objects, not counted one by one.")


class TruthBody(_Body):
    """What is right for the item: exactly one of `label`, `boxes` and `text`, as the draft's task needs."""

    label: Name | None = Field(None, description="Classification: the true class; null where it is none of the model's.")
    boxes: list[BoxBody] | None = Field(None, max_length=10_000, description="Detection: all true objects; empty where there are none.")
    classes: list[Name] | None = Field(None, description="Detection: the classes that were looked for, where not the whole label set.")
    text: Annotated[str, Field(max_length=1_000_000)] | None = Field(None, description="Transcription: what was said; may be empty.")

    @model_validator(mode="after")
    def _one(self) -> TruthBody:
        given = {"label", "boxes", "text"} & self.model_fields_set
        if len(given) != 1 or (self.boxes is None and "label" not in given and self.text is None):
            raise ValueError("give exactly one of label, boxes and text")
        if self.classes is not None and self.boxes is None:
            raise ValueError("classes belong to boxes")
        return self

    def as_truth(self) -> Truth:
        """Return it as the use case takes it."""
        if self.boxes is not None:
            boxes = tuple(TrueBox(box.label, (box.xyxy[0], box.xyxy[1], box.xyxy[2], box.xyxy[3]), box.crowd) for box in self.boxes)
            return BoxesTruth(boxes, None if self.classes is None else tuple(self.classes))
        return LabelTruth(self.label) if self.text is None else TextTruth(self.text)


class OutcomeBody(_Body):
    """What turned out to be right for one drafted item."""

    draft: Id = Field(description="Id of the stored draft that is judged.")
    stream: Stream = Field(
        description="How the truth came about. `gold`: known beforehand, the draft a natural one. `blind`: labelled without seeing the "
        "draft, drawn by chance. `audit`: accepted items labelled anew, drawn by chance. `review` and `honeypot` are kept for reviewer "
        "figures, and never reach a monitor or a fit."
    )
    source: Id = Field(description="The platform's own id of the event. The same draft and event again change nothing.")
    propensity: Number | None = Field(None, description="Chance with which the item was drawn, above 0; needed for blind and audit.")
    reviewer: Name | None = Field(None, description="Who labelled it.")
    truth: TruthBody

    def as_told(self) -> Told:
        """Return it as the use case takes it."""
        return Told(self.draft, self.source, self.stream, self.truth.as_truth(), self.propensity, self.reviewer)


class LooseOutcome:
    """Any value; in the OpenAPI document an `OutcomeBody`. Entries are looked at one by one, so that a wrong one fails alone."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take anything."""
        return core_schema.any_schema()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe an outcome."""
        return handler(OutcomeBody.__pydantic_core_schema__)


class OutcomesRequest(_Body):
    """A bulk of outcomes."""

    outcomes: list[LooseOutcome] = Field(description="They are judged in this order.")


class StoredOutcome(BaseModel):
    """The entry of an outcome that is stored."""

    draft: str
    source: str
    status: Literal["stored", "already"] = Field(description="`already`: the same event came before.")
    labels: int = Field(description="Labels of the draft that count: boxes, words, or the first label of an image.")
    correct: int = Field(description="How many of them are right.")


class RefusedOutcome(BaseModel):
    """The entry of an outcome that is not stored."""

    draft: str
    source: str
    error: Problem


class OutcomesAnswer(BaseModel):
    """One entry per outcome, in the request's order."""

    outcomes: list[StoredOutcome | RefusedOutcome]


class OutcomesSource(_Body):
    """Which outcomes a calibration is fitted on."""

    streams: list[Literal["gold", "blind", "audit"]] = Field(
        ["gold", "blind", "audit"], min_length=1, description="Reviews and honeypots are never fitted on."
    )
    after: Annotated[AwareDatetime, Field(strict=False)] | None = Field(
        None, description="Only outcomes that arrived later than this moment."
    )


class FitSource(_Body):
    """What a calibration is fitted on: stored outcomes, or an uploaded labelled folder."""

    outcomes: OutcomesSource | None = None
    upload: Id | None = Field(None, description="Id of an uploaded zip or tar of a labelled folder, as `candor calibrate` takes it.")
    name: str = Field("", max_length=256, description="Upload: name of the data, for the record.")
    caveat: str = Field("", max_length=4096, description="Upload: licence of the data and what is known against them, for the record.")
    split: Name | None = Field(None, description="Upload: only this split; `all` for all.")

    @model_validator(mode="after")
    def _one(self) -> FitSource:
        if (self.outcomes is None) == (self.upload is None):
            raise ValueError("give exactly one of outcomes and upload")
        if self.upload is None and self.model_fields_set & {"name", "caveat", "split"}:
            raise ValueError("name, caveat and split belong to an upload")
        return self

    def as_json(self) -> dict[str, Any]:
        """Return what was given, as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


class FitRequest(_Body):
    """A request for a new calibration."""

    model: Name = Field(description="`name`, `name@version` or `name@alias`.")
    source: FitSource = Field(alias="from")
    promote: Literal["never", "if_better"] = Field(
        "never",
        description="`if_better`: put it in force at once if held-out outcomes show that it is better than what is. Else promote it by a "
        "call, as one that was fitted on an upload always is.",
    )

    @model_validator(mode="after")
    def _comparable(self) -> FitRequest:
        if self.promote == "if_better" and self.source.upload is not None:
            raise ValueError("promote: an upload shows nothing of your own drafts; look at the report, and promote by a call")
        return self


class ShadowAnswer(BaseModel):
    """Whether a calibration is shown to be better than the one in force."""

    model_config = ConfigDict(extra="allow")

    decision: Literal["better", "not_better", "not_compared"]
    reason: str = Field(description="In words, with the figures.")
    than: str | None = Field(None, description="Id of the calibration in force, or `the raw score` where there is none.")
    gain: dict[str, float | None] | None = Field(None, description="Mean NLL(old) - NLL(new) per item in nats, with its interval.")


class JobBody(BaseModel):
    """One job."""

    id: str
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float = Field(description="0 to 1.")
    step: str = Field(description="What it does now, in words.")
    request: dict[str, Any]
    result: dict[str, Any] | None = Field(description="Of a fit: `calibration` (its id), `status`, `reason`, `promotion`.")
    error: Problem | None = Field(description="Why it failed.")
    created_at: str
    started_at: str | None
    ended_at: str | None


class JobAnswer(BaseModel):
    """One job."""

    job: JobBody


class JobsAnswer(BaseModel):
    """The newest jobs, newest first."""

    jobs: list[JobBody]
