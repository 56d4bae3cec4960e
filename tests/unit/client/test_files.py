from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.files import MediaFile, find_media


def test_folders_are_walked_in_order_and_other_files_counted(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.wav", "a.png", "notes.txt", ".hidden/x.jpg", ".x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_media([tmp_path / "b", tmp_path, tmp_path / "a.png"])
    assert [file.path.relative_to(tmp_path).as_posix() for file in found.files] == ["b/1.wav", "b/2.JPG", "a.png"]
    assert [file.kind for file in found.files] == ["audio", "image", "image"]
    assert dict(found.skipped) == {"neither image nor recording": 1}


def test_keeping_one_kind_counts_the_other(tmp_path: Path) -> None:
    for name in ("1.wav", "2.wav", "3.png"):
        (tmp_path / name).write_bytes(b"x")
    found = find_media([tmp_path])
    found.keep("image")
    assert [file.path.name for file in found.files] == ["3.png"]
    assert dict(found.skipped) == {"recording": 2}
    found.keep("image")
    assert dict(found.skipped) == {"recording": 2}


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        find_media([tmp_path / "nothing"])


def test_a_name_that_is_not_utf8_can_be_sent() -> None:
    assert MediaFile(Path(os.fsdecode(b"caf\xe9.jpg")), "image").item == "caf\ufffd.jpg"
