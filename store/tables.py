"""The tables. Alembic migrations in store/migrations make them; a test holds the two together."""

from __future__ import annotations

import sqlalchemy as sa

from store.moments import UtcDateTime

metadata = sa.MetaData()

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
    sa.Column("unverified_since", UtcDateTime),
    sa.Column("team", sa.String, nullable=False, server_default="default"),
    sa.Column("label_map", sa.String),
    # assisted, withheld, honeypot; twin: a honeypot's natural draft, which nobody is shown
    sa.Column("arm", sa.String, nullable=False, server_default="assisted"),
    # Store.find: the newest drafts of one item's bytes
    sa.Index("ix_drafts_find", "media_sha256", "model_version", "calibration", "created_at", "id"),
    sa.Index("ix_drafts_version", "model_version"),  # Registry.delete: how many drafts refer to a version
    # ProjectDrafts.page: the newest draft of each item; drafts without a project are not in it, so that they cost nothing
    sa.Index(
        "ix_drafts_project",
        *("team", "project", "item", "id", "arm"),
        sqlite_where=sa.text("project IS NOT NULL"),
        postgresql_where=sa.text("project IS NOT NULL"),
    ),
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
    sa.Column("team", sa.String, nullable=False, server_default="default", index=True),
)

# A large file that arrives in parts: what is announced of it, and how far it is. It becomes an upload when its last byte is there.
partial_uploads = sa.Table(
    "partial_uploads",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("team", sa.String, nullable=False, index=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column("parts", sa.JSON, nullable=False),  # [[offset, bytes, sha256 of the part, its name], …]
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False, index=True),
)

# Every calibration record that was made or imported here, or is named by the configuration. Append-only.
calibrations = sa.Table(
    "calibrations",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),
    sa.Column("origin", sa.String, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("ix_calibrations_newest", "model_version", "created_at", "id"),
)

# What was done with calibrations: promoted, rolled_back, alarm, cleared. The newest of the first two says what is in force for a
# version; a null calibration there is the configuration's own. Append-only.
calibration_events = sa.Table(
    "calibration_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("calibration", sa.String),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_calibration_events_version", "model_version", "id"),
)

# Labels of drafts that turned out right or wrong, with the stream that each came by. Append-only.
outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("draft", sa.String, nullable=False),
    sa.Column("label_index", sa.Integer, nullable=False),
    sa.Column("stream", sa.String, nullable=False),
    sa.Column("propensity", sa.Double, nullable=False),
    sa.Column("event", sa.String, nullable=False),  # label, no_edit or segment
    sa.Column("confidence", sa.Double),
    sa.Column("calibration", sa.String),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("cluster", sa.String, nullable=False),
    sa.Column("features", sa.JSON, nullable=False),
    sa.Column("correct", sa.Boolean, nullable=False),
    sa.Column("reviewer", sa.String),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("draft", "label_index", "event", "stream", "source", name="uq_outcomes_once"),
    sa.Index("ix_outcomes_version", "model_version", "created_at", "id"),
)

# Long work: one row per job, brought up to date as it goes.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),  # queued, running, done, failed or cancelled
    sa.Column("progress", sa.Double, nullable=False),  # 0 to 1
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON),
    sa.Column("error", sa.JSON),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("heartbeat_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("team", sa.String, nullable=False, server_default="default"),
    sa.Index("ix_jobs_state", "state", "created_at"),
)

