from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from candor.errors import Conflict, InvalidRequest, MediaTooLarge, QuotaExceeded, StorageUnavailable, UnknownUpload
from store import Blobs, Store
from store.uploads import KEPT, OPEN, PartialUpload, PartialUploads

CONTENT = bytes(range(10))
SHA = hashlib.sha256(CONTENT).hexdigest()


class Clock:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def server(store: Store, folder: Path, tmp_path: Path, clock: Clock) -> Callable[[], PartialUploads]:
    """Makes the uploads of one more server over the same store."""
    return lambda: PartialUploads(store, Blobs(folder, store), str(folder), tmp_path / "scratch", 4, clock)


@pytest.fixture
def uploads(server: Callable[[], PartialUploads]) -> PartialUploads:
    return server()


async def begin(uploads: PartialUploads, team: str = "a") -> str:
    return (await uploads.create(team, len(CONTENT), SHA, 100)).id


async def put(uploads: PartialUploads, upload: str, *offsets: int, team: str = "a") -> PartialUpload:
    for offset in offsets:
        now = await uploads.put_part(upload, team, offset, CONTENT[offset : offset + 4])
    return now


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def parts(folder: Path) -> list[Path]:
    return files(folder / "parts")


async def test_parts_become_an_upload_like_any_other(uploads: PartialUploads, store: Store, folder: Path) -> None:
    upload = await begin(uploads)
    with pytest.raises(UnknownUpload):
        await store.upload_sha256(upload, "a")  # nobody may use half of it
    assert (await put(uploads, upload, 0)).received == 4
    assert await uploads.get(upload, "a") == PartialUpload(upload, 10, SHA, 4, complete=False, expires_at=Clock.now + KEPT)
    assert (await put(uploads, upload, 4, 8)).complete
    assert await Blobs(folder, store).get(upload, "a") == CONTENT
    assert parts(folder) == []
    assert await put(uploads, upload, 8) == PartialUpload(upload, 10, SHA, 10, complete=True)  # the answer to the last part got lost


async def test_any_server_takes_the_next_part(server: Callable[[], PartialUploads]) -> None:
    upload = await begin(server())
    for offset in (0, 4, 8):
        now = await put(server(), upload, offset)
    assert now.complete


async def test_the_same_part_again_changes_nothing(uploads: PartialUploads, folder: Path) -> None:
    upload = await begin(uploads)
    assert (await put(uploads, upload, 0, 4, 0)).received == 8
    both = await asyncio.gather(*(uploads.put_part(upload, "a", 8, CONTENT[8:]) for _ in range(2)))
    assert [one.complete for one in both] == [True, True]
    assert parts(folder) == []


async def test_two_senders_of_one_part_leave_one_file(uploads: PartialUploads, folder: Path) -> None:
    upload = await begin(uploads)
    both = await asyncio.gather(*(put(uploads, upload, 0) for _ in range(2)))
    assert [one.received for one in both] == [4, 4]
    assert len(parts(folder)) == 1
    with pytest.raises(Conflict, match="offset=4"):
        await uploads.put_part(upload, "a", 0, b"else")
    assert len(parts(folder)) == 1


@pytest.mark.parametrize(
    ("offset", "data", "sha256", "raised", "told"),
    [
        (8, CONTENT[8:], None, Conflict, "go on with the part at offset=0"),
        (0, b"12345", None, MediaTooLarge, "4 bytes"),
        (0, b"123", None, InvalidRequest, "at least 4 bytes"),
        (0, b"", None, InvalidRequest, "at least 4 bytes"),
        (0, b"1234", "0" * 64, InvalidRequest, "send it again"),
    ],
)
async def test_parts_that_do_not_fit(
    uploads: PartialUploads, folder: Path, offset: int, data: bytes, sha256: str | None, raised: type[Exception], told: str
) -> None:
    upload = await begin(uploads)
    with pytest.raises(raised, match=told):
        await uploads.put_part(upload, "a", offset, data, sha256)
    assert (await uploads.get(upload, "a")).received == 0
    assert parts(folder) == []


async def test_a_part_beyond_the_end_is_refused(uploads: PartialUploads) -> None:
    upload = await begin(uploads)
    await put(uploads, upload, 0, 4)
    with pytest.raises(InvalidRequest, match="announced with 10"):
        await uploads.put_part(upload, "a", 8, b"123")


async def test_another_hash_drops_everything(uploads: PartialUploads, folder: Path) -> None:
    upload = await begin(uploads)
    await put(uploads, upload, 0, 4)
    with pytest.raises(InvalidRequest, match="upload the file anew"):
        await uploads.put_part(upload, "a", 8, b"no")
    with pytest.raises(UnknownUpload):
        await uploads.get(upload, "a")
    assert files(folder) == []


