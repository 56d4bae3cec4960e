"""A database in one file: SQLite by its own backup, while others write; PostgreSQL by pg_dump and pg_restore. All of it blocks."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext

from candor.errors import InvalidRequest, StorageUnavailable
from store import dialects
from store.tables import uploads, versions

FILES = {"sqlite": "database.sqlite", "postgresql": "database.dump"}


@dataclass(frozen=True, slots=True)
class Dump:
    """What a database's file holds: the revision of its tables, and the SHA-256 of every blob that a row names."""

    revision: str
    blobs: frozenset[str]


def kind_of(url: str) -> str:
    """Return `sqlite` or `postgresql`.

    Raises:
        InvalidRequest: the URL is wrong.
    """
    return dialects.parse(url).get_backend_name()


def dump(url: str, path: Path) -> Dump:
    """Write what is committed now into a file.

    Raises:
        InvalidRequest: the database has no tables, or its programs are not installed.
        StorageUnavailable: it can't be read, or the file can't be written.
    """
    try:
        if kind_of(url) == "sqlite":
            _copy_sqlite(_file(url), path)
            return asyncio.run(_look(f"sqlite+aiosqlite:///{path}", None))
        return asyncio.run(_look(url, path))
    except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise StorageUnavailable(f"the database can't be backed up: {getattr(error, 'orig', None) or error}") from error


def load(url: str, path: Path) -> None:
    """Make the database of a file that `dump` wrote.

    Raises:
        InvalidRequest: there is a database already; its programs are not installed.
        StorageUnavailable: it can't be written.
    """
    check_empty(url)
    if kind_of(url) == "postgresql":
        with _connection_words(url) as words:
            _program(
                "pg_restore", f"--dbname={words}", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", str(path)
            )
        return
    place = _file(url)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.restored")
        shutil.copyfile(path, part)
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(part, place)
    except OSError as error:
        raise StorageUnavailable(f"the database {place} can't be written: {error.strerror}") from error


def check_empty(url: str) -> None:
    """See to it that there is no database to overwrite.

    Raises:
        InvalidRequest: there is one.
        StorageUnavailable: it can't be looked at.
    """
    if kind_of(url) == "sqlite":
        for suffix in ("", "-wal", "-journal"):  # what another database's writes left there would be taken for this one's
            if (there := Path(f"{_file(url)}{suffix}")).exists():
                raise InvalidRequest(f"{there} is there already: move it away, or name another file in storage.database_url")
        return
    try:
        tables = asyncio.run(_tables(url))
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise StorageUnavailable(f"the database can't be read: {getattr(error, 'orig', None) or error}") from error
    if tables:
        raise InvalidRequest(f"the database is not empty, it has the table {tables[0]}: make a new one (createdb) and name that")


async def _tables(url: str) -> list[str]:
    engine = dialects.make_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(lambda synchronous: sorted(sa.inspect(synchronous).get_table_names()))
    finally:
        await engine.dispose()


async def _look(url: str, dump_to: Path | None) -> Dump:
    """Return what a database holds, and in PostgreSQL dump the very same: a snapshot that both see."""
    engine = dialects.make_engine(url, patient=True)
    if dump_to is not None:
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(_holds)
            if dump_to is not None:
                snapshot = (await connection.execute(sa.select(sa.func.pg_export_snapshot()))).scalar_one()
                await asyncio.to_thread(_pg_dump, url, dump_to, snapshot)
            return found
    finally:
        await engine.dispose()


def _holds(connection: sa.Connection) -> Dump:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        raise InvalidRequest("the database has no tables: is storage.database_url the one that the server uses?")
    blobs = set(connection.execute(sa.select(uploads.c.sha256)).scalars())
    if sa.inspect(connection).has_table(versions.name):
        for manifest in connection.execute(sa.select(versions.c.manifest).where(versions.c.manifest.is_not(None))).scalars():
            blobs.update(manifest.get("files", {}).values())
    return Dump(revision, frozenset(blobs))


def _copy_sqlite(source: Path, path: Path) -> None:
    if not source.is_file():
        raise InvalidRequest(f"there is no database {source}: is storage.database_url the one that the server uses?")
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old, closing(sqlite3.connect(path)) as new:
        old.backup(new)  # in one step, which a writer does not disturb
        new.execute("PRAGMA journal_mode = DELETE")  # so that it is one file


def _pg_dump(url: str, path: Path, snapshot: str) -> None:
    with _connection_words(url) as words:
        _program(
            "pg_dump", f"--dbname={words}", f"--file={path}", "--format=custom", f"--snapshot={snapshot}", "--no-owner", "--no-privileges"
        )


def _program(name: str, *arguments: str) -> None:
    program = shutil.which(name)
    if program is None:
        raise InvalidRequest(f"{name} is not installed; it comes with PostgreSQL's client (on Debian: apt install postgresql-client)")
    done = subprocess.run([program, "--no-password", *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - arguments of ours
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"it ended with {done.returncode}"]
        raise StorageUnavailable(f"{name}: {said[0]}")


@contextmanager
def _connection_words(url: str) -> Iterator[str]:
    """Yield how PostgreSQL's programs reach a database. The password is in a file, for everybody can read a program's arguments."""
    parsed = dialects.parse(url)
    with tempfile.NamedTemporaryFile("w", prefix="candor-pgpass-", suffix=".conf") as file:  # readable by us alone
        if parsed.password is not None:
            file.write(":".join(["*", "*", "*", "*", str(parsed.password).replace("\\", "\\\\").replace(":", "\\:")]) + "\n")
            file.flush()
        known: Mapping[str, Any] = {
            "host": parsed.query.get("host", parsed.host),
            "port": parsed.query.get("port", parsed.port),
            "user": parsed.username,
            "dbname": parsed.database,
            "sslmode": parsed.query.get("sslmode", parsed.query.get("ssl")),
            "passfile": file.name if parsed.password is not None else None,
        }
        yield " ".join(f"{name}={_quoted(str(value))}" for name, value in known.items() if value is not None)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _file(url: str) -> Path:
    return Path(dialects.parse(url).database or "")
