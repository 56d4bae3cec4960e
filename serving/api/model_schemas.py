"""Bodies of the routes of registered models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from candor.predictions import Task


class ArtifactBody(BaseModel):
    """The file that the version is to be made from: an upload of your team."""

    model_config = ConfigDict(extra="forbid")

    upload: str = Field(max_length=64, description="Id of an upload, `upl_…`.")
    filename: str | None = Field(None, max_length=255, description="Its name, whose ending some families mind.")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="If given, the upload must have it.")


class RegistrationBody(BaseModel):
    """A version to register. As a form: `manifest` as JSON text, `artifact` as a file, and `sha256` of it if it is to be checked."""

    model_config = ConfigDict(extra="forbid")

    manifest: dict[str, Any] = Field(description="What `GET /v1/schemas/manifest` describes.")
    artifact: ArtifactBody


class VersionBody(BaseModel):
    """One registered version."""

    id: str = Field(description="`ver_…`")
    model: str
    version: str | None = Field(description="`name@sha256:<hex>`, known once the model was taken in.")
    state: Literal["validating", "ready", "failed", "retired"] = Field(description="Only a ready version drafts.")
    task: Task
    family: str
    request: dict[str, Any] = Field(description="What was asked for.")
    bytes: int = Field(description="Of its files.")
    job: str | None = Field(description="The job that validates it.")
    created_by: str = Field(description="Id of the API key.")
    created_at: str
    settled_at: str | None


class VersionDetail(VersionBody):
    """One registered version, with what it is and what its validation found."""

    manifest: dict[str, Any] | None
    report: dict[str, Any] | None
    aliases: list[str] = Field(description="Those that point to it, also as a canary.")


class VersionsAnswer(BaseModel):
    """A page of versions, the newest first."""

    versions: list[VersionBody]
    next: str | None


class CanaryBody(BaseModel):
    """A version that takes a share of the items."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(max_length=200)
    share: float = Field(ge=0, le=1, description="Which item goes there is drawn by its id, so that the same one always goes the same way.")


class PointingBody(BaseModel):
    """Where an alias is to point."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(max_length=200, description="`sha256:` with 8 hex digits or more, `ver_…`, or another alias.")
    canary: CanaryBody | None = None


class AliasBody(BaseModel):
    """Where an alias points. Versions are full names."""

    model: str
    alias: str
    version: str
    canary: CanaryBody | None
    revision: int
    moved_at: str


class AliasesAnswer(BaseModel):
    """The aliases of a model, by name."""

    aliases: list[AliasBody]


class MoveBody(BaseModel):
    """One move of an alias. Without a version it was removed."""

    revision: int
    version: str | None
    canary: CanaryBody | None
    by: str
    at: str


class MovesAnswer(BaseModel):
    """A page of moves, the newest first."""

    history: list[MoveBody]
    next: int | None
