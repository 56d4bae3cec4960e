from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest
from safetensors import SafetensorError

from candor.errors import StorageUnavailable, UnsafeArtifact
from candor.manifest import Manifest
from models import artifacts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact of two files, with its manifest."""
    place = tmp_path / "version"
    (place / "sub").mkdir(parents=True)
    (place / "weights.bin").write_bytes(b"numbers")
    (place / "sub" / "vocabulary.txt").write_bytes(b"cat\n")
    artifacts.write_manifest(place, describe(place))
    return place


def describe(place: Path) -> Manifest:
    return Manifest("m", "classification", "fake", artifacts.hash_files(place), labels=("cät", "dog"), input={"size": [1, 2]})


def test_a_folder_is_described_and_verified(folder: Path) -> None:
    manifest = artifacts.read_manifest(folder)
    assert manifest.files == {
        "sub/vocabulary.txt": hashlib.sha256(b"cat\n").hexdigest(),
        "weights.bin": hashlib.sha256(b"numbers").hexdigest(),
    }
    assert manifest.digest == describe(folder).digest
    artifacts.verify(folder, manifest)


def test_a_changed_file_is_refused_by_name_and_hash(folder: Path) -> None:
    manifest = artifacts.read_manifest(folder)
    (folder / "weights.bin").write_bytes(b"nombers")
    found = hashlib.sha256(b"nombers").hexdigest()
    with pytest.raises(UnsafeArtifact, match=rf"weights\.bin.*{manifest.files['weights.bin']} expected, {found} found.*install the model"):
        artifacts.verify(folder, manifest)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "sub" / "vocabulary.txt").unlink()
    with pytest.raises(UnsafeArtifact, match=r"vocabulary\.txt, which m needs, is missing"):
        artifacts.verify(folder, artifacts.read_manifest(folder))


def test_a_file_that_is_not_named_is_refused(folder: Path) -> None:
    (folder / "sub" / "external.data").write_bytes(b"pulled in by a crafted model")
    with pytest.raises(UnsafeArtifact, match=r"external\.data does not belong to m"):
        artifacts.verify(folder, artifacts.read_manifest(folder))


def test_a_link_is_refused_even_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    manifest = artifacts.read_manifest(folder)
    (tmp_path / "elsewhere").write_bytes(b"numbers")
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeArtifact, match="link"):
        artifacts.verify(folder, manifest)


def test_links_to_folders_and_pipes_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    link = folder / "more"
    link.symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(UnsafeArtifact, match=r"more .*is not a plain file"):
        artifacts.hash_files(folder)
    link.unlink()
    os.mkfifo(link)
    with pytest.raises(UnsafeArtifact, match=r"more .*is not a plain file"):
        artifacts.hash_files(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "a\\..\\..\\secret", "", "nul\0"])
def test_a_name_that_leads_out_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_bytes(b"private")
    with pytest.raises(UnsafeArtifact, match="leads out"):
        artifacts.member(folder, name)
    with pytest.raises(UnsafeArtifact, match="leads out"):
        artifacts.verify(folder, Manifest("m", "classification", "fake", {name: "0" * 64}))


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", '{"name": "m"}', '{"name": "m", "task": "dreams", "family": "f", "files": {}}', "\udcff"]
)
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / artifacts.MANIFEST).write_text(text, errors="surrogateescape")
    with pytest.raises(UnsafeArtifact, match="is not a manifest"):
        artifacts.read_manifest(folder)


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeArtifact, match="is not a manifest"):
        artifacts.read_manifest(tmp_path)


def test_a_folder_is_built_aside_and_moved_whole(tmp_path: Path) -> None:
    with artifacts.building(tmp_path / "models") as built:
        (built / "weights.bin").write_bytes(b"numbers")
        (built / "weights.bin").chmod(0o600)  # as safetensors writes its files
        artifacts.publish(built, tmp_path / "models" / "version")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["version"]
    assert stat.S_IMODE((tmp_path / "models" / "version").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "models" / "version" / "weights.bin").stat().st_mode) == 0o644


def test_a_folder_that_is_there_makes_way(tmp_path: Path) -> None:
    place = tmp_path / "version"
    for content in (b"old", b"new"):
        with artifacts.building(tmp_path) as built:
            (built / "weights.bin").write_bytes(content)
            artifacts.publish(built, place)
    assert (place / "weights.bin").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["version"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with artifacts.building(tmp_path) as built:
            (built / "weights.bin").write_bytes(b"half")
            raise KeyError("broken")

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / f"{artifacts._BUILDING}abc").mkdir()
    (tmp_path / f"{artifacts._BUILDING}abc" / "weights.bin").write_bytes(b"half")
    (tmp_path / "0123456789abcdef").mkdir()
    artifacts.clear_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["0123456789abcdef"]


def test_a_small_file_is_read_old_or_new_and_never_in_part(tmp_path: Path) -> None:
    path, texts, seen = tmp_path / "source.json", [str(i) * 20_000 for i in range(8)], set()
    artifacts.write_whole(path, texts[0])
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for text in texts * 3:
        artifacts.write_whole(path, text)
    stop.set()
    reader.join()
    assert seen <= set(texts)
    assert [found.name for found in tmp_path.iterdir()] == ["source.json"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_says_how_much_is_needed_and_where(tmp_path: Path, folder: Path, error: Exception) -> None:
    for guard in (artifacts.disk_errors, artifacts.full_disk):
        with pytest.raises(StorageUnavailable, match=rf"disk of {tmp_path} is full: \d+ bytes.*storage\.models"), guard(tmp_path, folder):
            raise error


def test_other_refusals_of_the_disk_are_named(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="can't be written: Read-only"), artifacts.disk_errors(tmp_path):
        raise OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(OSError, match="Input/output"), artifacts.full_disk(tmp_path):  # it may come from what is read
        raise OSError(errno.EIO, "Input/output error")
    with pytest.raises(SafetensorError), artifacts.full_disk(tmp_path):
        raise SafetensorError("Error while deserializing header")


def test_space_is_asked_for_before_it_is_used(tmp_path: Path) -> None:
    artifacts.need_space(tmp_path, 1)
    with pytest.raises(StorageUnavailable, match="bytes free where"):
        artifacts.need_space(tmp_path, 2**60)
