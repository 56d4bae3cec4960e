"""Uploads in parts: a large file that arrives piece by piece, over broken connections and whichever server takes the next piece.

What has arrived is in the table `partial_uploads`; the parts lie beside the blobs, under `parts/<id>/`, so that every server over the
same store finds them. Each part has a name of its own there, and a row names only what is wholly written. With the last byte the parts
are joined, and the upload is one like any other, under the same id.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

import fsspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from candor.errors import CandorError, Conflict, InvalidRequest, MediaTooLarge, QuotaExceeded, StorageUnavailable, UnknownUpload
from candor.ids import new_id
from store import dialects
from store.blobs import Blobs
from store.moments import utc_now
from store.store import Store
from store.tables import partial_uploads, uploads

KEPT = timedelta(hours=24)  # after its last part, an upload that is not whole is dropped
OPEN = 64  # unfinished uploads of one team
_GRACE = timedelta(hours=1)  # expired ones are swept that much later, when surely no request works on them
_SWEPT = 20  # most expired uploads that one creation removes
_LEAST = 2**20  # bytes of a part that is not the last, so that no upload has too many parts
_JOINING = ".joining-"
_COPIED = 2**20  # bytes at once when parts are joined


@dataclass(frozen=True, slots=True)
class PartialUpload:
    """An upload as it stands. `complete`: it is whole, and may be used like any other."""

    id: str
    bytes: int
    sha256: str
    received: int
    complete: bool
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """One part: where it begins, and the file that holds it."""

    offset: int
    bytes: int
    sha256: str
    name: str

    def as_json(self) -> list[Any]:
        return [self.offset, self.bytes, self.sha256, self.name]


class PartialUploads:
    """The uploads in parts of one store.

    Args:
        store: Whose tables are used.
        blobs: Takes the whole file.
        place: Folder or fsspec URL of the blobs; parts lie under `parts/` in it.
        scratch: Folder on this machine where parts are joined.
        part_bytes: Most bytes of one part.
    """

    def __init__(
        self, store: Store, blobs: Blobs, place: str, scratch: Path, part_bytes: int, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._parts = _Parts(place)
        self._scratch = scratch
        self.part_bytes = part_bytes
        self._clock = clock

    async def unfinished(self, team: str, size: int, sha256: str) -> PartialUpload | None:
        """Return the team's unfinished upload of this content, to go on with it, where there is one."""
        found = await self._store.read(_same(team, size, sha256, self._clock()))
        return _partial(found[0]) if found else None

    async def create(self, team: str, size: int, sha256: str, max_bytes: int) -> PartialUpload:
        """Begin an upload. Where the team has uploaded the same content before, it is whole at once.

        Raises:
            MediaTooLarge: more than `max_bytes`.
            QuotaExceeded: the team has too many unfinished uploads.
        """
        if size > max_bytes:
            raise MediaTooLarge(f"the file has {size:,} bytes; an upload may have {max_bytes:,}")
        await self._sweep()
        upload_id = new_id("upl")
        if await self._has(team, size, sha256):
            await self._store.add_upload(upload_id, sha256, size, team)
            return PartialUpload(upload_id, size, sha256, size, complete=True)
        now = self._clock()
        values = {"id": upload_id, "team": team, "bytes": size, "sha256": sha256, "received": 0, "parts": []}
        row = {**values, "created_at": now, "expires_at": now + KEPT}
        return await self._store.run(lambda connection: _begun(connection, row, now))

    async def get(self, upload_id: str, team: str) -> PartialUpload:
        """Return an upload as it stands, whether it came in parts or whole.

        Raises:
            UnknownUpload: the team has none of that id, or it has expired.
        """
        found = await self._store.read(_own(upload_id, team).where(partial_uploads.c.expires_at > self._clock()))
        if found:
            return _partial(found[0])
        whole = await self._store.read(sa.select(uploads).where(uploads.c.id == upload_id, uploads.c.team == team))
        if not whole:
            raise UnknownUpload(
                f"there is no upload {upload_id!r}; one that is not whole is dropped {KEPT // timedelta(hours=1)} h after its last part"
            )
        return PartialUpload(upload_id, whole[0].bytes, whole[0].sha256, whole[0].bytes, complete=True)

    async def put_part(self, upload_id: str, team: str, offset: int, data: bytes, sha256: str | None = None) -> PartialUpload:
        """Take the next part; a part that is there already changes nothing. With the last byte the parts are joined.

        An empty part at the end joins them too: where a connection, or the server, broke off while they were joined.

        Raises:
            UnknownUpload: the team has none of that id, or it has expired.
            Conflict: the part does not begin where the last one ended.
            InvalidRequest: the part is too small, or reaches beyond the end; its hash, or that of the whole, is another one.
        """
        now = await self.get(upload_id, team)
        digest = hashlib.sha256(data).hexdigest()
        if sha256 is not None and sha256.lower() != digest:
            raise InvalidRequest(f"the part's SHA-256 is {digest} and not {sha256[:64]!r}, as X-Part-SHA256 says: send it again")
        self._check(now, offset, len(data))
        if not now.complete and data:
            now = await self._add(now, team, _Part(offset, len(data), digest, f"{offset}-{token_hex(8)}"), data)
        return now if now.complete or now.received < now.bytes else await self._join(upload_id, team)

    async def drop(self, upload_id: str, team: str) -> None:
        """Drop an upload that is not whole.

        Raises:
            UnknownUpload: the team has none of that id.
            Conflict: it is whole, and models or drafts may refer to it.
        """
        if (await self.get(upload_id, team)).complete:
            raise Conflict(f"upload {upload_id!r} is whole: only an unfinished one can be dropped")
        await self._remove(upload_id)

    async def _has(self, team: str, size: int, sha256: str) -> bool:
        """Say whether this team has uploaded the content; what other teams have is not told, not even by the answer's speed."""
        chosen = sa.select(uploads.c.id).where(uploads.c.team == team, uploads.c.sha256 == sha256, uploads.c.bytes == size).limit(1)
        return bool(await self._store.read(chosen)) and await self._blobs.exists(sha256)

    def _check(self, now: PartialUpload, offset: int, size: int) -> None:
        if size > self.part_bytes:
            raise MediaTooLarge(f"a part may have {self.part_bytes:,} bytes")
        if offset > now.received:
            raise _elsewhere(now.received)
        end = offset + size
        if end > now.bytes:
            raise InvalidRequest(f"the part ends at byte {end:,}, and the upload was announced with {now.bytes:,}: is it the same file?")
        if end < now.bytes and size < min(_LEAST, self.part_bytes):
            raise InvalidRequest(f"a part that is not the last has at least {min(_LEAST, self.part_bytes):,} bytes; this one has {size:,}")

    async def _add(self, now: PartialUpload, team: str, part: _Part, data: bytes) -> PartialUpload:
        """Write a part, then say in the row that it is there; where another request has said so meanwhile, take this one's file away."""
        await asyncio.to_thread(self._parts.write, now.id, part.name, data)
        try:
            received, kept, expires = await self._store.run(lambda connection: self._append(connection, now.id, team, part))
        except Conflict:
            await asyncio.to_thread(self._parts.remove, now.id, part.name)
            if (whole := await self._finished(now.id, team)) is not None:
                return whole  # another request sent the same, and was faster
            raise  # after other errors nobody knows whether the row names the part: then the file stays until all of them go
        if not kept:
            await asyncio.to_thread(self._parts.remove, now.id, part.name)
        return PartialUpload(now.id, now.bytes, now.sha256, received, complete=False, expires_at=expires)

    async def _append(self, connection: AsyncConnection, upload_id: str, team: str, part: _Part) -> tuple[int, bool, datetime]:
        row = (await connection.execute(_own(upload_id, team).with_for_update())).one_or_none()
        if row is None or row.expires_at <= self._clock():
            raise Conflict(f"upload {upload_id!r} was finished or dropped meanwhile: ask GET /v1/uploads/{upload_id} how it stands")
        if part.offset != row.received:
            if [part.offset, part.bytes, part.sha256] in [there[:3] for there in row.parts]:
                return row.received, False, row.expires_at
            raise _elsewhere(row.received)
        received, expires = row.received + part.bytes, self._clock() + KEPT
        values = {"received": received, "parts": [*row.parts, part.as_json()], "expires_at": expires}
        await connection.execute(sa.update(partial_uploads).where(partial_uploads.c.id == upload_id).values(values))
        return received, True, expires

    async def _join(self, upload_id: str, team: str) -> PartialUpload:
        """Make the whole file of the parts. Two requests may do so at once: they make the same."""
        found = await self._store.read(_own(upload_id, team))
        if not found:
            return await self.get(upload_id, team)
        row, parts = found[0], [_Part(*part) for part in found[0].parts]
        try:
            right = await self._joined(upload_id, parts, row.sha256)
        except Exception as error:
            if (now := await self._finished(upload_id, team)) is not None:
                return now  # the other one was faster, and took the parts away
            if isinstance(error, FileNotFoundError):
                await self._remove(upload_id)
                raise UnknownUpload(f"a part of upload {upload_id!r} is gone from the store: upload the file anew") from error
            raise error if isinstance(error, CandorError) else _storage("the parts can't be joined", error) from error
        if not right:
            await self._remove(upload_id)
            raise InvalidRequest(
                f"what arrived does not have the SHA-256 that was announced, {row.sha256}; all of it is dropped: upload the file anew"
            )
        await self._store.run(lambda connection: self._settle(connection, row))
        with suppress(StorageUnavailable):  # the upload is whole; what can't be removed now is swept later
            await self._remove(upload_id)
        return PartialUpload(upload_id, row.bytes, row.sha256, row.bytes, complete=True)

    async def _joined(self, upload_id: str, parts: list[_Part], sha256: str) -> bool:
        """Join the parts and store the whole; False where its hash is another one than was announced."""
        with await asyncio.to_thread(_temporary, self._scratch) as file:
            if await asyncio.to_thread(self._parts.copy, upload_id, [part.name for part in parts], file) != sha256:
                return False
            await self._blobs.put_file(Path(file.name))
            return True

    async def _settle(self, connection: AsyncConnection, row: sa.Row[Any]) -> None:
        """Make the upload a whole one, once. The row stays, expired, until the parts are removed: so they are surely swept."""
        now = self._clock()
        values = {"id": row.id, "sha256": row.sha256, "bytes": row.bytes, "created_at": now, "team": row.team}
        await connection.execute(dialects.insert_ignoring(connection.dialect, uploads).values(values))
        await connection.execute(sa.update(partial_uploads).where(partial_uploads.c.id == row.id).values(expires_at=now))

    async def _remove(self, upload_id: str) -> None:
        """Remove what there is of a partial upload: the parts first, so that what is interrupted is found again."""
        await asyncio.to_thread(self._parts.remove, upload_id)
        await self._store.execute(sa.delete(partial_uploads).where(partial_uploads.c.id == upload_id))

    async def _finished(self, upload_id: str, team: str) -> PartialUpload | None:
        try:
            now = await self.get(upload_id, team)
        except UnknownUpload:
            return None
        return now if now.complete else None

    async def _sweep(self) -> None:
        """Remove some of the expired uploads."""
        old = partial_uploads.c.expires_at <= self._clock() - _GRACE
        for row in await self._store.read(sa.select(partial_uploads.c.id).where(old).order_by(partial_uploads.c.expires_at).limit(_SWEPT)):
            with suppress(StorageUnavailable):  # it is found again; whoever begins an upload now has nothing to do with it
                await self._remove(row.id)


