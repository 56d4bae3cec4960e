"""The one exception tree of Candor. Each class carries what every protocol needs to answer: code, HTTP status, retryable.

CandorError
├── InvalidRequest           422  the request's words are wrong
├── NoItems                  422
├── TooManyItems             413
├── BodyTooLarge             413
├── UnreadableItem           422
│   ├── UndecodableImage     422
│   └── UndecodableAudio     422
├── MediaTooLarge            413  bytes, pixels or seconds over the limit
├── MediaUnreachable         424  the item's URL did not answer
├── MediaForbidden           403  the item's address is not allowed
├── Unauthenticated          401  no key, or one that is not valid
├── Forbidden                403  the key lacks the scope that this takes
├── RateLimited              429  retryable, with retry_after
├── QuotaExceeded            403  the team's storage is used up
├── NotFound                 404  also what belongs to another team
│   ├── UnknownModel         404
│   ├── UnknownAlias         404
│   ├── UnknownDraft         404
│   ├── UnknownUpload        404
│   ├── UnknownCalibration   404
│   ├── UnknownJob           404
│   ├── UnknownProject       404
│   ├── UnknownTeam          404
│   └── UnknownKey           404
├── WrongTask                409
├── Conflict                 409
├── InUse                    409  drafts or aliases still refer to it
├── CalibrationMisfit        409  a calibration for another version or threshold
├── NothingToRollBack        409
├── UnsafeArtifact           422  a model file that fails its hash or would run code
├── ToolError                424  a labeling tool refused what Candor asked of it
├── ModelUnavailable         503  the model can't be loaded here: what to do is in the detail
├── NotReady                 503  retryable
├── Overloaded               503  retryable, with retry_after
├── WorkerLost               503  retryable: the process that held the item died
├── DeadlineExceeded         504  retryable
├── StorageUnavailable       503  retryable: the database or the disk refused
└── Internal                 500  an id to look up, nothing leaked
"""

from __future__ import annotations

from typing import Any, ClassVar


class CandorError(Exception):
    """Base of every error that a caller may see. `detail` says what is wrong and, where it can, what to do next."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong inside Candor"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.detail, self.retry_after))


def _rebuild(kind: type[CandorError], detail: str, retry_after: float | None) -> CandorError:
    return kind(detail, retry_after=retry_after)


class InvalidRequest(CandorError):
    """The request is not what the API describes."""

    code, status, title = "invalid_request", 422, "The request is not valid"


class NoItems(CandorError):
    """A request without items."""

    code, status, title = "no_items", 422, "The request has no items"


class TooManyItems(CandorError):
    """More items than one request may carry."""

    code, status, title = "too_many_items", 413, "The request has too many items"


class BodyTooLarge(CandorError):
    """The request body is over the limit."""

    code, status, title = "body_too_large", 413, "The request body is too large"


class UnreadableItem(CandorError):
    """The item's bytes are not media of the kind that the task takes."""

    code, status, title = "unreadable_item", 422, "The item can't be read"


class UndecodableImage(UnreadableItem):
    """Bytes that are not one whole still image."""

    code, title = "undecodable_image", "The image can't be decoded"


class UndecodableAudio(UnreadableItem):
    """Bytes that hold no whole audio stream."""

    code, title = "undecodable_audio", "The audio can't be decoded"


class MediaTooLarge(CandorError):
    """Bytes, pixels or seconds over the configured limit."""

    code, status, title = "media_too_large", 413, "The item is too large"


class MediaUnreachable(CandorError):
    """The item's URL can't be fetched."""

    code, status, title = "media_unreachable", 424, "The item's URL can't be fetched"


class MediaForbidden(CandorError):
    """The item's URL points where Candor does not go."""

    code, status, title = "media_forbidden", 403, "The item's address is not allowed"


class Unauthenticated(CandorError):
    """No API key, or one that is unknown, revoked or expired: which of them is not said."""

    code, status, title = "unauthenticated", 401, "A valid API key is needed"


