"""Calibrations and what was done with them, since when a draft was doubted, outcomes of drafted labels, and jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.dialects import append_only, not_append_only

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_APPEND_ONLY = ("calibrations", "calibration_events", "outcomes")


def upgrade() -> None:
    op.add_column("drafts", sa.Column("unverified_since", sa.DateTime(timezone=True)))
    _calibrations()
    _outcomes()
    _jobs()
    for table in _APPEND_ONLY:
        for statement in append_only(op.get_bind().dialect, table):
            op.execute(statement)


def downgrade() -> None:
    for table in _APPEND_ONLY:
        for statement in not_append_only(op.get_bind().dialect, table):
            op.execute(statement)
    for table in ("jobs", "outcomes", "calibration_events", "calibrations"):
        op.drop_table(table)
    op.drop_column("drafts", "unverified_since")


def _calibrations() -> None:
    op.create_table(
        "calibrations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_calibrations_newest", "calibrations", ["model_version", "created_at", "id"])
    op.create_table(
        "calibration_events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("calibration", sa.String),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_calibration_events_version", "calibration_events", ["model_version", "id"])


def _outcomes() -> None:
    op.create_table(
        "outcomes",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("draft", sa.String, nullable=False),
        sa.Column("label_index", sa.Integer, nullable=False),
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("propensity", sa.Double, nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("confidence", sa.Double),
        sa.Column("calibration", sa.String),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("cluster", sa.String, nullable=False),
        sa.Column("features", sa.JSON, nullable=False),
        sa.Column("correct", sa.Boolean, nullable=False),
        sa.Column("reviewer", sa.String),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("draft", "label_index", "event", "stream", "source", name="uq_outcomes_once"),
    )
    op.create_index("ix_outcomes_version", "outcomes", ["model_version", "created_at", "id"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("result", sa.JSON),
        sa.Column("error", sa.JSON),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_jobs_state", "jobs", ["state", "created_at"])
