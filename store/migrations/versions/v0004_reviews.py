"""Gold items, the arms of items, reviews, and alarms about reviewers."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

from store.dialects import append_only, not_append_only

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_APPEND_ONLY = ("gold_revisions", "draws", "reviews", "withdrawals")
_NEW = ("review_secrets", "gold", "gold_revisions", "draws", "reviews", "reviewer_aliases", "withdrawals", "review_alarms", "notices")


def upgrade() -> None:
    op.add_column("drafts", sa.Column("arm", sa.String, nullable=False, server_default="assisted"))
    _gold()
    _draws()
    _reviews()
    _notices()
    for table in _APPEND_ONLY:
        for statement in append_only(op.get_bind().dialect, table):
            op.execute(statement)


def downgrade() -> None:
    for table in _APPEND_ONLY:
        for statement in not_append_only(op.get_bind().dialect, table):
            op.execute(statement)
    for table in _NEW[::-1]:
        op.drop_table(table)
    op.drop_column("drafts", "arm")


def _gold() -> None:
    op.create_table(
        "review_secrets",
        *_of_project(),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("epoch", sa.String, nullable=False),
        _moment("created_at"),
    )
    op.create_table(
        "gold",
        *_of_project(),
        sa.Column("item", sa.String, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("truth", sa.JSON, nullable=False),
        _moment("changed_at"),
    )
    op.create_table(
        "gold_revisions",
        *_of_project(),
        sa.Column("item", sa.String, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("truth", sa.JSON),
        sa.Column("by", sa.String, nullable=False),
        _moment("at"),
    )


def _draws() -> None:
    op.create_table(
        "draws",
        *_of_project(),
        sa.Column("item", sa.String, primary_key=True),
        sa.Column("reviewer", sa.String, primary_key=True),
        sa.Column("epoch", sa.String, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("arm", sa.String, nullable=False),
        sa.Column("propensity", sa.Double, nullable=False),
        sa.Column("rates", sa.JSON, nullable=False),
        sa.Column("draft", sa.String, nullable=False, unique=True),
        sa.Column("natural", sa.String, nullable=False),
        sa.Column("planted", sa.JSON),
        sa.Column("gold", sa.Boolean, nullable=False),
        _moment("at"),
    )
    op.create_index("ix_draws_project", "draws", ["team", "project", "id"])


def _reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("team", "project", "event_id")),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("skipped", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("draft", "item", "reviewer")),
        sa.Column("seconds", sa.Double),
        sa.Column("guideline_version", sa.String),
        sa.Column("final", sa.JSON),
        sa.Column("verdict", sa.String),
        sa.Column("edits", sa.JSON),
        sa.Column("arm", sa.String, nullable=False),
        sa.Column("caught", sa.String),
        _moment("finished_at"),
        _moment("received_at"),
        sa.UniqueConstraint("team", "event_id", "revision", name="uq_reviews_event"),
    )
    op.create_index("ix_reviews_project", "reviews", ["team", "project", "id"])
    op.create_table(
        "reviewer_aliases",
        *_of_project(),
        sa.Column("reviewer", sa.String, primary_key=True),
        sa.Column("into", sa.String, nullable=False),
        _moment("at"),
    )
    op.create_table(
        "withdrawals", sa.Column("draft", sa.String, primary_key=True), sa.Column("source", sa.String, primary_key=True), _moment("at")
    )
    op.create_table(
        "review_alarms",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("team", "project", "reviewer")),
        sa.Column("evidence", sa.JSON, nullable=False),
        _moment("raised_at"),
        sa.Column("honeypots", sa.Integer, nullable=False),
        _moment("cleared_at", nullable=True),
        sa.Column("cleared_by", sa.String),
        sa.Column("reason", sa.Text),
        sa.UniqueConstraint("team", "project", "reviewer", "honeypots", name="uq_review_alarms_once"),
    )


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("team", "project", "alarm", "event")),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("form", sa.String, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        _moment("next_at"),
        _moment("ended_at", nullable=True),
        sa.Column("error", sa.Text),
        _moment("created_at"),
        sa.UniqueConstraint("alarm", "event", "url", name="uq_notices_once"),
    )
    op.create_index("ix_notices_due", "notices", ["ended_at", "next_at"])


def _of_project() -> tuple[sa.Column[str], sa.Column[str]]:
    return sa.Column("team", sa.String, primary_key=True), sa.Column("project", sa.String, primary_key=True)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
