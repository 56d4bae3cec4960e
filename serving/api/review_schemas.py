"""The wire of reviews and gold items."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from serving.api.schemas import Id, Name, Problem
from serving.reviewing.intake import Reported

Number = Annotated[float, Field(allow_inf_nan=False)]
DAY = 86_400.0
_NAMES = ("event_id", "draft", "item", "project", "reviewer", "guideline_version")
_YEARS = range(1970, 9999)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Loose(BaseModel):
    """Labels may come back with all that a draft says of them."""

    model_config = ConfigDict(extra="ignore", strict=True)


class FinalLabel(_Loose):
    """One label as a person left it. What a draft's label has besides may stay: it is not looked at."""

    label: Name
    xyxy: Annotated[list[Number], Field(min_length=4, max_length=4)] | None = Field(
        None, description="Detection: pixels of the image after EXIF rotation."
    )


class FinalSegment(_Loose):
    """One segment of a transcript as a person left it."""

    text: Annotated[str, Field(max_length=1_000_000)]


class ReviewBody(_Body):
    """What a person did with one draft. Whether it was accepted is derived from the labels."""

    event_id: Id = Field(description="The platform's own id of the event. With other content it is a new revision of the same review.")
    draft: Id | None = Field(None, description="The draft that was reviewed.")
    item: Id | None = Field(None, description="The item, in place of the draft, with `project`: where the project has `review`.")
    project: Name | None = None
    reviewer: Name | None = Field(None, description="Who did it, as the platform names them.")
    seconds: Annotated[Number, Field(ge=0, le=DAY)] | None = Field(None, description="Active time.")
    finished_at: Annotated[AwareDatetime, Field(strict=False)] | None = Field(
        None, description="Of two revisions the one that was finished later counts. Needed, but where the review is taken back."
    )
    skipped: bool = Field(False, description="Nobody decided anything.")
    deleted: bool = Field(False, description="The review is taken back; `event_id` alone will do.")
    guideline_version: Annotated[str, Field(max_length=64)] | None = None
    labels: list[FinalLabel] | None = Field(
        None, max_length=10_000, description="Detection: all boxes. Classification: the label first; empty where none is right."
    )
    text: Annotated[str, Field(max_length=1_000_000)] | None = Field(None, description="Transcription.")
    segments: list[FinalSegment] | None = Field(None, max_length=100_000, description="Transcription, in place of `text`.")

    @model_validator(mode="after")
    def _whole(self) -> ReviewBody:
        if "\0" in "".join(filter(None, (getattr(self, name) for name in _NAMES))):
            raise ValueError("a name holds the character U+0000, which no database keeps")
        if self.finished_at is not None and self.finished_at.year not in _YEARS:
            raise ValueError("finished_at lies outside the years that clocks show")
        given = [name for name in ("labels", "text", "segments") if getattr(self, name) is not None]
        if not self.deleted:
            if (self.draft is None) == (self.item is None):
                raise ValueError("give exactly one of draft and item")
            if self.item is not None and self.project is None:
                raise ValueError("an item is one of a project: name it too")
            if self.reviewer is None:
                raise ValueError("reviewer is missing")
            if self.finished_at is None:
                raise ValueError("finished_at is missing")
            if len(given) != (0 if self.skipped else 1):
                raise ValueError("give the final labels in exactly one of labels, text and segments; a skipped review has none")
        return self

    def as_reported(self) -> Reported:
        """Return it as the use case takes it."""
        return Reported(
            event_id=self.event_id,
            draft=self.draft,
            item=self.item,
            project=self.project,
            reviewer=self.reviewer or "",
            final=None if self.skipped or self.deleted else self._final(),
            seconds=self.seconds,
            finished_at=self.finished_at,
            skipped=self.skipped,
            deleted=self.deleted,
            guideline_version=self.guideline_version,
        )

    def _final(self) -> dict[str, Any]:
        if self.segments is not None:
            return {"text": " ".join(segment.text.strip() for segment in self.segments)}
        if self.text is not None:
            return {"text": self.text}
        return {"labels": [(one.label, one.xyxy) for one in self.labels or ()]}


class LooseReview:
    """Any value; in the OpenAPI document a `ReviewBody`. Entries are looked at one by one, so that a wrong one fails alone."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take anything."""
        return core_schema.any_schema()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe a review."""
        return handler(ReviewBody.__pydantic_core_schema__)


class ReviewsRequest(_Body):
    """A bulk of reviews."""

    reviews: list[LooseReview] = Field(description="In any order, also of one event.")


class TakenReview(BaseModel):
    """The entry of a review that is stored."""

    event_id: str
    id: str = Field(description="Of this revision.")
    draft: str
    item: str
    status: Literal["stored", "already"] = Field(description="`already`: the same content came before, and nothing changed.")
    counts: bool = Field(description="False: a revision that was finished later is known.")
    verdict: Literal["accepted", "corrected", "rejected"] | None = Field(
        description="Derived from what was shown and what came back; null where it was skipped or taken back."
    )
    second_review: bool = Field(description="Somebody else is to review the item too: an alarm is open, and that is the project's policy.")
    note: str | None = Field(description="What was taken otherwise than it was sent.")


class RefusedReview(BaseModel):
    """The entry of a review that is not stored."""

    event_id: str
    error: Problem


class ReviewsAnswer(BaseModel):
    """One entry per review, in the request's order."""

    reviews: list[TakenReview | RefusedReview]


class MergeBody(_Body):
    """Which reviewer is counted as which other."""

    reviewer: Name = Field(description="The name that is merged.")
    into: Name = Field(description="The name that its reviews are counted under from now on; the same name parts it again.")


class MergedAnswer(BaseModel):
    """All names that are counted as others."""

    merged: dict[str, str]


class GoldError(BaseModel):
    """An item that is not taken."""

    item: str
    detail: str


class GoldPutAnswer(BaseModel):
    """How many items became gold, were corrected, and were known; and what is wrong with the others."""

    added: int
    corrected: int
    unchanged: int
    errors: list[GoldError]


class GoldItemBody(BaseModel):
    """One gold item."""

    item: str
    revision: int
    truth: dict[str, Any]
    changed_at: str


class GoldAnswer(BaseModel):
    """A page of gold items, by name."""

    gold: list[GoldItemBody]
    next: str | None


class GoldRevisionBody(BaseModel):
    """What was held to be right from a moment on; null: the item was gold no more."""

    revision: int
    truth: dict[str, Any] | None
    by: str
    at: str


class GoldHistoryAnswer(BaseModel):
    """All revisions of a gold item, the newest first."""

    history: list[GoldRevisionBody]


class RemovedAnswer(BaseModel):
    """How many items were gold and are so no more."""

    removed: int


class ChangedInto(BaseModel):
    """What a label was changed into, and how often."""

    label: str
    count: int


class FixedLabel(BaseModel):
    """What became of one label, or word, of the drafts."""

    label: str
    drafted: int
    fixed: int = Field(description="Edits other than `kept`.")
    edits: dict[str, int] = Field(
        description="By kind: kept, relabelled, moved, deleted, added; of words kept, substituted, deleted, inserted."
    )
    into: list[ChangedInto]


class FixesAnswer(BaseModel):
    """What people keep fixing, what they fix most first."""

    reviews: int
    verdicts: dict[str, int]
    labels: list[FixedLabel]
    more: int = Field(description="Labels that are not told.")
