"""Migrations up and down on both databases, with rows in the tables."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from candor.errors import StorageUnavailable
from store import dialects, migrate
from store.schema import alembic_config, downgrade, revision_of
from store.tables import metadata

ROOT = Path(__file__).resolve().parents[3]
REVISIONS = [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()][::-1]
HEAD = REVISIONS[-1]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/var/candor.db"
    return str(request.getfixturevalue("postgres_empty_url"))


def look(url: str, work: Any) -> Any:
    """Do work on a connection, and commit it."""

    async def run() -> Any:
        engine = dialects.for_writing(dialects.make_engine(url))
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def reflected(url: str) -> sa.MetaData:
    def work(connection: sa.Connection) -> sa.MetaData:
        found = sa.MetaData()
        found.reflect(connection)
        return found

    return look(url, work)  # type: ignore[no-any-return]


def some(column: sa.Column[Any]) -> Any:
    """A value that a column takes, whichever it is."""
    kind = column.type
    if isinstance(kind, sa.JSON):
        return {"a": [1, None]}
    if isinstance(kind, sa.DateTime):
        return sa.func.current_timestamp()
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, sa.Float | sa.Integer | sa.Numeric):
        return 1
    return b"x" if isinstance(kind, sa.LargeBinary) else f"some {column.name}"


def fill(url: str) -> dict[str, Sequence[Any]]:
    """Put a row into each table, and return all rows as they are read back."""
    tables = [table for table in reflected(url).tables.values() if table.name != "alembic_version"]

    def work(connection: sa.Connection) -> None:
        for table in tables:
            connection.execute(table.insert().values({column.name: some(column) for column in table.columns}))

    look(url, work)
    return rows(url, tables)


def rows(url: str, tables: Sequence[sa.Table]) -> dict[str, Sequence[Any]]:
    """Return all rows, in the given tables' columns."""

    def work(connection: sa.Connection) -> dict[str, Sequence[Any]]:
        return {table.name: [tuple(row) for row in connection.execute(sa.select(table))] for table in tables}

    return look(url, work)  # type: ignore[no-any-return]


def differences(url: str) -> Any:
    return look(url, lambda connection: compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


@pytest.mark.parametrize("revision", REVISIONS)
def test_rows_of_every_revision_are_kept(url: str, revision: str) -> None:
    migrate(url, revision)
    old = [table for table in reflected(url).tables.values() if table.name != "alembic_version"]
    before = fill(url)
    migrate(url)
    assert revision_of(url) == HEAD
    assert differences(url) == []
    assert rows(url, old) == before
    downgrade(url, revision)
    assert revision_of(url) == revision
    assert rows(url, old) == before
    downgrade(url, "base")
    assert set(reflected(url).tables) == {"alembic_version"}
    migrate(url)  # what the way down left behind would be in the way
    assert differences(url) == []


def test_rows_without_a_team_are_of_the_default_one(url: str) -> None:
    migrate(url, "0002")
    fill(url)
    migrate(url)
    tables = reflected(url).tables
    for name in ("drafts", "uploads", "jobs"):
        assert look(url, lambda connection, name=name: connection.execute(sa.select(tables[name].c.team)).scalars().all()) == ["default"]
    assert look(url, lambda connection: connection.execute(sa.text("SELECT name FROM teams")).scalars().all()) == ["default"]


def test_a_newer_database_is_refused_and_left_as_it_is(url: str) -> None:
    migrate(url)
    look(url, lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(StorageUnavailable, match="9999"):
        migrate(url)
    assert revision_of(url) == "9999"


def test_processes_migrate_at_once(url: str) -> None:
    program = "import sys; from store import migrate; sys.stdin.readline(); migrate(sys.argv[1])"
    command = [sys.executable, "-W", "error", "-c", program, url]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ended = [process.communicate("go\n", timeout=60) for process in processes]
    assert [(process.returncode, *said) for process, said in zip(processes, ended, strict=True)] == [(0, "", "")] * 3
    assert revision_of(url) == HEAD
    assert json.dumps(differences(url)) == "[]"