class Forbidden(CandorError):
    """The API key lacks the scope that this takes."""

    code, status, title = "forbidden", 403, "The API key may not do this"


class RateLimited(CandorError):
    """The team asked for more than its rate. `retry_after` says in seconds when to come back."""

    code, status, title, retryable = "rate_limited", 429, "The team's rate limit is reached", True


class QuotaExceeded(CandorError):
    """The team's storage is used up."""

    code, status, title = "quota_exceeded", 403, "The team's storage is used up"


class NotFound(CandorError):
    """No such thing."""

    code, status, title = "not_found", 404, "There is no such thing"


class UnknownModel(NotFound):
    """No model, or no version, of that name."""

    code, title = "unknown_model", "There is no such model"


class UnknownAlias(NotFound):
    """The model has no such alias."""

    code, title = "unknown_alias", "The model has no such alias"


class UnknownDraft(NotFound):
    """No draft of that id."""

    code, title = "unknown_draft", "There is no such draft"


class UnknownUpload(NotFound):
    """No upload of that id."""

    code, title = "unknown_upload", "There is no such upload"


class UnknownCalibration(NotFound):
    """No calibration of that id."""

    code, title = "unknown_calibration", "There is no such calibration"


class UnknownJob(NotFound):
    """No job of that id."""

    code, title = "unknown_job", "There is no such job"


class UnknownProject(NotFound):
    """The team has no project of that name."""

    code, title = "unknown_project", "There is no such project"


class UnknownTeam(NotFound):
    """No team of that name."""

    code, title = "unknown_team", "There is no such team"


class UnknownKey(NotFound):
    """The team has no API key of that id."""

    code, title = "unknown_key", "There is no such API key"


class WrongTask(CandorError):
    """The model serves another task."""

    code, status, title = "wrong_task", 409, "The model serves another task"


class Conflict(CandorError):
    """The same idempotency key with another request, or with one that is still running."""

    code, status, title = "conflict", 409, "The request contradicts an earlier one"


class InUse(CandorError):
    """Drafts or aliases still refer to it; the detail says which."""

    code, status, title = "in_use", 409, "It is still in use"


class CalibrationMisfit(CandorError):
    """The calibration was made for a model version that is not installed here, or for another display threshold."""

    code, status, title = "calibration_misfit", 409, "The calibration does not fit"


class NothingToRollBack(CandorError):
    """No calibration was promoted for this model version, so that none can be taken back."""

    code, status, title = "nothing_to_roll_back", 409, "There is nothing to roll back"


class UnsafeArtifact(CandorError):
    """A model file whose hash is wrong, or that would run code when it is loaded."""

    code, status, title = "unsafe_artifact", 422, "The model file is refused"


class ToolError(CandorError):
    """The labeling tool refused what was asked of it; the detail has its own words. `answered` is its HTTP status."""

    code, status, title = "tool_error", 424, "The labeling tool refused"
    answered: int = 0


class ModelUnavailable(CandorError):
    """The model can't be loaded on this machine; the detail says what to do."""

    code, status, title = "model_unavailable", 503, "The model can't be loaded here"


class NotReady(CandorError):
    """The model is still loading."""

    code, status, title, retryable = "not_ready", 503, "The model is not ready yet", True


class Overloaded(CandorError):
    """Admission is full. `retry_after` says in seconds when to come back."""

    code, status, title, retryable = "overloaded", 503, "Candor is at capacity", True


class WorkerLost(CandorError):
    """The process that was drafting the item died."""

    code, status, title, retryable = "worker_lost", 503, "The worker that drafted this item stopped", True


class DeadlineExceeded(CandorError):
    """The request's time ran out."""

    code, status, title, retryable = "deadline_exceeded", 504, "The time for this request ran out", True


class StorageUnavailable(CandorError):
    """The database or the disk refused; nothing was answered that is not stored."""

    code, status, title, retryable = "storage_unavailable", 503, "The draft can't be stored", True


class Internal(CandorError):
    """A bug. The detail carries an id to look up in the log, and nothing else."""
