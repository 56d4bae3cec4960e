"""Files of registered versions come to the disk whole or not at all, once for all who want them."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from candor.errors import StorageUnavailable, UnsafeArtifact
from candor.manifest import Manifest
from models import artifacts
from serving.registry.installing import Installer

CONTENT = {"a.bin": b"first", "deep/b.bin": b"second"}
MANIFEST = Manifest("mine", "detection", "fake", {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}, owner="ann")


class Shelf:
    """Blobs by their hash; `asked` counts what was fetched."""

    def __init__(self) -> None:
        self.blobs = {hashlib.sha256(data).hexdigest(): data for data in CONTENT.values()}
        self.asked: list[str] = []

    async def fetch(self, sha256: str, path: Path) -> None:
        self.asked.append(sha256)
        await asyncio.sleep(0)
        if sha256 not in self.blobs:
            raise StorageUnavailable("it is gone")
        await asyncio.to_thread(_write, path, self.blobs[sha256])


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


async def test_a_version_is_brought_once_for_all(tmp_path: Path) -> None:
    shelf = Shelf()
    installers = [Installer(tmp_path, shelf.fetch) for _ in range(3)]  # as in three processes
    places = await asyncio.gather(*(installer.bring(MANIFEST, 11) for installer in installers))
    assert set(places) == {tmp_path / ".registered" / "ann" / "mine" / MANIFEST.digest[7:23]}
    assert len(shelf.asked) == 2
    assert (places[0] / "deep" / "b.bin").read_bytes() == b"second"
    assert artifacts.read_manifest(places[0]) == MANIFEST


async def test_what_was_damaged_is_brought_again(tmp_path: Path) -> None:
    shelf = Shelf()
    place = await Installer(tmp_path, shelf.fetch).bring(MANIFEST, 11)
    (place / "a.bin").write_bytes(b"other")
    await Installer(tmp_path, shelf.fetch).bring(MANIFEST, 11)
    assert (place / "a.bin").read_bytes() == b"first"


@pytest.mark.parametrize(("damage", "error"), [(None, StorageUnavailable), (b"other", UnsafeArtifact)])
async def test_a_file_that_is_gone_or_another_leaves_nothing(tmp_path: Path, damage: bytes | None, error: type[Exception]) -> None:
    shelf = Shelf()
    wanted = MANIFEST.files["deep/b.bin"]
    if damage is None:
        del shelf.blobs[wanted]
    else:
        shelf.blobs[wanted] = damage
    installer = Installer(tmp_path, shelf.fetch)
    with pytest.raises(error):
        await installer.bring(MANIFEST, 11)
    assert [path.name for path in installer.folder(MANIFEST).parent.iterdir() if path.name != ".lock"] == []


async def test_a_disk_without_room_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    shelf = Shelf()
    with pytest.raises(StorageUnavailable, match="bytes free where"):
        await Installer(tmp_path, shelf.fetch).bring(MANIFEST, 1 << 60)
    assert shelf.asked == []


@pytest.mark.parametrize("team", ["", "..", "a/b", ".hidden"])
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, team: str) -> None:
    manifest = Manifest("mine", "detection", "fake", dict(MANIFEST.files), owner=team)
    with pytest.raises(UnsafeArtifact):
        await Installer(tmp_path, Shelf().fetch).bring(manifest, 1)


async def test_files_of_deleted_versions_are_swept_once_they_are_old(tmp_path: Path) -> None:
    shelf = Shelf()
    installer = Installer(tmp_path, shelf.fetch)
    other = Manifest("mine", "detection", "fake", {"a.bin": MANIFEST.files["a.bin"]}, owner="ann")
    places = [await installer.bring(manifest, 11) for manifest in (MANIFEST, other)]
    assert installer.sweep([MANIFEST]) == 0
    for place in places:
        os.utime(place, (1, 1))
    assert installer.sweep([MANIFEST]) == 1
    assert [place.exists() for place in places] == [True, False]
    assert sorted(path.name for path in places[0].parent.iterdir()) == sorted([".lock", places[0].name])