class _Parts:
    """The files of the parts, in a folder of each upload. Its methods block; they raise StorageUnavailable or FileNotFoundError."""

    def __init__(self, place: str) -> None:
        self._place = place

    def write(self, upload_id: str, name: str, data: bytes) -> None:
        files, folder = self._folder(upload_id)
        try:
            try:
                files.pipe_file(f"{folder}/{name}", data)
            except FileNotFoundError:  # a folder, and not an object store
                files.makedirs(folder, exist_ok=True)
                files.pipe_file(f"{folder}/{name}", data)
        except Exception as error:
            raise _storage("the part can't be stored", error) from error

    def copy(self, upload_id: str, names: list[str], file: IO[bytes]) -> str:
        """Copy the parts one after another into a file, and return the SHA-256 of the whole."""
        files, folder = self._folder(upload_id)
        digest = hashlib.sha256()
        for name in names:
            with files.open(f"{folder}/{name}", "rb") as part:
                while chunk := part.read(_COPIED):
                    digest.update(chunk)
                    file.write(chunk)
        file.flush()
        return digest.hexdigest()

    def remove(self, upload_id: str, name: str | None = None) -> None:
        """Remove a part, or all of an upload; what is gone already is fine."""
        files, folder = self._folder(upload_id)
        try:
            files.rm(folder if name is None else f"{folder}/{name}", recursive=name is None)
        except FileNotFoundError:
            pass
        except Exception as error:
            raise _storage("parts can't be removed", error) from error

    def _folder(self, upload_id: str) -> tuple[Any, str]:
        files, path = fsspec.core.url_to_fs(self._place, use_listings_cache=False)
        return files, f"{path.rstrip('/')}/parts/{upload_id}"


