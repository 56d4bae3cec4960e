"""Teams with their keys and an audit log, projects, registered model versions and their aliases, uploads in parts."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from store.dialects import append_only, not_append_only

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_APPEND_ONLY = ("audit", "project_revisions", "alias_moves")
_NEW = (
    "partial_uploads",
    "teams",
    "api_keys",
    "audit",
    "projects",
    "project_revisions",
    "versions",
    "aliases",
    "alias_moves",
    "registry_changes",
)


def upgrade() -> None:
    _owned()
    _teams()
    _projects()
    _models()
    for table in _APPEND_ONLY:
        for statement in append_only(op.get_bind().dialect, table):
            op.execute(statement)


def downgrade() -> None:
    for table in _APPEND_ONLY:
        for statement in not_append_only(op.get_bind().dialect, table):
            op.execute(statement)
    for table in _NEW[::-1]:
        op.drop_table(table)
    op.drop_index("ix_uploads_team", "uploads")
    op.drop_index("ix_drafts_version", "drafts")
    for table, column in (("jobs", "team"), ("uploads", "team"), ("drafts", "label_map"), ("drafts", "team")):
        op.drop_column(table, column)


def _owned() -> None:
    op.add_column("drafts", _team(server_default="default"))
    op.add_column("drafts", sa.Column("label_map", sa.String))
    op.create_index("ix_drafts_version", "drafts", ["model_version"])
    op.add_column("uploads", _team(server_default="default"))
    op.create_index("ix_uploads_team", "uploads", ["team"])
    op.add_column("jobs", _team(server_default="default"))
    op.create_table(
        "partial_uploads",
        sa.Column("id", sa.String, primary_key=True),
        _team(),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("parts", sa.JSON, nullable=False),
        _moment("created_at"),
        _moment("expires_at"),
    )
    op.create_index("ix_partial_uploads_team", "partial_uploads", ["team"])
    op.create_index("ix_partial_uploads_expires_at", "partial_uploads", ["expires_at"])


def _teams() -> None:
    made = op.create_table(
        "teams",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("limits", sa.JSON, nullable=False),
        _moment("created_at"),
    )
    op.bulk_insert(made, [{"name": "default", "limits": {}, "created_at": datetime.now(UTC)}])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String, primary_key=True),
        _team(),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("secret_sha256", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        _moment("created_at"),
        _moment("expires_at", nullable=True),
        _moment("revoked_at", nullable=True),
    )
    op.create_index("ix_api_keys_team", "api_keys", ["team"])
    op.create_table(
        "audit",
        sa.Column("id", sa.String, primary_key=True),
        _team(),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        _moment("at"),
    )
    op.create_index("ix_audit_team", "audit", ["team", "id"])


def _projects() -> None:
    op.create_table(
        "projects",
        _team(primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        _moment("created_at"),
        _moment("changed_at"),
    )
    op.create_table(
        "project_revisions",
        _team(primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("body", sa.JSON),
        sa.Column("by", sa.String, nullable=False),
        _moment("at"),
    )


def _models() -> None:
    op.create_table(
        "versions",
        sa.Column("id", sa.String, primary_key=True),
        _team(),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("version", sa.String, unique=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("manifest", sa.JSON),
        sa.Column("report", sa.JSON),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("job", sa.String),
        sa.Column("created_by", sa.String, nullable=False),
        _moment("created_at"),
        _moment("settled_at", nullable=True),
    )
    op.create_index("ix_versions_model", "versions", ["team", "model", "created_at", "id"])
    for name, more in (("aliases", [_moment("moved_at")]), ("alias_moves", [sa.Column("by", sa.String, nullable=False), _moment("at")])):
        moves = name == "alias_moves"
        op.create_table(
            name,
            _team(primary_key=True),
            sa.Column("model", sa.String, primary_key=True),
            sa.Column("alias", sa.String, primary_key=True),
            sa.Column("version", sa.String, nullable=moves),
            sa.Column("canary", sa.String),
            sa.Column("share", sa.Double, nullable=False),
            sa.Column("revision", sa.Integer, primary_key=moves, nullable=False),
            *more,
        )
    op.create_table(
        "registry_changes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )


def _team(**options: object) -> sa.Column[str]:
    return sa.Column("team", sa.String, nullable=False, **options)  # type: ignore[arg-type]


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
