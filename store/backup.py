"""Backups: a folder with the database in one file, the blobs that its rows name, and a manifest of all of it. Restored, or refused.

The database is copied before the blobs, so that every blob of a row is there: blobs are stored before their rows, and never changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.script import ScriptDirectory

from candor.errors import CandorError, InvalidRequest, StorageUnavailable
from store import dumps
from store.places import MissingBlob, Place, fetch, place_of
from store.schema import alembic_config, in_transaction, migrate
from store.tables import partial_uploads

SCHEMA = 1
MANIFEST = "manifest.json"
_BLOBS = "blobs"

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds. `missing`: blobs that a row names and that were not there."""

    made_at: str
    database: str  # sqlite or postgresql
    revision: str
    sha256: str  # of the database's file
    bytes: int
    blobs: dict[str, int] | None = field(default_factory=dict)  # SHA-256 to bytes; None: they were left out
    missing: list[str] = field(default_factory=list)
    schema: int = SCHEMA


def backup(url: str, blobs: str, target: Path, *, with_blobs: bool = True, tell: Told = lambda _: None) -> Backup:
    """Back up a database and its blobs into an empty folder, while the server runs. Blocks.

    Raises:
        InvalidRequest: the folder is not empty; the database has no tables, or its programs are not installed.
        StorageUnavailable: something can't be read or written. The folder then has no manifest and can't be restored.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidRequest(f"{target} is not an empty folder: name a new one for each backup")
    place = place_of(blobs)
    try:
        target.mkdir(parents=True, exist_ok=True)
        made_at, file = datetime.now(UTC).isoformat(timespec="seconds"), target / dumps.FILES[dumps.kind_of(url)]
        held = dumps.dump(url, file)
        tell(f"the database, {file.stat().st_size:,} bytes, at revision {held.revision}")
        copied, missing = _copied(place, sorted(held.blobs) if with_blobs else [], target / _BLOBS)
        tell(f"{len(copied):,} blobs, {sum(copied.values()):,} bytes" if with_blobs else "without the blobs")
        made = Backup(
            made_at, dumps.kind_of(url), held.revision, _sha256(file), file.stat().st_size, copied if with_blobs else None, missing
        )
        _write_manifest(target, made)
    except OSError as error:
        raise StorageUnavailable(f"the backup can't be written: {error.strerror or error}") from error
    return made


def restore(source: Path, url: str, blobs: str, *, tell: Told = lambda _: None) -> Backup:
    """Make a database and its blobs of a backup, in places where there are none. Blocks.

    All of the backup is checked first. Uploads that had not arrived whole are dropped, for their parts are in no backup.

    Raises:
        InvalidRequest: the folder is no whole backup; it is of another kind of database, or of a newer Candor; there is a database.
        StorageUnavailable: something can't be read or written.
    """
    made = read_manifest(source)
    if made.database != dumps.kind_of(url):
        raise InvalidRequest(f"the backup is of a {made.database} database, and storage.database_url names a {dumps.kind_of(url)} one")
    if made.revision not in {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}:
        raise InvalidRequest(f"the backup is of a newer Candor (tables at revision {made.revision}): restore it with that one")
    dumps.check_empty(url)
    place = place_of(blobs)
    try:
        check(source, made)
        tell("the backup is whole")
        for sha256, size in (made.blobs or {}).items():
            if place.size(sha256) != size:
                place.take(_path(source / _BLOBS, sha256), sha256)
        tell(f"{len(made.blobs or ()):,} blobs")
        dumps.load(url, source / dumps.FILES[made.database])
    except OSError as error:
        raise StorageUnavailable(f"the backup can't be restored: {error.strerror or error}") from error
    migrate(url)
    in_transaction(url, lambda connection: connection.execute(sa.delete(partial_uploads)).rowcount)
    tell(f"the database as of {made.made_at}")
    return made


def read_manifest(source: Path) -> Backup:
    """Return the manifest of a backup.

    Raises:
        InvalidRequest: there is none that can be read: the folder is no backup, or it was not finished.
    """
    try:
        value = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
        if value.get("schema") != SCHEMA:
            raise InvalidRequest(f"{source} is a backup of schema {value.get('schema')}, which this Candor does not know")
        return Backup(**value)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"{source} is not a backup that was finished: it has no {MANIFEST} that can be read") from error


def check(source: Path, made: Backup) -> None:
    """Read all of a backup and compare it with its manifest.

    Raises:
        InvalidRequest: something is missing, truncated or changed.
    """
    wanted = {source / dumps.FILES[made.database]: (made.sha256, made.bytes)}
    wanted |= {_path(source / _BLOBS, sha256): (sha256, size) for sha256, size in (made.blobs or {}).items()}
    for path, (sha256, size) in wanted.items():
        if not path.is_file():
            raise InvalidRequest(f"the backup is not whole: {path} is missing")
        if path.stat().st_size != size:
            raise InvalidRequest(f"the backup is not whole: {path} has {path.stat().st_size:,} bytes and not {size:,}")
        if _sha256(path) != sha256:
            raise InvalidRequest(f"the backup is damaged: {path} has another content than when it was made")


def _copied(place: Place, wanted: Iterable[str], folder: Path) -> tuple[dict[str, int], list[str]]:
    copied, missing = {}, []
    for sha256 in wanted:
        try:
            copied[sha256] = fetch(place, sha256, _path(folder, sha256))
        except MissingBlob:
            missing.append(sha256)
        except (CandorError, OSError):
            raise
        except Exception as error:  # each driver of fsspec has a tree of its own
            raise StorageUnavailable(f"blob {sha256} can't be fetched: {type(error).__name__}") from error
    return copied, missing


def _write_manifest(target: Path, made: Backup) -> None:
    """Write the manifest, last and durably: a folder with one is a whole backup."""
    os.sync()
    part = target / f".{MANIFEST}"
    values: dict[str, Any] = asdict(made)
    part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    os.replace(part, target / MANIFEST)
    os.sync()


def _path(folder: Path, sha256: str) -> Path:
    return folder / sha256[:2] / sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
