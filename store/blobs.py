"""Uploads: files named by the SHA-256 of their content, in one folder."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from candor.errors import MediaTooLarge, StorageUnavailable, UnknownUpload
from candor.ids import new_id
from store.store import Store


@dataclass(frozen=True, slots=True)
class Blob:
    """One upload. Two uploads of the same content have two ids and one file."""

    id: str
    sha256: str
    bytes: int


class Blobs:
    """A folder of uploads. Which upload is which file is in the database, table `uploads`, through the store."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store

    async def put(self, data: AsyncIterator[bytes], max_bytes: int, team: str = "default") -> Blob:
        """Store one upload as it streams in. It is on the disk, and its row committed, when this returns; else no half
        file is left.

        Raises:
            MediaTooLarge: more than `max_bytes`.
            StorageUnavailable: the disk is full or the folder can't be written.
        """
        try:
            sha256, size = await self._write(data, max_bytes)
        except OSError as error:
            raise StorageUnavailable(f"the upload can't be stored: {error.strerror}") from error
        blob = Blob(new_id("upl"), sha256, size)
        await self._store.add_upload(blob.id, sha256, size, team)
        return blob

    async def get(self, upload_id: str, team: str | None = None) -> bytes:
        """Return the content of an upload; with `team` only if it is that team's.

        Raises:
            UnknownUpload: there is none of that id, or its file is gone.
            StorageUnavailable: the file can't be read.
        """
        path = self._path(await self._store.upload_sha256(upload_id, team))
        try:
            return await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError as error:
            raise UnknownUpload(f"the file of upload {upload_id!r} is gone; upload it again") from error
        except OSError as error:
            raise StorageUnavailable(f"upload {upload_id!r} can't be read: {error.strerror}") from error

    async def _write(self, data: AsyncIterator[bytes], max_bytes: int) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        file = await asyncio.to_thread(_temporary, self._folder)
        try:
            async for chunk in data:
                size += len(chunk)
                if size > max_bytes:
                    raise MediaTooLarge(f"the upload is larger than {max_bytes} bytes")
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(_settle, file, self._path(digest.hexdigest()))
        finally:  # also when the caller hangs up
            with suppress(FileNotFoundError):
                os.unlink(file.name)
            file.close()  # last: on a full disk it fails
        return digest.hexdigest(), size

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


def _temporary(folder: Path) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=folder, prefix=".upload-", delete=False)


def _settle(file: IO[bytes], path: Path) -> None:
    """Make a written file durable under its final name, whole or not at all."""
    file.flush()
    os.fsync(file.fileno())
    path.parent.mkdir(exist_ok=True)
    os.replace(file.name, path)
    for folder in (path.parent, path.parent.parent):
        entries = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entries)
        finally:
            os.close(entries)
