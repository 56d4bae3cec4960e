"""Backups on both databases: made while writes go on, restored where nothing is, and refused where they are not whole."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer import Typer
from typer.testing import CliRunner

from candor.drafts import Draft
from candor.errors import InvalidRequest, StorageUnavailable, UnknownDraft
from serving import backups
from store import Blobs, dialects, dumps, migrate, open_store
from store.backup import MANIFEST, backup, restore
from store.tables import metadata, partial_uploads
from tests.unit.store.drafts import draft


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The database to back up, with its tables, and one that is empty."""
    if request.param == "postgresql":
        return [str(request.getfixturevalue(name)) for name in ("postgres_url", "postgres_empty_url")]
    url = f"sqlite+aiosqlite:///{tmp_path}/old/candor.db"
    migrate(url)
    return [url, f"sqlite+aiosqlite:///{tmp_path}/new/candor.db"]


async def stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def filled(url: str, blobs: Path) -> tuple[Draft, str]:
    """Store a draft, an upload and a version whose file is a blob; return the draft and the upload's id."""
    store = await open_store(url, migrate=False)
    stored, files = draft(payload={"text": "naïve \u2028"}), Blobs(blobs, store)
    await store.save([stored])
    upload = await files.put(stream(b"abc"), 9)
    (blobs / "model").write_bytes(b"weights")
    manifest = {"files": {"model.onnx": await files.put_file(blobs / "model")}}
    row = {name: "x" for name in ("id", "team", "model", "task", "state", "created_by")}
    table = metadata.tables["versions"]
    await store.execute(table.insert().values({**row, "request": {}, "manifest": manifest, "bytes": 7, "created_at": stored.created_at}))
    part = {"id": "upl_part", "team": "a", "bytes": 9, "sha256": "0", "received": 0, "parts": []}
    await store.execute(partial_uploads.insert().values({**part, "created_at": stored.created_at, "expires_at": stored.created_at}))
    await store.close()
    return stored, upload.id


@pytest.fixture
def made(urls: list[str], tmp_path: Path) -> Path:
    asyncio.run(filled(urls[0], tmp_path / "blobs"))
    backup(urls[0], str(tmp_path / "blobs"), tmp_path / "backup")
    return tmp_path / "backup"


def rows(url: str) -> dict[str, list[Any]]:
    async def work() -> dict[str, list[Any]]:
        engine = dialects.make_engine(url)
        async with engine.connect() as connection:
            found = {name: [tuple(row) for row in await connection.execute(sa.select(table))] for name, table in metadata.tables.items()}
        await engine.dispose()
        return found

    return asyncio.run(work())


def test_a_backup_comes_back(urls: list[str], tmp_path: Path) -> None:
    old, new = urls
    _, upload = asyncio.run(filled(old, tmp_path / "blobs"))
    told: list[str] = []
    copied = backup(old, str(tmp_path / "blobs"), tmp_path / "backup", tell=told.append)
    assert copied.missing == []
    assert sorted((copied.blobs or {}).values()) == [3, 7]
    before = {name: found for name, found in rows(old).items() if name != "partial_uploads"}
    restore(tmp_path / "backup", new, str(tmp_path / "elsewhere"), tell=told.append)
    after = rows(new)
    assert after.pop("partial_uploads") == []  # its parts are in no backup
    assert after == before

    async def reads() -> None:
        store = await open_store(new)
        files = Blobs(tmp_path / "elsewhere", store)
        assert await files.get(upload) == b"abc"
        assert all([await files.exists(sha256) for sha256 in copied.blobs or {}])
        await store.save([draft()])
        with pytest.raises(Exception, match="append-only"):
            async with dialects.for_writing(store._engine).begin() as connection:
                await connection.execute(sa.text("DELETE FROM drafts"))
        await store.close()

    asyncio.run(reads())
    assert len(told) == 5


async def test_a_backup_while_writes_go_on(urls: list[str], tmp_path: Path) -> None:
    """What was committed before it began is in it, with its files; and whatever upload is in it has its file."""
    old, new = urls
    store = await open_store(old)
    files = Blobs(tmp_path / "blobs", store)
    drafts: list[str] = []
    uploads: list[str] = []
    stopped = asyncio.Event()

    async def writes() -> None:
        while not stopped.is_set():
            stored = [draft() for _ in range(5)]
            await store.save(stored)
            drafts.extend(one.id for one in stored)
            uploads.append((await files.put(stream(os.urandom(64)), 99)).id)

    writing = [asyncio.create_task(writes()) for _ in range(3)]
    while len(uploads) < 30:
        await asyncio.sleep(0.01)
    sure, sure_files = list(drafts), list(uploads)
    copied = await asyncio.to_thread(backup, old, str(tmp_path / "blobs"), tmp_path / "backup")
    while len(uploads) < len(sure_files) + 10:
        await asyncio.sleep(0.01)
    stopped.set()
    await asyncio.gather(*writing)
    await store.close()
    await asyncio.to_thread(restore, tmp_path / "backup", new, str(tmp_path / "elsewhere"))
    again = await open_store(new)
    there = Blobs(tmp_path / "elsewhere", again)
    assert copied.missing == []
    assert [(await again.get(one)).id for one in sure] == sure
    for row in await again.read(sa.text("SELECT id FROM uploads")):
        assert len(await there.get(row.id)) == 64
    assert {row.id for row in await again.read(sa.text("SELECT id FROM uploads"))} >= set(sure_files)
    with pytest.raises(UnknownDraft):  # written after it
        await again.get(drafts[-1])
    await again.close()


