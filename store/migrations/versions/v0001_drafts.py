"""Drafts, idempotency keys and uploads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.dialects import append_only, not_append_only

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drafts",
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
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_drafts_find", "drafts", ["media_sha256", "model_version", "calibration", "created_at", "id"])
    op.create_table(
        "idempotency",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("body", sa.LargeBinary),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_idempotency_expires_at", "idempotency", ["expires_at"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    for statement in append_only(op.get_bind().dialect, "drafts"):
        op.execute(statement)


def downgrade() -> None:
    for statement in not_append_only(op.get_bind().dialect, "drafts"):
        op.execute(statement)
    for table in ("uploads", "idempotency", "drafts"):
        op.drop_table(table)
