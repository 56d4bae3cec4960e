"""The wire of `/v1/calibrations`, for validation and for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from candor.predictions import Task

Status = Literal["calibrated", "unverified", "uncalibrated"]


class WhyBody(BaseModel):
    """Why something is done; it is kept in the history."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: str = Field("", max_length=2000, description="In your own words.")


class RollbackBody(WhyBody):
    """Why a promotion is taken back, and which."""

    calibration: str | None = Field(
        None,
        max_length=64,
        description="The calibration that is to go. Where another is in force by now, nothing is done: the request can be sent again.",
    )


class CalibrationBody(BaseModel):
    """One calibration, without its record."""

    id: str = Field(description="Named by the hash of its content.")
    model_version: str = Field(description="`name@sha256:<hex>`: it applies to no other.")
    task: Task
    method: str
    status: Literal["calibrated", "unverified"] = Field(description="`unverified`: made from too little data to prove what it says.")
    reason: str = Field(description="Why it has this status.")
    event: str = Field(description="What a confidence is the probability of.")
    display_threshold: float | None = Field(description="Detection: boxes are shown, and calibrated, from this score.")
    badge: bool = Field(description="Whether it marks labels as `high`.")
    in_force: bool = Field(description="It is what new drafts of its version are shown with.")
    misfit: str | None = Field(description="Why it can't be put in force here; null where it can.")
    origin: str = Field(description="`import`, `configuration`, or the id of the job that made it.")
    made_at: str
    stored_at: str


class CalibrationsAnswer(BaseModel):
    """One page of calibrations, the newest first."""

    calibrations: list[CalibrationBody]
    next: str | None = Field(description="`after` of the next page; null where this is the last.")


class CalibrationAnswer(CalibrationBody):
    """One calibration with its whole record, as `candor calibrate` writes it."""

    record: dict[str, Any]


class EventBody(BaseModel):
    """One thing that was done with the calibrations of a version."""

    kind: Literal["promoted", "rolled_back", "alarm", "cleared"]
    calibration: str | None = Field(description="The one that was put in force, or is meant; null: the configuration's own.")
    at: str
    detail: dict[str, Any]


class VersionCalibrationAnswer(BaseModel):
    """What is in force for one model version, and its history."""

    model_version: str
    calibration: str | None
    confidence_status: Status = Field(description="What new drafts say.")
    since: str | None = Field(description="When it was put in force; null where the configuration names it.")
    unverified_since: str | None = Field(description="When the alarm was raised that is still open.")
    history: list[EventBody] = Field(description="The oldest first.")
