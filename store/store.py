"""The store: drafts, idempotency keys and uploads in one database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from candor.drafts import Draft, Timings
from candor.errors import Conflict, InvalidRequest, StorageUnavailable, UnknownDraft, UnknownUpload
from store import dialects, schema
from store.dialects import Synchronous
from store.moments import utc_now
from store.tables import drafts, idempotency, uploads
from store.writer import Writer

T = TypeVar("T")

KEPT = timedelta(hours=24)  # how long an idempotency key answers
FOUND_PER_ITEM = 16  # most stored drafts that `find` returns for one item's bytes
_FIND_AT_ONCE = 32  # items per SELECT


@dataclass(frozen=True, slots=True)
class StoredReply:
    """The reply that an Idempotency-Key already has."""

    status: int
    body: bytes


async def open_store(url: str, *, sqlite_synchronous: Synchronous = "full", migrate: bool = True) -> Store:
    """Open the database behind a SQLAlchemy URL with an async driver; by default make or migrate its tables first.

    Raises:
        InvalidRequest: the URL is wrong, or names a database in memory.
        StorageUnavailable: the database can't be opened or migrated.
    """
    if migrate:
        await asyncio.to_thread(schema.migrate, url)
    store = Store(dialects.make_engine(url, sqlite_synchronous))
    try:
        await store.ping()
    except BaseException:
        await store.close()
        raise
    return store


class Store:
    """Reads and writes of one process; belongs to the event loop that opened it. Several processes may open the same database.

    Every method raises StorageUnavailable where the database is locked for long, full, read-only or gone.
    """

    def __init__(self, engine: AsyncEngine, clock: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._clock = clock
        self._writer = Writer(engine, drafts)

    async def save(self, drafts: Sequence[Draft]) -> None:
        """Store drafts, all or none of them; they are committed when this returns. Concurrent calls share a transaction.

        Raises:
            Conflict: a draft of one of these ids is stored.
            InvalidRequest: a text is not valid Unicode.
        """
        if drafts:
            with _refusals("a draft of the same id is stored"):
                await self._writer.insert([_row(draft) for draft in drafts])

    async def get(self, draft_id: str, team: str | None = None) -> Draft:
        """Return one draft; with `team` only if it is that team's.

        Raises:
            UnknownDraft: there is none of that id.
        """
        own = () if team is None else (drafts.c.team == team,)
        found = await self.read(sa.select(drafts).where(drafts.c.id == draft_id, *own))
        if not found:
            raise UnknownDraft(f"there is no draft {draft_id!r}")
        return _draft(found[0])

    async def find(
        self, model_version: str, calibration: str | None, media_sha256: Sequence[str], team: str = "default"
    ) -> dict[str, list[Draft]]:
        """Return a team's stored drafts of the same bytes, model version and calibration, newest first, at most FOUND_PER_ITEM for each.

        Bytes that have none are absent from the answer.
        """
        found: dict[str, list[Draft]] = {}
        wanted = list(dict.fromkeys(media_sha256))
        for start in range(0, len(wanted), _FIND_AT_ONCE):
            some = wanted[start : start + _FIND_AT_ONCE]
            named = {"model_version": model_version, "calibration": calibration, "team": team}
            values = {**named, **{f"sha_{n}": sha for n, sha in enumerate(some)}}
            for row in await self.read(_newest(len(some), calibration is not None), values):
                found.setdefault(row.media_sha256, []).append(_draft(row))
        for of_item in found.values():
            of_item.sort(key=lambda draft: (draft.created_at, draft.id), reverse=True)
        return found

    async def claim(self, key: str, fingerprint: str, abandoned_after: float) -> StoredReply | None:
        """Claim an Idempotency-Key for a request whose content has this fingerprint. Keys of different teams must differ.

        None: the key is yours; end with `keep` or `release`. A claim that is neither after `abandoned_after` seconds (its process
        died) goes to the next who asks, so that must be longer than any request runs.

        Raises:
            Conflict: the key came with another fingerprint, or its first request is still running (`retry_after` is set).
        """

        async def work(connection: AsyncConnection) -> sa.Row[Any] | None:
            return await _claim(connection, key, fingerprint, self._clock(), abandoned_after)

        earlier = await self.run(work)
        if earlier is None:
            return None
        if earlier.fingerprint != fingerprint:
            raise Conflict("this Idempotency-Key came before with another request; use a new key for a new request")
        if earlier.status is None:
            raise Conflict("the first request with this Idempotency-Key is still running; ask again for its reply", retry_after=1.0)
        return StoredReply(earlier.status, earlier.body)

    async def keep(self, key: str, status: int, body: bytes) -> None:
        """Keep the reply to a claimed key, to be replayed for 24 hours."""
        values = {"status": status, "body": body, "expires_at": self._clock() + KEPT}
        await self.execute(sa.update(idempotency).where(*_running(key)).values(values))

    async def release(self, key: str) -> None:
        """Free a claimed key: its request failed in a way that a retry may mend."""
        await self.execute(sa.delete(idempotency).where(*_running(key)))

    async def add_upload(self, upload_id: str, sha256: str, size: int, team: str = "default") -> None:
        """Record that an upload is the blob of this SHA-256; `Blobs` calls it when the file is safe."""
        values = {"id": upload_id, "sha256": sha256, "bytes": size, "created_at": self._clock(), "team": team}
        await self.execute(sa.insert(uploads).values(values))

    async def upload_sha256(self, upload_id: str, team: str | None = None) -> str:
        """Return the SHA-256 of an upload; with `team` only if it is that team's.

        Raises:
            UnknownUpload: there is none of that id.
        """
        own = () if team is None else (uploads.c.team == team,)
        found = await self.read(sa.select(uploads.c.sha256).where(uploads.c.id == upload_id, *own))
        if not found:
            raise UnknownUpload(f"there is no upload {upload_id!r}")
        return str(found[0].sha256)

    async def ping(self) -> None:
        """Read one row of the drafts.

        Raises:
            StorageUnavailable: the database can't be read, or has no tables.
        """
        await self.read(sa.select(drafts.c.id).limit(1))

    async def close(self) -> None:
        """Write what waits and close the connections."""
        await self._writer.close()
        await self._engine.dispose()

    async def read(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> Sequence[sa.Row[Any]]:
        """Return the rows of a SELECT: what the other parts of the store are made of."""
        with _refusals():
            async with self._engine.connect() as connection:
                return (await connection.execute(statement, values)).all()

    async def execute(self, statement: sa.Executable) -> int:
        """Write in a transaction; it is committed when this returns how many rows it touched.

        Raises:
            Conflict: a row of the same key is stored, or the table takes no such change.
        """

        async def work(connection: AsyncConnection) -> int:
            result: sa.CursorResult[Any] = await connection.execute(statement)
            return result.rowcount

        return await self.run(work)

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do work in a transaction; it is committed when this returns its result. It may be done twice, the first time undone.

        Raises:
            Conflict: as for `execute`.
        """
        with _refusals():
            return await self._writer.run(work)


