"""Zip and tar archives of strangers: only plain files with names inside the target, and no more bytes than allowed.

Bytes are counted as they are written, whatever the archive claims.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from candor.errors import InvalidRequest, MediaTooLarge, StorageUnavailable, UnsafeArtifact

_CHUNK = 1 << 20
_HEADER = 1 << 20  # most bytes that one tar header may take: tarfile reads it whole
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf\x27\x1c", b"Rar!")
_ENCRYPTED = 0x1
_RATIO = 200  # of a zip's members together, beyond which it is a bomb; weights hardly shrink at all
_SMALL = 1 << 20  # bytes that may shrink as they like


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may unpack to."""

    files: int = 100_000
    bytes: int = 4 * 2**30


@dataclass(frozen=True, slots=True)
class _Member:
    """One plain file of an archive."""

    name: str
    open: Callable[[], IO[bytes] | None]


def unpack(data: bytes, folder: Path, limits: ArchiveLimits | None = None) -> None:
    """Unpack a zip or tar archive (also .gz, .bz2, .xz) into an empty folder.

    Raises:
        InvalidRequest: no such archive, a broken one, or a member that is no plain file inside it.
        MediaTooLarge: more files or bytes than it may unpack to.
        StorageUnavailable: the disk is full or can't be written.
    """
    allowed = limits or ArchiveLimits()
    try:
        members = _zip_members(data) if zipfile.is_zipfile(io.BytesIO(data)) else _tar_members(data, allowed)
        _write(members, folder, allowed)
    except _BROKEN as error:
        raise InvalidRequest(f"the archive can't be read: {error or type(error).__name__}") from error
    except OSError as error:
        if error.errno is None:  # gzip's and bz2's way to say that the data are broken
            raise InvalidRequest(f"the archive can't be read: {error}") from error
        raise StorageUnavailable(f"the archive can't be unpacked: {error.strerror}") from error


def check_zip(path: Path, limits: ArchiveLimits) -> list[str]:
    """Check the zip in which torch keeps a checkpoint, without unpacking it; return the names of its members.

    Raises:
        UnsafeArtifact: a name leads out, two are the same, a member is a link, encrypted, or an archive itself, or it is a bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_sizes(path, infos, limits)
            names: set[str] = set()
            for info in infos:
                _check_member(path, info, names)
                with archive.open(info) as member:  # also finds a local header that names another file
                    if member.read(8).startswith(_ARCHIVES) and "/data/" not in info.filename:  # there lie raw tensors, of any bytes
                        raise UnsafeArtifact(f"{path.name} holds another archive, {info.filename[:80]!r}: send the model's file alone")
            return [info.filename for info in infos]
    except InvalidRequest as error:
        raise UnsafeArtifact(f"{path.name}: {error.detail}") from error
    except (*_BROKEN, OSError) as error:
        raise UnsafeArtifact(
            f"{path.name} is a broken or shortened zip ({error or type(error).__name__}): save or send it again"
        ) from error


def _check_sizes(path: Path, infos: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    if len(infos) > limits.files:
        raise UnsafeArtifact(f"{path.name} holds {len(infos):,} files, and at most {limits.files:,} are taken")
    unpacked, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    if unpacked > limits.bytes or unpacked > _SMALL + _RATIO * packed:
        raise UnsafeArtifact(
            f"{path.name} says that it unpacks from {packed:,} to {unpacked:,} bytes, which no model does: save it without compression"
        )
    if packed > path.stat().st_size:  # members that lie over each other
        raise UnsafeArtifact(f"{path.name} claims more bytes than it has: save it again")


def _check_member(path: Path, info: zipfile.ZipInfo, names: set[str]) -> None:
    _inside(info.filename)
    if info.filename in names:
        raise UnsafeArtifact(f"{path.name} holds {info.filename[:80]!r} twice: readers differ in which they take. Save it again")
    names.add(info.filename)
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeArtifact(f"{path.name} holds {info.filename[:80]!r}, a link or a device: only plain files are taken")
    if info.flag_bits & _ENCRYPTED:
        raise UnsafeArtifact(f"{path.name} is encrypted: save it without a password")


def _write(members: Iterator[_Member], folder: Path, limits: ArchiveLimits) -> None:
    written = 0
    for count, member in enumerate(members, 1):
        if count > limits.files:
            raise MediaTooLarge(f"the archive holds more than {limits.files:,} files")
        target = folder / _inside(member.name)
        opened = member.open()
        if opened is None:
            raise InvalidRequest(f"the archive's member {member.name[:80]!r} is not a plain file")
        with opened:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = target.open("xb")
            except (FileExistsError, IsADirectoryError):
                raise InvalidRequest(f"the archive holds {member.name[:80]!r} twice") from None
            with file:
                while chunk := opened.read(_CHUNK):
                    written += len(chunk)
                    if written > limits.bytes:
                        raise MediaTooLarge(f"the archive unpacks to more than {limits.bytes:,} bytes")
                    file.write(chunk)


def _inside(name: str) -> PurePosixPath:
    """Return a member's name if it can only lie inside the folder."""
    path = PurePosixPath(name)
    if not name or "\\" in name or "\0" in name or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise InvalidRequest(f"the archive's member {name[:80]!r} has a name that could lead out of its folder")
    return path


def _zip_members(data: bytes) -> Iterator[_Member]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InvalidRequest(f"the archive's member {info.filename[:80]!r} is a link or a device; only plain files are taken")
            if not info.is_dir():
                yield _Member(info.filename, lambda info=info: archive.open(info))  # type: ignore[misc]


def _tar_members(data: bytes, limits: ArchiveLimits) -> Iterator[_Member]:
    with tarfile.open(fileobj=_Bounded(_decompressed(data), 2 * limits.bytes), mode="r:") as archive:
        for info in archive:
            if not (info.isreg() or info.isdir()) or info.issparse():
                raise InvalidRequest(f"the archive's member {info.name[:80]!r} is a link or a device; only plain files are taken")
            if info.isreg():
                yield _Member(info.name, lambda info=info: archive.extractfile(info))  # type: ignore[misc]


def _decompressed(data: bytes) -> io.BufferedIOBase:
    raw = io.BytesIO(data)
    if data.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if data.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if data.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(raw)
    if len(data) < 512 or data[257:262] != b"ustar":
        raise InvalidRequest("the upload is neither a zip nor a tar archive (plain, .gz, .bz2 or .xz)")
    return raw


class _Bounded:
    """A stream for tarfile, which trusts a header to say how much to read at once."""

    def __init__(self, stream: io.BufferedIOBase, most: int) -> None:
        self._stream = stream
        self._most = most

    def read(self, size: int = -1) -> bytes:
        """Read a block, or a header that isn't absurd."""
        if size < 0 or size > _HEADER:
            raise InvalidRequest("the archive can't be read: one of its headers is too large")
        data = self._stream.read(size)
        if self._stream.tell() > self._most:
            raise MediaTooLarge("the archive unpacks to more than it may")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