def truncate(path: Path) -> None:
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - 1)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("urls", ["sqlite"], indirect=True)  # the checks know nothing of databases
@pytest.mark.parametrize(
    ("harm", "pattern", "match"),
    [
        (truncate, "database.*", "not whole"),
        (damage, "database.*", "damaged"),
        (Path.unlink, "database.*", "missing"),
        (truncate, "blobs/*/*", "not whole"),
        (damage, "blobs/*/*", "damaged"),
        (Path.unlink, "blobs/*/*", "missing"),
        (Path.unlink, MANIFEST, "not a backup that was finished"),
        (truncate, MANIFEST, None),  # its last newline
        (lambda path: path.write_text(path.read_text()[:40]), MANIFEST, "not a backup that was finished"),
        (lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2})), MANIFEST, "schema 2"),
        (lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "revision": "9999"})), MANIFEST, "newer Candor"),
    ],
)
def test_what_is_not_whole_is_refused_and_leaves_nothing(
    made: Path, urls: list[str], tmp_path: Path, harm: Callable[[Path], Any], pattern: str, match: str | None
) -> None:
    harm(next(iter(sorted(made.glob(pattern)))))
    if match is None:
        restore(made, urls[1], str(tmp_path / "elsewhere"))
        return
    with pytest.raises(InvalidRequest, match=match):
        restore(made, urls[1], str(tmp_path / "elsewhere"))
    dumps.check_empty(urls[1])
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_is_overwritten(made: Path, urls: list[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="not an empty folder"):
        backup(urls[0], str(tmp_path / "blobs"), made)
    with pytest.raises(InvalidRequest, match=r"there already|not empty"):
        restore(made, urls[0], str(tmp_path / "blobs"))


def test_what_is_not_there_cannot_be_backed_up(urls: list[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no database|no tables"):
        backup(urls[1], str(tmp_path / "blobs"), tmp_path / "backup")
    with pytest.raises(InvalidRequest, match="not a backup that was finished"):
        restore(tmp_path / "backup", urls[1], str(tmp_path / "blobs"))


def test_a_blob_that_is_gone_is_told_of(urls: list[str], tmp_path: Path) -> None:
    asyncio.run(filled(urls[0], tmp_path / "blobs"))
    for path in (tmp_path / "blobs").glob("*/*"):
        path.unlink()
    copied = backup(urls[0], str(tmp_path / "blobs"), tmp_path / "backup")
    assert (copied.blobs, len(copied.missing)) == ({}, 2)
    restore(tmp_path / "backup", urls[1], str(tmp_path / "elsewhere"))


def test_a_backup_is_of_one_kind_of_database(made: Path, urls: list[str], tmp_path: Path) -> None:
    other = f"sqlite+aiosqlite:///{tmp_path}/x.db" if "postgresql" in urls[0] else "postgresql+asyncpg://127.0.0.1:9/none"
    with pytest.raises(InvalidRequest, match=r"is of a (sqlite|postgresql) database"):
        restore(made, other, str(tmp_path / "elsewhere"))


def test_a_server_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="can't be backed up"):
        backup("postgresql+asyncpg://127.0.0.1:9/none", str(tmp_path / "blobs"), tmp_path / "backup")


def test_the_commands(urls: list[str], tmp_path: Path) -> None:
    asyncio.run(filled(urls[0], tmp_path / "blobs"))
    app = Typer()
    app.command()(backups.backup)
    app.command()(backups.restore)

    def command(*words: str, url: str, blobs: str) -> Any:
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps({**CONFIG, "storage": {"database_url": url, "blobs": str(tmp_path / blobs)}}))
        return CliRunner().invoke(app, [*words, "--config", str(config)])

    first = command("backup", "--to", str(tmp_path / "backup"), url=urls[0], blobs="blobs")
    assert (first.exit_code, first.stderr) == (0, "")
    assert "2 blobs, 10 bytes" in first.stdout
    again = command("backup", "--to", str(tmp_path / "backup"), url=urls[0], blobs="blobs")
    assert (again.exit_code, again.stderr.startswith("error: ")) == (2, True)
    bare = command("backup", "--no-blobs", "--to", str(tmp_path / "bare"), url=urls[0], blobs="blobs")
    assert bare.exit_code == 0
    assert not (tmp_path / "bare" / "blobs").exists()
    back = command("restore", "--from", str(tmp_path / "backup"), url=urls[1], blobs="elsewhere")
    assert (back.exit_code, back.stderr) == (0, "")
    assert len(rows(urls[1])["drafts"]) == 1


CONFIG = {
    "models": {"m": {"task": "classification", "family": "fake", "source": "builtin:m"}},
    "tasks": {"classification": {"model": "m"}},
}
