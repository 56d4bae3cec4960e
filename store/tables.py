"""The tables. Alembic migrations in store/migrations make them; a test holds the two together."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: written in UTC, read back aware, also where the database knows no time zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse a naive time: nobody could say later which moment it was."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone can't be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Append-only: triggers refuse UPDATE and DELETE (dialects.append_only).
drafts = sa.Table(
    "drafts",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("item", sa.String, nullable=False),
    sa.Column("project", sa.String),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("calibration", sa.String),
    sa.Column("confidence_status", sa.String, nullable=False),
    sa.Column("confidence", sa.Double),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("timings", sa.JSON, nullable=False),
    sa.Column("media_sha256", sa.String, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    # Store.find: the newest drafts of one item's bytes
    sa.Index("ix_drafts_find", "media_sha256", "model_version", "calibration", "created_at", "id"),
)

# One row per Idempotency-Key; status and body are null while its request runs.
idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("fingerprint", sa.String, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("body", sa.LargeBinary),
    sa.Column("claimed_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False, index=True),
)

# Upload ids to the content of their blobs; many uploads may share one blob.
uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
