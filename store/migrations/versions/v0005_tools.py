"""Labeling tools that are connected, what they reported, and webhooks that tell others."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

from store.moments import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NEW = ("connections", "label_studio_tasks", "label_studio_events", "label_studio_annotations", "webhooks", "deliveries")


def upgrade() -> None:
    _connections()
    _label_studio()
    _webhooks()
    named = sa.text("project IS NOT NULL")
    columns = ["team", "project", "item", "id", "arm"]
    op.create_index("ix_drafts_project", "drafts", columns, sqlite_where=named, postgresql_where=named)


def downgrade() -> None:
    op.drop_index("ix_drafts_project", "drafts")
    for table in _NEW[::-1]:
        op.drop_table(table)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, UtcDateTime(), nullable=nullable)


def _connections() -> None:
    op.create_table(
        "connections",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("team", "project", "tool")),
        sa.Column("secret_sha256", sa.String, nullable=False, unique=True),
        sa.Column("url", sa.Text),
        sa.Column("token", sa.Text),
        sa.Column("remote_project", sa.String),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("state", sa.JSON, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        _moment("created_at"),
        _moment("changed_at"),
        _moment("ended_at", nullable=True),
    )
    op.create_index("ix_connections_project", "connections", ["team", "project"])


def _label_studio() -> None:
    op.create_table(
        "label_studio_tasks",
        sa.Column("connection", sa.String, primary_key=True),
        sa.Column("task", sa.String, primary_key=True),
        sa.Column("item", sa.String, nullable=False),
        sa.Column("draft", sa.String),
        sa.Column("model_version", sa.String),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("data", sa.JSON),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        _moment("next_at"),
        _moment("created_at"),
        _moment("changed_at"),
    )
    op.create_index("ix_label_studio_tasks_due", "label_studio_tasks", ["state", "next_at", "connection"])
    op.create_table(
        "label_studio_events",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("connection", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        _moment("received_at"),
        _moment("next_at"),
        _moment("ended_at", nullable=True),
    )
    op.create_index("ix_label_studio_events_due", "label_studio_events", ["ended_at", "next_at"])
    op.create_table(
        "label_studio_annotations",
        sa.Column("connection", sa.String, primary_key=True),
        sa.Column("annotation", sa.String, primary_key=True),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("edits", sa.JSON, nullable=False),
        sa.Column("gold", sa.Boolean, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        _moment("changed_at"),
    )
    op.create_index("ix_label_studio_annotations_task", "label_studio_annotations", ["connection", "task"])


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("team", sa.String, nullable=False),
        sa.Column("project", sa.String),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("secret", sa.String, nullable=False),
        sa.Column("earlier_secret", sa.String),
        _moment("rotated_at", nullable=True),
        sa.Column("created_by", sa.String, nullable=False),
        _moment("created_at"),
        _moment("ended_at", nullable=True),
    )
    op.create_index("ix_webhooks_team", "webhooks", ["team"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("webhook", sa.String, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("team", "event", "about")),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text),
        _moment("created_at"),
        _moment("next_at"),
        _moment("ended_at", nullable=True),
        sa.UniqueConstraint("webhook", "event", "about", name="uq_deliveries_once"),
    )
    op.create_index("ix_deliveries_due", "deliveries", ["webhook", "ended_at", "next_at"])
    op.create_index("ix_deliveries_webhook", "deliveries", ["webhook", "id"])
