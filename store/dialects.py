"""All that differs between SQLite and PostgreSQL: connections, locks, triggers, errors, and INSERT that ignores what is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from candor.errors import InvalidRequest, StorageUnavailable

Synchronous: TypeAlias = Literal["full", "normal"]

BUSY_SECONDS = 30.0  # how long a writer waits for another process's transaction
_CONNECT_SECONDS = 10.0
_STATEMENT_SECONDS = 60.0  # PostgreSQL ends a longer one, and we stop waiting for a server that says nothing
_POOL = 5  # connections of one process that stay open; at most twice as many are open at once
_MIGRATION_LOCK = 0x63616E646F72  # "candor": the key of PostgreSQL's advisory lock

# NaN has no place in JSON, and PostgreSQL refuses it: refuse it everywhere.
_to_json = partial(json.dumps, allow_nan=False, separators=(",", ":"))


def make_engine(url: str, synchronous: Synchronous = "full", *, patient: bool = False) -> AsyncEngine:
    """Return an engine. For SQLite: transactions begin where SQLAlchemy says so, and at once with the write lock where they write.

    `patient`: statements may take as long as they need, as migrations do. `pool_size` in a URL's query is how many connections to
    PostgreSQL stay open.

    Raises:
        InvalidRequest: no SQLAlchemy URL, or one of a database that has no place to stay.
    """
    parsed = parse(url)
    if parsed.get_backend_name() != "sqlite":
        return _make_postgresql(parsed, patient)
    # isolation_level None: the driver begins nothing on its own, so that DDL is in transactions too
    engine = create_async_engine(parsed, json_serializer=_to_json, connect_args={"isolation_level": None, "timeout": BUSY_SECONDS})
    sa.event.listen(engine.sync_engine, "connect", partial(_set_up_sqlite, synchronous))
    sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _make_postgresql(url: sa.URL, patient: bool) -> AsyncEngine:
    """Return an engine that asks each connection before its use whether it still works, and that waits for nothing for ever."""
    size = str(url.query.get("pool_size", _POOL))
    if not size.isdecimal() or int(size) < 1:
        raise InvalidRequest(f"pool_size in storage.database_url is a number of connections, at least 1, not {size!r}")
    milliseconds = {"lock_timeout": BUSY_SECONDS}
    if not patient:
        milliseconds |= {"statement_timeout": _STATEMENT_SECONDS, "idle_in_transaction_session_timeout": 2 * _STATEMENT_SECONDS}
    session = {name: f"{seconds * 1000:.0f}" for name, seconds in milliseconds.items()}
    return create_async_engine(
        url.difference_update_query(["pool_size"]),
        json_serializer=_to_json,
        pool_pre_ping=True,
        pool_size=int(size),
        max_overflow=int(size),
        pool_timeout=BUSY_SECONDS,
        connect_args={
            "timeout": _CONNECT_SECONDS,
            "command_timeout": None if patient else _STATEMENT_SECONDS + 5,
            "server_settings": {"application_name": "candor", "jit": "off", **session},
        },
    )


def for_writing(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine, over the same pool, whose transactions write.

    On SQLite they take the write lock at their beginning, where the busy timeout holds. A transaction that read first and then
    writes fails at once with "database is locked" when another process wrote in between.
    """
    return engine.execution_options(candor_writes=True)


def _set_up_sqlite(synchronous: Synchronous, connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA synchronous = {'FULL' if synchronous == 'full' else 'NORMAL'}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA recursive_triggers = ON")  # so that INSERT OR REPLACE meets the trigger against DELETE
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("candor_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def use_wal(connection: sa.Connection) -> None:
    """Let readers and one writer work at the same time. The file remembers it. Call it outside a transaction."""
    driver = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite" and driver is not None:
        cursor = driver.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()


@contextmanager
def migration_lock(url: str) -> Iterator[None]:
    """Let one process at a time migrate an SQLite file, and make its folder. PostgreSQL locks in its transaction (`lock_schema`).

    Raises:
        StorageUnavailable: the lock or the folder can't be had.
    """
    path = _sqlite_file(url)
    if path is None:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock", timeout=2 * BUSY_SECONDS)
        lock.acquire()
    except Timeout as error:
        raise StorageUnavailable(f"another process has been migrating {path} for {2 * BUSY_SECONDS:.0f} s") from error
    except OSError as error:
        raise StorageUnavailable(f"the folder of the database {path} can't be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def lock_schema(connection: sa.Connection) -> None:
    """Wait, in PostgreSQL, for another process's migration; the lock ends with the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))


async def take_turns(connection: AsyncConnection, name: str) -> None:
    """Let transactions that name the same thing follow one another: what one reads, no other changes before it ends.

    SQLite's write lock does so anyway. Reads that come after this see what the transaction before has committed.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


def is_refusal(error: Exception) -> bool:
    """Say whether the database refused as such (locked, full, read-only, gone), so that asking at once for something else is vain."""
    if isinstance(error, sa.exc.OperationalError | sa.exc.TimeoutError | OSError):
        return True
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    # connection exception, insufficient resources, operator intervention, system error, lock not available, read-only transaction
    return error.connection_invalidated or _sqlstate(error).startswith(("08", "53", "57", "58", "55P03", "25006"))


def is_collision(error: Exception) -> bool:
    """Say whether PostgreSQL undid a transaction for the sake of another one (a deadlock), so that it may well go the next time."""
    return isinstance(error, sa.exc.DBAPIError) and _sqlstate(error) in ("40001", "40P01")


def is_bad_text(error: BaseException | None) -> bool:
    """Say whether a text can't be stored: it holds half a character, or in PostgreSQL U+0000."""
    while error is not None:
        state = _sqlstate(error) if isinstance(error, sa.exc.DBAPIError) else ""
        if isinstance(error, UnicodeEncodeError | sa.exc.DataError) or state in ("22021", "22P05"):
            return True
        error = error.__cause__
    return False


def _sqlstate(error: sa.exc.DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def insert_ignoring(dialect: sa.Dialect, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT that leaves a row of the same primary key as it is; its rowcount says whether it inserted."""
    if dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def append_only(dialect: sa.Dialect, table: str) -> list[str]:
    """Return the statements after which UPDATE and DELETE of the table's rows fail. `table` is a name of ours, never a caller's."""
    if dialect.name == "sqlite":
        return [
            f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for verb in ("update", "delete")
        ]
    return [
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$",
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_refuse()",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()",
    ]


def not_append_only(dialect: sa.Dialect, table: str) -> list[str]:
    """Return the statements that undo `append_only`, for a migration downwards."""
    if dialect.name == "sqlite":
        return [f"DROP TRIGGER {table}_no_{verb}" for verb in ("update", "delete")]
    return [f"DROP TRIGGER {table}_no_{verb} ON {table}" for verb in ("change", "truncate")] + [f"DROP FUNCTION {table}_refuse()"]


def parse(url: str) -> sa.URL:
    """Return a database's URL in its parts.

    Raises:
        InvalidRequest: it is none, or one of a database that has no place to stay.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise InvalidRequest("storage.database_url is not a SQLAlchemy URL such as sqlite+aiosqlite:///var/candor.db") from error
    if parsed.get_backend_name() == "sqlite" and _in_memory(parsed):
        raise InvalidRequest("storage.database_url names a database in memory; name a file: sqlite+aiosqlite:///var/candor.db")
    return parsed


def _in_memory(url: sa.URL) -> bool:
    return not url.database or ":memory:" in url.database or url.database.startswith("file:")


def _sqlite_file(url: str) -> Path | None:
    parsed = parse(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
