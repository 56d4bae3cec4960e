"""Uploaded archives: labelled folders come out of them, and nothing gets out of its place."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from candor.errors import CandorError, InvalidRequest, MediaTooLarge
from models.safety.archives import ArchiveLimits
from serving.calibrations.archives import unpack

FOLDER = {"labels.csv": b"file,label\na.jpg,cat\n", "a.jpg": b"pixels"}


def zipped(files: Mapping[str, bytes], *, mode: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return out.getvalue()


def tarred(files: Mapping[str, bytes], compression: str = "", **changes: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in changes.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    made = tmp_path / "inner" / "target"
    made.mkdir(parents=True)
    return made


@pytest.mark.parametrize("prefix", ["", "set/", "./"])
@pytest.mark.parametrize(
    "pack",
    [zipped, tarred, lambda files: tarred(files, "gz"), lambda files: tarred(files, "bz2"), lambda files: tarred(files, "xz")],
    ids=["zip", "tar", "gz", "bz2", "xz"],
)
def test_a_labelled_folder_comes_out(target: Path, pack: Callable[[Mapping[str, bytes]], bytes], prefix: str) -> None:
    found = unpack(pack({prefix + name: data for name, data in FOLDER.items()}), target)
    assert {path.name: path.read_bytes() for path in found.iterdir()} == FOLDER
    assert found == (target / "set" if prefix == "set/" else target)


def test_what_a_mac_adds_is_passed_over(target: Path) -> None:
    files = {**{f"set/{name}": data for name, data in FOLDER.items()}, "__MACOSX/set/._a.jpg": b"", ".DS_Store": b""}
    assert unpack(zipped(files), target) == target / "set"


HOSTILE = ["../out", "set/../../out", "/etc/out", "a\\..\\..\\out", "C:/out", "C:out"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, target: Path, pack: Callable[[Mapping[str, bytes]], bytes], name: str) -> None:
    with pytest.raises(InvalidRequest, match="lead out"):
        unpack(pack({name: b"out", **FOLDER}), target)
    assert not list(tmp_path.rglob("out"))


@pytest.mark.parametrize(
    "data",
    [
        zipped({"labels.csv": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777),
        tarred({"labels.csv": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        tarred({"labels.csv": b""}, type=tarfile.LNKTYPE, linkname="a.jpg"),
        tarred({"labels.csv": b""}, type=tarfile.FIFOTYPE),
        tarred({"labels.csv": b""}, type=tarfile.CHRTYPE),
    ],
    ids=["zip link", "tar link", "hard link", "pipe", "device"],
)
def test_only_plain_files_come_out(target: Path, data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="plain files"):
        unpack(data, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("pack", [zipped, lambda files: tarred(files, "gz")], ids=["zip", "gz"])
def test_an_archive_that_swells_is_stopped(target: Path, pack: Callable[[Mapping[str, bytes]], bytes]) -> None:
    with pytest.raises(MediaTooLarge, match="more than"):
        unpack(pack({**FOLDER, "big.jpg": bytes(3_000_000)}), target, ArchiveLimits(bytes=2_000_000))
    assert sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) <= 2_000_000
    with pytest.raises(MediaTooLarge, match="more than 5 files"):
        unpack(pack({f"{i}.txt": b"" for i in range(9)}), target, ArchiveLimits(files=5))


def test_a_header_that_would_fill_the_memory_is_refused(target: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("pax")
        info.type, info.size = tarfile.XHDTYPE, 50_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(CandorError, match="header"):
        unpack(out.getvalue(), target)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither a zip nor a tar"),
        (b"no archive" * 100, "neither a zip nor a tar"),
        (zipped(FOLDER)[:-30], "can't be read|neither"),
        (tarred(FOLDER, "gz")[:80], "can't be read"),
        (b"\x1f\x8b" + b"junk" * 200, "can't be read"),
        (b"BZh9" + b"junk" * 200, "can't be read"),
        (b"\xfd7zXZ" + b"junk" * 200, "can't be read"),
        (zipped({"notes.txt": b"hello"}), "no labelled folder"),
        (zipped({f"{part}/labels.csv": b"" for part in "ab"}), "no labelled folder"),
        (tarred({"labels.csv": b"", "./labels.csv": b""}), "twice"),
    ],
    ids=["empty", "text", "cut zip", "cut gz", "bad gz", "bad bz2", "bad xz", "no labels", "two folders", "twice"],
)
def test_what_is_no_labelled_folder_is_refused_in_words(target: Path, data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        unpack(data, target)
