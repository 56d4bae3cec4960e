from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from candor.errors import InvalidRequest, MediaTooLarge, StorageUnavailable, UnknownUpload, UnsafeArtifact
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

    monkeypatch.setattr("store.places.os.fsync", full)
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


async def test_a_client_that_goes_wrong_is_not_the_storage(uploads: Blobs, folder: Path) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError("the client")

    with pytest.raises(ConnectionResetError):
        await uploads.put(breaks(), 100)
    assert files(folder) == []


@pytest.mark.parametrize("remote", [False, True])
async def test_files_are_kept_and_fetched_by_hash(remote: bool, folder: Path, store: Store, tmp_path: Path) -> None:
    blobs = Blobs(f"memory://{folder}" if remote else folder, store)
    (tmp_path / "model").write_bytes(b"weights")
    sha256 = await blobs.put_file(tmp_path / "model")
    assert await blobs.put_file(tmp_path / "model") == sha256 == hashlib.sha256(b"weights").hexdigest()
    assert await blobs.size(sha256) == 7
    await blobs.fetch_to(sha256, tmp_path / "new" / "fetched")
    assert [path.read_bytes() for path in files(tmp_path / "new")] == [b"weights"]
    await blobs.remove(sha256)
    await blobs.remove(sha256)
    assert not await blobs.exists(sha256)
    for work in (blobs.fetch_to(sha256, tmp_path / "none"), blobs.put_file(tmp_path / "none")):
        with pytest.raises(StorageUnavailable):
            await work
    assert not (tmp_path / "none").exists()


async def test_an_upload_is_fetched_whole_or_not_at_all(uploads: Blobs, folder: Path, tmp_path: Path) -> None:
    blob = await uploads.put(stream(b"abc"), 9, "a")
    assert await uploads.upload_to(blob.id, tmp_path / "there", "a") == blob
    assert (tmp_path / "there").read_bytes() == b"abc"
    with pytest.raises(UnknownUpload):
        await uploads.upload_to(blob.id, tmp_path / "other", "b")
    with pytest.raises(MediaTooLarge, match="3 bytes"):
        await uploads.get(blob.id, max_bytes=2)
    files(folder)[0].write_bytes(b"xyz")
    with pytest.raises(UnsafeArtifact, match="other content"):
        await uploads.upload_to(blob.id, tmp_path / "other")
    files(folder)[0].unlink()
    with pytest.raises(UnknownUpload, match="gone"):
        await uploads.upload_to(blob.id, tmp_path / "other")
    assert set(os.listdir(tmp_path)) - {"folder"} == {"there", "var"}


async def test_a_url_that_nothing_here_knows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="can't be used"):
        Blobs("nowhere://bucket", store)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InvalidRequest, match=r"pip install 'candor\[s3\]'"):
        Blobs("s3://bucket/prefix", store)
