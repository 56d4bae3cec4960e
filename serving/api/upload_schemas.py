"""The wire of uploads in parts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ResumableBody(BaseModel):
    """What is going to be uploaded."""

    model_config = ConfigDict(extra="forbid", strict=True)

    bytes: int = Field(ge=1, le=2**53, description="Size of the whole file.")
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = Field(description="SHA-256 of the whole file, in small hex digits.")


class PartialUploadAnswer(BaseModel):
    """An upload as it stands."""

    id: str
    bytes: int = Field(description="Size of the whole file.")
    sha256: str = Field(description="SHA-256 of the whole file.")
    received: int = Field(description="Bytes that have arrived; the next part begins there.")
    complete: bool = Field(description="It is whole and checked, and may be named wherever an upload may.")
    part_bytes: int = Field(description="Most bytes of one part.")
    expires_at: str | None = Field(description="When it is dropped if no further part comes; null when it is complete.")
