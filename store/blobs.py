"""Blobs: files named by the SHA-256 of their content, in a folder or in an object store; and the uploads, which have ids of their own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import sqlalchemy as sa

from candor.errors import CandorError, MediaTooLarge, StorageUnavailable, UnknownUpload
from candor.ids import new_id
from store.places import MissingBlob, discard, fetch, place_of
from store.store import Store
from store.tables import uploads

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 8  # of their own, so that a slow object store holds up nothing else
_RETRY_AFTER = 5.0
_NOT_STORED = "the upload can't be stored"


@dataclass(frozen=True, slots=True)
class Blob:
    """One upload. Two uploads of the same content have two ids and one file."""

    id: str
    sha256: str
    bytes: int


class Blobs:
    """The files of one store. Which upload is which file is in the database, table `uploads`.

    Args:
        place: Folder, or URL that fsspec knows, such as `s3://bucket/prefix`.
        store: Where the uploads' rows are.

    Raises:
        InvalidRequest: nothing that is installed knows such a URL.
    """

    def __init__(self, place: str | Path, store: Store) -> None:
        self._place = place_of(place)
        self._store = store
        self._threads = ThreadPoolExecutor(_THREADS, "candor-blobs")

    async def put(self, data: AsyncIterator[bytes], max_bytes: int, team: str = "default") -> Blob:
        """Store one upload as it streams in. It is safe, and its row committed, when this returns; else no half file is left.

        Raises:
            MediaTooLarge: more than `max_bytes`.
            StorageUnavailable: the disk is full, or the folder or object store can't be written.
        """
        sha256, size = await self._write(data, max_bytes)
        blob = Blob(new_id("upl"), sha256, size)
        await self._store.add_upload(blob.id, sha256, size, team)
        return blob

    async def get(self, upload_id: str, team: str | None = None, max_bytes: int | None = None) -> bytes:
        """Return the content of an upload; with `team` only if it is that team's. A large one is for `upload_to`.

        Raises:
            UnknownUpload: there is none of that id, or its file is gone.
            MediaTooLarge: it has more than `max_bytes`.
            StorageUnavailable: the file can't be read.
        """
        blob = await self._upload(upload_id, team)
        if max_bytes is not None and blob.bytes > max_bytes:
            raise MediaTooLarge(f"upload {upload_id!r} has {blob.bytes:,} bytes; an item may have {max_bytes:,}")
        try:
            return await self._do(f"upload {upload_id!r} can't be read", self._read, blob.sha256)
        except MissingBlob as error:
            raise _gone(upload_id) from error

    async def upload_to(self, upload_id: str, path: Path, team: str | None = None) -> Blob:
        """Copy an upload into a file on this machine, however large, and check its hash.

        Raises:
            UnknownUpload, UnsafeArtifact, StorageUnavailable: as for `get` and `fetch_to`.
        """
        blob = await self._upload(upload_id, team)
        try:
            await self._do(f"upload {upload_id!r} can't be fetched", fetch, self._place, blob.sha256, path)
        except MissingBlob as error:
            raise _gone(upload_id) from error
        return blob

    async def put_file(self, path: Path) -> str:
        """Store a file that is on this machine, and return its SHA-256. It has no upload; the same content again changes nothing.

        Raises:
            StorageUnavailable: it can't be read or stored.
        """
        return await self._do(f"{path.name} can't be stored", self._keep, path)

    async def fetch_to(self, sha256: str, path: Path) -> None:
        """Copy a blob into a file on this machine, whole or not at all.

        Raises:
            UnsafeArtifact: what is stored has another hash.
            StorageUnavailable: it is not there, or can't be read or written.
        """
        try:
            await self._do(f"blob {sha256} can't be fetched", fetch, self._place, sha256, path)
        except MissingBlob as error:
            raise StorageUnavailable(f"blob {sha256} is gone: restore it from a backup, or check storage.blobs") from error

    async def exists(self, sha256: str) -> bool:
        """Say whether there is such a blob."""
        return await self.size(sha256) is not None

    async def size(self, sha256: str) -> int | None:
        """Return the bytes of a blob, or None where there is none."""
        return await self._do(f"blob {sha256} can't be looked for", self._place.size, sha256)

    async def remove(self, sha256: str) -> None:
        """Remove a blob, if it is there. That nothing refers to it any more is the caller's to know."""
        await self._do(f"blob {sha256} can't be removed", self._place.remove, sha256)

    async def _upload(self, upload_id: str, team: str | None) -> Blob:
        own = () if team is None else (uploads.c.team == team,)
        found = await self._store.read(sa.select(uploads.c.sha256, uploads.c.bytes).where(uploads.c.id == upload_id, *own))
        if not found:
            raise UnknownUpload(f"there is no upload {upload_id!r}")
        return Blob(upload_id, found[0].sha256, found[0].bytes)

    async def _write(self, data: AsyncIterator[bytes], max_bytes: int) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        file = await self._do(_NOT_STORED, self._place.temporary)
        try:
            async for chunk in data:
                size += len(chunk)
                if size > max_bytes:
                    raise MediaTooLarge(f"the upload is larger than {max_bytes} bytes")
                digest.update(chunk)
                await self._do(_NOT_STORED, file.write, chunk)
            await self._do(_NOT_STORED, self._place.settle, file, digest.hexdigest())
        finally:  # also when the caller hangs up
            discard(file)
        return digest.hexdigest(), size

    def _keep(self, path: Path) -> str:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if self._place.size(sha256) != path.stat().st_size:
            self._place.take(path, sha256)
        return sha256

    def _read(self, sha256: str) -> bytes:
        try:
            return self._place.read(sha256)
        except FileNotFoundError as error:
            raise MissingBlob from error

    async def _do(self, what: str, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Work in a thread, and turn what a disk or a network says into errors of ours, which begin with `what`."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments, **named))
        except (CandorError, MissingBlob):
            raise
        except OSError as error:
            raise StorageUnavailable(f"{what}: {error.strerror or type(error).__name__}", retry_after=_RETRY_AFTER) from error
        except Exception as error:  # each driver has a tree of its own; its words may name hosts and keys
            raise StorageUnavailable(f"{what}: {type(error).__name__}", retry_after=_RETRY_AFTER) from error


def _gone(upload_id: str) -> UnknownUpload:
    return UnknownUpload(f"the file of upload {upload_id!r} is gone; upload it again")
