"""The tables of connected labeling tools and of webhooks: as `store.tables`, in a file of their own."""

from __future__ import annotations

import sqlalchemy as sa

from store.moments import UtcDateTime
from store.tables import metadata

# Labeling tools that are connected to a project. The tool's own token has to be sent to it, and so is kept as it is; of the secret in
# the address that the tool calls, only the SHA-256 is.
connections = sa.Table(
    "connections",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("team", sa.String, nullable=False),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("tool", sa.String, nullable=False),  # label-studio
    sa.Column("secret_sha256", sa.String, nullable=False, unique=True),
    sa.Column("url", sa.Text),  # of the tool; null: it is not called, it only calls
    sa.Column("token", sa.Text),
    sa.Column("remote_project", sa.String),  # id of the project in the tool
    sa.Column("settings", sa.JSON, nullable=False),  # what the user chose
    sa.Column("state", sa.JSON, nullable=False),  # what Candor keeps of it: how far it polled, what was wrong last
    sa.Column("created_by", sa.String, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Index("ix_connections_project", "team", "project"),
)

# Tasks of Label Studio that drafts were asked for: which draft each was shown, or that it still waits for one that is pushed to it.
label_studio_tasks = sa.Table(
    "label_studio_tasks",
    metadata,
    sa.Column("connection", sa.String, primary_key=True),
    sa.Column("task", sa.String, primary_key=True),
    sa.Column("item", sa.String, nullable=False),
    sa.Column("draft", sa.String),
    sa.Column("model_version", sa.String),  # as Label Studio was told
    sa.Column("state", sa.String, nullable=False),  # queued, processing, done or failed
    sa.Column("data", sa.JSON(none_as_null=True)),  # what is needed to draft it, while it waits
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Index("ix_label_studio_tasks_due", "state", "next_at", "connection"),
)

# What Label Studio reported, as it came, until reviews are made of it.
label_studio_events = sa.Table(
    "label_studio_events",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("connection", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Index("ix_label_studio_events_due", "ended_at", "next_at"),
)

# Annotations of Label Studio as Candor saw them last: its deletions carry ids alone, and its times add up over all who edit.
label_studio_annotations = sa.Table(
    "label_studio_annotations",
    metadata,
    sa.Column("connection", sa.String, primary_key=True),
    sa.Column("annotation", sa.String, primary_key=True),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("updated_at", sa.String, nullable=False),  # of the newest edit that was dealt with; empty: of none yet
    sa.Column("edits", sa.JSON, nullable=False),  # by moment: who, the seconds of all edits until then, and a hash of what was left
    sa.Column("gold", sa.Boolean, nullable=False),  # it made its item gold
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Index("ix_label_studio_annotations_task", "connection", "task"),
)

# Addresses that a team wants told of what happens.
webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("team", sa.String, nullable=False),
    sa.Column("project", sa.String),  # null: all of the team's
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", sa.JSON, nullable=False),
    sa.Column("secret", sa.String, nullable=False),  # what bodies are signed with
    sa.Column("earlier_secret", sa.String),  # that they are signed with too, for a day after it was replaced
    sa.Column("rotated_at", UtcDateTime),
    sa.Column("created_by", sa.String, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Index("ix_webhooks_team", "team"),
)

# What is to be told, to whom, and what became of it: a row is written with what it tells of, and kept.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("webhook", sa.String, nullable=False),
    sa.Column("team", sa.String, nullable=False),
    sa.Column("event", sa.String, nullable=False),
    sa.Column("about", sa.String, nullable=False),  # id of what it tells of
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("status", sa.Integer),  # of the last answer
    sa.Column("error", sa.Text),  # of the last attempt; null: it was taken
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),  # taken, or given up
    sa.UniqueConstraint("webhook", "event", "about", name="uq_deliveries_once"),
    sa.Index("ix_deliveries_due", "webhook", "ended_at", "next_at"),  # by webhook: a long queue of one costs the others nothing
    sa.Index("ix_deliveries_webhook", "webhook", "id"),
)
