"""Blobs in an S3 bucket: a real client against a server on this machine."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from candor.errors import MediaTooLarge, StorageUnavailable, UnknownUpload, UnsafeArtifact
from store import Blobs, Store, open_store

LARGE = 160 * 2**20  # beyond what s3fs sends in one piece


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def place(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of its own, as an operator names it: by URL, with address and keys in the environment."""
    for name, value in {
        "ENDPOINT_URL": server,
        "ACCESS_KEY_ID": "id",
        "SECRET_ACCESS_KEY": "secret",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    fsspec.filesystem("s3").clear_instance_cache()
    bucket = f"candor-{uuid4().hex[:8]}"
    fsspec.filesystem("s3").mkdir(bucket)
    yield f"s3://{bucket}/of/candor"
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite+aiosqlite:///{tmp_path}/candor.db")
    yield opened
    await opened.close()


@pytest.fixture
def blobs(place: str, store: Store) -> Blobs:
    return Blobs(place, store)


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def objects(place: str) -> list[str]:
    files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    return sorted(name.rpartition("/")[2] for name in files.find(place))


async def test_an_upload_comes_back_and_the_same_content_is_one_object(blobs: Blobs, place: str, tmp_path: Path) -> None:
    first, second = await blobs.put(stream(b"ab", b"c"), 9, "a"), await blobs.put(stream(b"abc"), 9, "b")
    assert objects(place) == [first.sha256] == [second.sha256]
    assert await blobs.get(first.id, "a") == await blobs.get(second.id, "b") == b"abc"
    assert await blobs.upload_to(first.id, tmp_path / "of" / "first", "a") == first
    assert (tmp_path / "of" / "first").read_bytes() == b"abc"
    with pytest.raises(UnknownUpload):
        await blobs.get(first.id, "b")
    with pytest.raises(MediaTooLarge):
        await blobs.get(first.id, "a", max_bytes=2)


async def test_a_file_is_kept_fetched_and_removed(blobs: Blobs, place: str, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights")
    sha256 = await blobs.put_file(tmp_path / "model")
    assert await blobs.put_file(tmp_path / "model") == sha256
    assert objects(place) == [sha256]
    assert (await blobs.exists(sha256), await blobs.size(sha256)) == (True, 7)
    await blobs.fetch_to(sha256, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"weights"
    await blobs.remove(sha256)
    await blobs.remove(sha256)
    assert (await blobs.exists(sha256), await blobs.size(sha256)) == (False, None)
    with pytest.raises(StorageUnavailable, match="gone"):
        await blobs.fetch_to(sha256, tmp_path / "none")
    assert not (tmp_path / "none").exists()


async def test_a_large_file_goes_and_comes_in_pieces(blobs: Blobs, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        for number in range(LARGE // 2**20):
            file.write(number.to_bytes(4, "big") * 2**18)
    sha256 = await blobs.put_file(tmp_path / "large")
    await blobs.fetch_to(sha256, tmp_path / "back")
    assert await blobs.size(sha256) == LARGE
    with (tmp_path / "back").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == sha256


async def test_other_content_under_a_name_is_found_out(blobs: Blobs, place: str, tmp_path: Path) -> None:
    blob = await blobs.put(stream(b"abc"), 9)
    fsspec.filesystem("s3").pipe_file(f"{place}/{blob.sha256[:2]}/{blob.sha256}", b"xyz")
    with pytest.raises(UnsafeArtifact, match="other content"):
        await blobs.upload_to(blob.id, tmp_path / "file")
    assert [name for name in os.listdir(tmp_path) if not name.startswith("candor.db")] == []


async def test_a_bucket_that_is_gone_is_storage(blobs: Blobs, place: str) -> None:
    kept = await blobs.put(stream(b"abc"), 9)
    fsspec.filesystem("s3").rm(place, recursive=True)
    with pytest.raises(UnknownUpload, match="gone"):
        await blobs.get(kept.id)
    fsspec.filesystem("s3").rmdir(place.split("/")[2])
    with pytest.raises(StorageUnavailable):
        await blobs.put(stream(b"abcd"), 9)


async def test_a_server_that_does_not_answer_is_storage(place: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(StorageUnavailable) as caught:
        await Blobs(place, store).put(stream(b"abc"), 9)
    assert caught.value.retry_after
    assert "127.0.0.1" not in caught.value.detail