@contextmanager
def _refusals(already: str = "the row is stored already") -> Iterator[None]:
    """Turn what the database says into errors of ours."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise Conflict(already) from error
    except (UnicodeEncodeError, sa.exc.DBAPIError, sa.exc.TimeoutError, OSError) as error:
        if dialects.is_bad_text(error):
            raise InvalidRequest("a text holds a character that can't be stored") from error
        raise StorageUnavailable(f"the database refused: {_reason(error)}", retry_after=1.0) from error


def _reason(error: Exception) -> str:
    """Return SQLite's short sentence ("database is locked"); of others only the kind, for they may name hosts and values."""
    cause = getattr(error, "orig", None) or error
    return str(cause) if isinstance(cause, sqlite3.Error) else type(cause).__name__


def _row(draft: Draft) -> dict[str, Any]:
    values = {column.name: getattr(draft, column.name) for column in drafts.columns}
    return {**values, "payload": dict(draft.payload), "timings": asdict(draft.timings)}


def _draft(row: sa.Row[Any]) -> Draft:
    values = dict(row._mapping)
    return Draft(**{**values, "timings": Timings(**values["timings"])})


@cache
def _newest(items: int, calibrated: bool) -> sa.CompoundSelect[Any]:
    """Select the newest drafts of so many items: a short walk down the index for each, however many drafts it has.

    Parameters: team, model_version, calibration (if `calibrated`), sha_0, sha_1, …
    """
    own = drafts.c.team == sa.bindparam("team")
    same_calibration = drafts.c.calibration == sa.bindparam("calibration") if calibrated else drafts.c.calibration.is_(None)
    parts = [
        sa.select(drafts)
        .where(drafts.c.media_sha256 == sa.bindparam(f"sha_{n}"), drafts.c.model_version == sa.bindparam("model_version"))
        .where(same_calibration, own)
        .order_by(drafts.c.created_at.desc(), drafts.c.id.desc())
        .limit(FOUND_PER_ITEM)
        .subquery()
        for n in range(items)
    ]
    return sa.union_all(*(sa.select(part) for part in parts))


async def _claim(connection: AsyncConnection, key: str, fingerprint: str, now: datetime, abandoned_after: float) -> sa.Row[Any] | None:
    """Return the row that holds the key, or None when it is now ours."""
    await connection.execute(sa.delete(idempotency).where(idempotency.c.expires_at <= now))
    ours = {"fingerprint": fingerprint, "claimed_at": now, "expires_at": now + KEPT}
    insert = dialects.insert_ignoring(connection.dialect, idempotency).values(key=key, **ours)
    if (await connection.execute(insert)).rowcount:
        return None
    found = await connection.execute(sa.select(idempotency).where(idempotency.c.key == key).with_for_update())
    if (earlier := found.one_or_none()) is None:  # released meanwhile, by a process that had it when we tried to insert
        return await _claim(connection, key, fingerprint, now, abandoned_after)
    abandoned = earlier.status is None and now - earlier.claimed_at >= timedelta(seconds=abandoned_after)
    if abandoned and earlier.fingerprint == fingerprint:
        await connection.execute(sa.update(idempotency).where(idempotency.c.key == key).values(ours))
        return None
    return earlier


def _running(key: str) -> tuple[sa.ColumnElement[bool], ...]:
    return idempotency.c.key == key, idempotency.c.status.is_(None)
