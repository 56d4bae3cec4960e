"""Brings the files of a registered version from the blobs to this machine's disk, whole or not at all, before it is loaded.

They lie under `.registered/<team>/<model>/<first 16 hex of the version>` beside the configuration's models. Several processes of a
machine share them: one brings them, the others wait for it.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from candor.errors import UnsafeArtifact
from candor.manifest import Manifest
from models import artifacts

_FOLDER = ".registered"  # no model's name begins with a point
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_YOUNG = 3600.0  # seconds
_POLL = 0.1  # seconds between looks at another process's lock
_log = structlog.get_logger(__name__)

Fetch = Callable[[str, Path], Awaitable[None]]


class Installer:
    """The registered versions on one disk. `fetch` writes the blob of a SHA-256 to a path."""

    def __init__(self, home: Path, fetch: Fetch) -> None:
        self._home = home / _FOLDER
        self._fetch = fetch

    def folder(self, manifest: Manifest) -> Path:
        """Return where a version's files lie once they are here.

        Raises:
            UnsafeArtifact: its name or its team's would lead elsewhere.
        """
        for name in (manifest.owner, manifest.name):
            if not _SAFE.fullmatch(name):
                raise UnsafeArtifact(f"{name!r} is no name of a folder: {manifest.version} can't be brought here")
        return self._home / manifest.owner / manifest.name / _short(manifest)

    async def bring(self, manifest: Manifest, size: int) -> Path:
        """Return the folder with the version's files, every one of them checked by its hash; fetch them where they are not here.

        Raises:
            UnsafeArtifact: a file that was fetched is not what the manifest says.
            StorageUnavailable: the disk is full, or a blob is gone or can't be read.
        """
        place = self.folder(manifest)
        if await asyncio.to_thread(_whole, place, manifest):
            return place
        async with _locked(place.parent):
            if not await asyncio.to_thread(_whole, place, manifest):  # else another process was faster
                await self._build(place, manifest, size)
        return place

    def sweep(self, known: Iterable[Manifest]) -> int:
        """Remove versions that are not known any more, and return how many: those that were deleted. Blocks; call it in a thread.

        What was brought within the hour stays: another process may know it already.
        """
        keep = {(manifest.owner, manifest.name, _short(manifest)) for manifest in known}
        removed = 0
        for place in self._home.glob("*/*/*"):
            young = time.time() - place.stat().st_mtime < _YOUNG
            if young or not place.is_dir() or place.parts[-3:] in keep:
                continue
            lock = FileLock(place.parent / ".lock")
            with suppress(Timeout), lock.acquire(timeout=0):
                aside = place.with_name(f".building-{place.name}")  # `clear_abandoned` removes it where this process dies now
                place.rename(aside)
                shutil.rmtree(aside)
                removed += 1
        return removed

    async def _build(self, place: Path, manifest: Manifest, size: int) -> None:
        await asyncio.to_thread(artifacts.clear_abandoned, place.parent)
        with artifacts.building(place.parent) as folder:
            artifacts.need_space(folder, size)
            for name, sha256 in manifest.files.items():
                await self._fetch(sha256, artifacts.member(folder, name))
            with artifacts.disk_errors(folder):
                artifacts.write_manifest(folder, manifest)
            await asyncio.to_thread(artifacts.verify, folder, manifest)
            await asyncio.to_thread(artifacts.publish, folder, place)
        _log.info("version_brought", version=manifest.version, bytes=size)


def _short(manifest: Manifest) -> str:
    return manifest.digest.removeprefix("sha256:")[:16]


def _whole(place: Path, manifest: Manifest) -> bool:
    try:
        if artifacts.read_manifest(place).digest != manifest.digest:
            return False
        artifacts.verify(place, manifest)
    except (UnsafeArtifact, OSError):
        return False
    return True


@asynccontextmanager
async def _locked(parent: Path) -> AsyncIterator[None]:
    """Hold the model's folder among processes; no thread waits for it meanwhile."""
    lock = FileLock(parent / ".lock", thread_local=False)
    while not _taken(lock, parent):  # noqa: ASYNC110 - another process's lock sets no event of ours
        await asyncio.sleep(_POLL)
    try:
        yield
    finally:
        lock.release()


def _taken(lock: FileLock, parent: Path) -> bool:
    with artifacts.disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
    return True
