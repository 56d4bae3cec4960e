"""Tiny packages, as an index would serve them, for tests that fetch."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from models.builtin import index
from models.builtin.recipe import Archive, Member


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def sdist(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def pinned(data: bytes, members: Mapping[str, bytes], filename: str = "tiny-1.0-py2-none-any.whl") -> Archive:
    """Pin an archive and what its members should be."""
    wanted = tuple(Member(path, sha(content), len(content)) for path, content in members.items())
    return Archive("tiny", "1.0", filename, sha(data), len(data), wanted)


class Mirror:
    """A folder of packages that is the only place pip knows; counts how often each is downloaded."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.downloads: list[str] = []
        folder.mkdir()
        monkeypatch.setattr(index, "pip_settings", lambda: index.IndexSettings(no_index=True, find_links=(str(folder),)))
        monkeypatch.setattr(index, "_PAUSE", 0.0)
        save = index._save

        def counted(session: object, address: str, archive: Archive, target: Path, progress: index.Progress) -> None:
            self.downloads.append(archive.filename)
            save(session, address, archive, target, progress)

        monkeypatch.setattr(index, "_save", counted)

    def serve(self, archive: Archive, data: bytes) -> Archive:
        (self.folder / archive.filename).write_bytes(data)
        return archive


def served(mirror: Mirror, files: Mapping[str, bytes], filename: str = "tiny-1.0-py2-none-any.whl") -> Archive:
    """Put a good package on the mirror."""
    data = wheel(files) if filename.endswith(".whl") else sdist(files)
    return mirror.serve(pinned(data, files, filename), data)


def with_member(archive: Archive, **changes: object) -> Archive:
    """Pin the first member otherwise."""
    return replace(archive, members=(replace(archive.members[0], **changes), *archive.members[1:]))  # type: ignore[arg-type]