async def test_a_join_that_broke_off_is_done_by_an_empty_part(
    uploads: PartialUploads, monkeypatch: pytest.MonkeyPatch, server: Callable[[], PartialUploads]
) -> None:
    upload = await begin(uploads)
    await put(uploads, upload, 0, 4)

    async def dies(*_given: object) -> None:
        raise ConnectionError("the server stopped")

    monkeypatch.setattr(uploads, "_join", dies)
    with pytest.raises(ConnectionError):
        await put(uploads, upload, 8)
    assert await uploads.get(upload, "a") == PartialUpload(upload, 10, SHA, 10, complete=False, expires_at=Clock.now + KEPT)
    assert (await server().put_part(upload, "a", 10, b"")).complete


async def test_begun_again_it_goes_on_and_content_that_the_team_has_is_complete(uploads: PartialUploads) -> None:
    upload = await begin(uploads)
    await put(uploads, upload, 0)
    assert await begin(uploads) == upload
    assert (await uploads.unfinished("a", 10, SHA) or pytest.fail("there is one")).received == 4
    await put(uploads, upload, 4, 8)
    again = await uploads.create("a", 10, SHA, 100)
    assert (again.complete, again.received, again.id != upload) == (True, 10, True)


async def test_other_teams_learn_nothing(uploads: PartialUploads) -> None:
    upload = await begin(uploads)
    for team_done in (False, True):
        other = await uploads.create("b", 10, SHA, 100)
        assert (other.received, other.complete) == (0, False)  # no oracle of what others have
        with pytest.raises(UnknownUpload):
            await uploads.get(upload, "b")
        with pytest.raises(UnknownUpload):
            await put(uploads, upload, 0, team="b")
        with pytest.raises(UnknownUpload):
            await uploads.drop(upload, "b")
        if not team_done:
            await put(uploads, upload, 0, 4, 8)


async def test_what_is_abandoned_expires_and_is_swept(uploads: PartialUploads, clock: Clock, folder: Path, store: Store) -> None:
    upload = await begin(uploads)
    await put(uploads, upload, 0)
    clock.now += KEPT - timedelta(seconds=1)
    assert (await put(uploads, upload, 4)).expires_at == clock.now + KEPT  # each part gives it a day more
    clock.now += KEPT
    with pytest.raises(UnknownUpload, match="24 h"):
        await put(uploads, upload, 8)
    assert await begin(uploads) != upload
    assert len(parts(folder)) == 2  # a request may still work on it
    clock.now += timedelta(hours=1)
    await uploads.create("b", 5, "0" * 64, 100)
    assert parts(folder) == []


async def test_dropped_ones_leave_nothing_and_whole_ones_stay(uploads: PartialUploads, folder: Path) -> None:
    upload = await begin(uploads)
    await put(uploads, upload, 0)
    await uploads.drop(upload, "a")
    assert parts(folder) == []
    with pytest.raises(UnknownUpload):
        await uploads.drop(upload, "a")
    upload = await begin(uploads)
    await put(uploads, upload, 0, 4, 8)
    with pytest.raises(Conflict, match="is whole"):
        await uploads.drop(upload, "a")


async def test_bounds(uploads: PartialUploads) -> None:
    with pytest.raises(MediaTooLarge, match="100"):
        await uploads.create("a", 101, SHA, 100)
    for number in range(OPEN):
        await uploads.create("a", 10, f"{number:064x}", 100)
    with pytest.raises(QuotaExceeded, match="DELETE"):
        await uploads.create("a", 10, SHA, 100)
    await uploads.create("b", 10, SHA, 100)


async def test_a_lost_part_ends_the_upload(uploads: PartialUploads, folder: Path) -> None:
    upload = await begin(uploads)
    await put(uploads, upload, 0, 4)
    parts(folder)[0].unlink()
    with pytest.raises(UnknownUpload, match="upload the file anew"):
        await put(uploads, upload, 8)
    assert parts(folder) == []
    assert await begin(uploads) != upload


async def test_a_full_disk_is_storage_and_the_part_may_come_again(
    uploads: PartialUploads, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begin(uploads)

    def full(*_given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fsspec.implementations.local.LocalFileSystem.pipe_file", full)
        with pytest.raises(StorageUnavailable, match="No space left"):
            await put(uploads, upload, 0)
    assert parts(folder) == []
    assert (await put(uploads, upload, 0, 4, 8)).complete


async def test_what_a_killed_server_was_joining_goes(uploads: PartialUploads, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    old, new = (tmp_path / "scratch" / f".joining-{name}" for name in ("old", "new"))
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    await put(uploads, await begin(uploads), 0, 4, 8)
    assert files(tmp_path / "scratch") == [new]