# Teams are named, once and for all. `limits` may hold items_per_minute and storage_bytes.
teams = sa.Table(
    "teams",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("limits", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

# API keys: of the secret only its SHA-256 is kept.
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("team", sa.String, nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("secret_sha256", sa.String, nullable=False),
    sa.Column("created_by", sa.String, nullable=False),  # id of a key, or `operator`
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
)

# Who changed what, and when. Append-only.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("team", sa.String, nullable=False),
    sa.Column("key", sa.String, nullable=False),  # id of an API key, `operator` or `none`
    sa.Column("action", sa.String, nullable=False),  # such as `alias.moved`
    sa.Column("target", sa.String, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_audit_team", "team", "id"),
)

# Projects as they are now; every revision is kept in project_revisions, which is append-only.
projects = sa.Table(
    "projects",
    metadata,
    sa.Column("team", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
)
project_revisions = sa.Table(
    "project_revisions",
    metadata,
    sa.Column("team", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("body", sa.JSON(none_as_null=True)),  # null: it was deleted
    sa.Column("by", sa.String, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

# Registered model versions. `version` is the full name, `name@sha256:…`, known once the model was taken in.
versions = sa.Table(
    "versions",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("team", sa.String, nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("version", sa.String, unique=True),
    sa.Column("state", sa.String, nullable=False),  # validating, ready, failed or retired
    sa.Column("request", sa.JSON, nullable=False),  # what was asked for: family, options, the artifact's upload and hash
    sa.Column("manifest", sa.JSON(none_as_null=True)),
    sa.Column("report", sa.JSON(none_as_null=True)),  # of its validation
    sa.Column("bytes", sa.BigInteger, nullable=False),  # of its files
    sa.Column("job", sa.String),
    sa.Column("created_by", sa.String, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.Index("ix_versions_model", "team", "model", "created_at", "id"),
)

# Where aliases point now: a version, and one that takes a share of the items. Every move is kept in alias_moves, which is append-only.
aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("team", sa.String, primary_key=True),
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("alias", sa.String, primary_key=True),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("canary", sa.String),
    sa.Column("share", sa.Double, nullable=False),  # of the canary, 0 to 1
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("moved_at", UtcDateTime, nullable=False),
)
alias_moves = sa.Table(
    "alias_moves",
    metadata,
    sa.Column("team", sa.String, primary_key=True),
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("alias", sa.String, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("version", sa.String),  # null: the alias was removed
    sa.Column("canary", sa.String),
    sa.Column("share", sa.Double, nullable=False),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

# One row: how often the three tables above were written to. Whoever writes to them adds one first, and so they wait for each other; whoever
# reads them looks here whether anything changed.
registry_changes = sa.Table(
    "registry_changes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
)

# What a project's arms are drawn with. The secret leaves this table only into the hash.
review_secrets = sa.Table(
    "review_secrets",
    metadata,
    sa.Column("team", sa.String, primary_key=True),
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("epoch", sa.String, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

# Items whose right label is known, as it is now; every revision is kept in gold_revisions, which is append-only.
gold = sa.Table(
    "gold",
    metadata,
    sa.Column("team", sa.String, primary_key=True),
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("item", sa.String, primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("truth", sa.JSON, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
)
gold_revisions = sa.Table(
    "gold_revisions",
    metadata,
    sa.Column("team", sa.String, primary_key=True),
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("item", sa.String, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("truth", sa.JSON(none_as_null=True)),  # null: it is gold no more
    sa.Column("by", sa.String, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

# The arm of each item (and reviewer, where the platform names one when it asks; else empty), drawn once, before anything was shown.
# Append-only. `draft` is what was shown under it, `natural` the draft that the model really made; they differ for honeypots alone.
draws = sa.Table(
    "draws",
    metadata,
    sa.Column("team", sa.String, primary_key=True),
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("item", sa.String, primary_key=True),
    sa.Column("reviewer", sa.String, primary_key=True),
    sa.Column("epoch", sa.String, primary_key=True),
    sa.Column("id", sa.String, nullable=False, unique=True),
    sa.Column("arm", sa.String, nullable=False),
    sa.Column("propensity", sa.Double, nullable=False),
    sa.Column("rates", sa.JSON, nullable=False),
    sa.Column("draft", sa.String, nullable=False, unique=True),
    sa.Column("natural", sa.String, nullable=False),
    sa.Column("planted", sa.JSON(none_as_null=True)),
    sa.Column("gold", sa.Boolean, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_draws_project", "team", "project", "id"),
)

# What people did with drafts, one row per revision of an event of the platform's; that of the greatest number counts: it was finished
# last. Append-only.
reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("team", sa.String, nullable=False),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("event_id", sa.String, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("fingerprint", sa.String, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("skipped", sa.Boolean, nullable=False),
    sa.Column("draft", sa.String, nullable=False),
    sa.Column("item", sa.String, nullable=False),
    sa.Column("reviewer", sa.String, nullable=False),
    sa.Column("seconds", sa.Double),
    sa.Column("guideline_version", sa.String),
    sa.Column("final", sa.JSON(none_as_null=True)),
    sa.Column("verdict", sa.String),  # accepted, corrected or rejected; null where it was skipped or deleted
    sa.Column("edits", sa.JSON(none_as_null=True)),
    sa.Column("arm", sa.String, nullable=False),
    sa.Column("caught", sa.String),  # honeypots: caught, noticed or missed
    sa.Column("finished_at", UtcDateTime, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("team", "event_id", "revision", name="uq_reviews_event"),
    sa.Index("ix_reviews_project", "team", "project", "id"),
)

# Which names of reviewers are one person: whoever was renamed or merged. Reviews keep the name that they came with.
reviewer_aliases = sa.Table(
    "reviewer_aliases",
    metadata,
    sa.Column("team", sa.String, primary_key=True),
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("reviewer", sa.String, primary_key=True),
    sa.Column("into", sa.String, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

# Outcomes that count no more: the review or the gold behind them was corrected or taken back. Append-only.
withdrawals = sa.Table(
    "withdrawals",
    metadata,
    sa.Column("draft", sa.String, primary_key=True),
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
)

# Alarms about reviewers, latched until somebody clears them.
review_alarms = sa.Table(
    "review_alarms",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("team", sa.String, nullable=False),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("reviewer", sa.String, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("raised_at", UtcDateTime, nullable=False),
    sa.Column("honeypots", sa.Integer, nullable=False),  # of the reviewer's, the one at which it was raised
    sa.Column("cleared_at", UtcDateTime),
    sa.Column("cleared_by", sa.String),
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("team", "project", "reviewer", "honeypots", name="uq_review_alarms_once"),
)

# Notices of alarms, as they wait for their receiver: a row is written with what it tells of, and kept when it was sent.
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("team", sa.String, nullable=False),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("alarm", sa.String, nullable=False),
    sa.Column("event", sa.String, nullable=False),  # raised or cleared
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("form", sa.String, nullable=False),  # candor or slack
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),  # sent, or given up
    sa.Column("error", sa.Text),  # of the last attempt; null: it was sent
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("alarm", "event", "url", name="uq_notices_once"),
    sa.Index("ix_notices_due", "ended_at", "next_at"),
)
