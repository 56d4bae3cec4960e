from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from candor.errors import MediaTooLarge, StorageUnavailable, UnknownUpload
from store import Blobs, Store


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "var" / "blobs"


@pytest.fixture
def uploads(folder: Path, store: Store) -> Blobs:
    return Blobs(folder, store)


async def test_an_upload_comes_back(uploads: Blobs) -> None:
    blob = await uploads.put(stream(b"ab", b"", b"c"), 3)
    assert blob.id.startswith("upl_")
    assert (blob.sha256, blob.bytes) == (hashlib.sha256(b"abc").hexdigest(), 3)
    assert await uploads.get(blob.id) == b"abc"


async def test_the_same_content_is_stored_once(uploads: Blobs, folder: Path) -> None:
    first, second = await uploads.put(stream(b"abc"), 9), await uploads.put(stream(b"a", b"bc"), 9)
    assert first.id != second.id
    assert first.sha256 == second.sha256
    assert [path.name for path in files(folder)] == [first.sha256]
    assert await uploads.get(first.id) == await uploads.get(second.id) == b"abc"


async def test_too_large_leaves_nothing(uploads: Blobs, folder: Path) -> None:
    with pytest.raises(MediaTooLarge, match="3 bytes"):
        await uploads.put(stream(b"ab", b"cd"), 3)
    assert files(folder) == []


async def test_a_client_that_hangs_up_leaves_nothing(uploads: Blobs, folder: Path) -> None:
    reached = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b"half"
        reached.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(uploads.put(stalls(), 100))
    await reached.wait()
    assert len(files(folder)) == 1
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert files(folder) == []


async def test_a_full_disk_is_storage_and_leaves_nothing(uploads: Blobs, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("store.blobs.os.fsync", full)
    with pytest.raises(StorageUnavailable, match="No space left"):
        await uploads.put(stream(b"abc"), 9)
    assert files(folder) == []


async def test_unknown_uploads_and_lost_files(uploads: Blobs, folder: Path) -> None:
    with pytest.raises(UnknownUpload):
        await uploads.get("upl_nothing")
    blob = await uploads.put(stream(b"abc"), 9)
    files(folder)[0].unlink()
    with pytest.raises(UnknownUpload, match="gone"):
        await uploads.get(blob.id)