async def _begun(connection: AsyncConnection, row: dict[str, Any], now: datetime) -> PartialUpload:
    """Insert a row, unless there is one of the same content to go on with."""
    if (there := (await connection.execute(_same(row["team"], row["bytes"], row["sha256"], now))).one_or_none()) is not None:
        return _partial(there)
    open_ones = partial_uploads.c.team == row["team"], partial_uploads.c.expires_at > now
    if (await connection.execute(sa.select(sa.func.count()).where(*open_ones))).scalar_one() >= OPEN:
        raise QuotaExceeded(f"the team has {OPEN} unfinished uploads: finish them, or drop some with DELETE /v1/uploads/{{id}}")
    await connection.execute(sa.insert(partial_uploads).values(row))
    return PartialUpload(row["id"], row["bytes"], row["sha256"], 0, complete=False, expires_at=row["expires_at"])


def _same(team: str, size: int, sha256: str, now: datetime) -> sa.Select[Any]:
    mine = partial_uploads.c.team == team, partial_uploads.c.sha256 == sha256, partial_uploads.c.bytes == size
    return sa.select(partial_uploads).where(*mine, partial_uploads.c.expires_at > now).order_by(partial_uploads.c.received.desc()).limit(1)


def _partial(row: sa.Row[Any]) -> PartialUpload:
    return PartialUpload(row.id, row.bytes, row.sha256, row.received, complete=False, expires_at=row.expires_at)


def _own(upload_id: str, team: str) -> sa.Select[Any]:
    return sa.select(partial_uploads).where(partial_uploads.c.id == upload_id, partial_uploads.c.team == team)


def _storage(what: str, error: Exception) -> StorageUnavailable:
    """Return an error of a disk or a driver as one of ours; of a driver's only the kind, for its words may name hosts and keys."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return StorageUnavailable(f"{what}: {reason}", retry_after=1.0)


def _elsewhere(received: int) -> Conflict:
    return Conflict(f"{received} bytes have arrived: go on with the part at offset={received}")


def _temporary(folder: Path) -> Any:
    """Return a new file in a folder, from which what a killed process left goes."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_JOINING}*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _GRACE.total_seconds():
                left.unlink()
    return tempfile.NamedTemporaryFile(dir=folder, prefix=_JOINING)
