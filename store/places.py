"""Where blobs lie: in a folder, or at any URL that fsspec knows, such as an S3 bucket. All methods block; call them in threads."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol, cast

import fsspec

from candor.errors import InvalidRequest, UnsafeArtifact

_AT_ONCE = 2**20  # bytes that are copied at once
_S3 = {"max_concurrency": 2}  # parts of 50 MB that are in memory at once while a large file is sent
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Place(Protocol):
    """Files named by the SHA-256 of their content. Each is there whole or not at all."""

    def temporary(self) -> IO[bytes]:
        """Return a new file on this machine, to be written and then settled; the caller removes it."""

    def settle(self, file: IO[bytes], sha256: str) -> None:
        """Store a written temporary file under its name; it is safe when this returns."""

    def take(self, path: Path, sha256: str) -> None:
        """Store a copy of a file that lies elsewhere on this machine; it is safe when this returns."""

    def open(self, sha256: str) -> IO[bytes]:
        """Open a file for reading, or raise FileNotFoundError."""

    def read(self, sha256: str) -> bytes:
        """Return a small file, or raise FileNotFoundError."""

    def size(self, sha256: str) -> int | None:
        """Return the bytes of a file, or None where there is none."""

    def remove(self, sha256: str) -> None:
        """Remove a file; one that is gone already is fine."""


def is_url(place: str) -> bool:
    """Say whether a place is a URL and not a folder."""
    return _URL.match(place) is not None


def place_of(place: str | Path) -> Place:
    """Return the place that a setting names.

    Raises:
        InvalidRequest: nothing here knows such a URL.
    """
    text = str(place)
    if not is_url(text):
        return Folder(Path(text))
    if text.lower().startswith("file://"):
        return Folder(Path(text[len("file://") :]))
    protocol = text.partition(":")[0].lower()
    try:
        files, path = fsspec.core.url_to_fs(text, use_listings_cache=False, **(_S3 if protocol in ("s3", "s3a") else {}))
    except ImportError as error:
        what = "pip install 'candor[s3]'" if protocol in ("s3", "s3a") else f"install fsspec's package for {protocol}"
        raise InvalidRequest(f"storage.blobs is a {protocol}:// URL, whose driver is not installed: {what}") from error
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"storage.blobs is a URL that can't be used: {error}") from error
    return Remote(files, path)


class MissingBlob(Exception):
    """There is no such blob."""


def fetch(place: Place, sha256: str, path: Path) -> int:
    """Copy a blob into a file on this machine, whole or not at all, and return its bytes.

    Raises:
        MissingBlob: there is none.
        UnsafeArtifact: what is stored has another hash.
    """
    try:
        source = place.open(sha256)
    except FileNotFoundError as error:
        raise MissingBlob from error
    with source:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=".fetch-", delete=False)  # noqa: SIM115 - it may be renamed
        try:
            digest = hashlib.sha256()
            while chunk := source.read(_AT_ONCE):
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() != sha256:
                raise UnsafeArtifact(f"blob {sha256} holds other content, {digest.hexdigest()}: restore it from a backup")
            file.flush()
            os.replace(file.name, path)
            return file.tell()
        finally:
            discard(file)


def discard(file: IO[bytes]) -> None:
    """Close a temporary file and remove it, unless it was settled."""
    with suppress(FileNotFoundError):
        os.unlink(file.name)
    file.close()  # last: on a full disk it fails


class Folder:
    """A folder of this machine, or one that is mounted here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def temporary(self) -> IO[bytes]:
        """Return a new file beside the others, so that it can be renamed to its place."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return cast(IO[bytes], tempfile.NamedTemporaryFile(dir=self._folder, prefix=".upload-", delete=False))

    def settle(self, file: IO[bytes], sha256: str) -> None:
        """Make a written file durable under its final name."""
        path = self._path(sha256)
        file.flush()
        os.fsync(file.fileno())
        path.parent.mkdir(exist_ok=True)
        os.replace(file.name, path)
        for folder in (path.parent, path.parent.parent):
            entries = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(entries)
            finally:
                os.close(entries)

    def take(self, path: Path, sha256: str) -> None:
        """Store a copy of a file."""
        file = self.temporary()
        try:
            with path.open("rb") as source:
                shutil.copyfileobj(source, file, _AT_ONCE)
            self.settle(file, sha256)
        finally:
            discard(file)

    def open(self, sha256: str) -> IO[bytes]:
        """Open a file."""
        return self._path(sha256).open("rb")

    def read(self, sha256: str) -> bytes:
        """Return a small file."""
        return self._path(sha256).read_bytes()

    def size(self, sha256: str) -> int | None:
        """Return the bytes of a file."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, sha256: str) -> None:
        """Remove a file."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


class Remote:
    """A prefix in a store that fsspec knows. Object stores show an object only when it is whole; that is relied on."""

    def __init__(self, files: Any, prefix: str) -> None:
        self._files = files
        self._prefix = prefix.rstrip("/")

    def temporary(self) -> IO[bytes]:
        """Return a new file in this machine's folder for temporary files."""
        return cast(IO[bytes], tempfile.NamedTemporaryFile(prefix="candor-upload-", delete=False))

    def settle(self, file: IO[bytes], sha256: str) -> None:
        """Send a written file, unless the same is there."""
        file.flush()
        if self.size(sha256) != os.fstat(file.fileno()).st_size:
            self.take(Path(file.name), sha256)

    def take(self, path: Path, sha256: str) -> None:
        """Send a file."""
        self._files.put_file(str(path), self._path(sha256))

    def open(self, sha256: str) -> IO[bytes]:
        """Open a file; it is read in blocks as it is asked for."""
        return cast(IO[bytes], self._files.open(self._path(sha256), "rb"))

    def read(self, sha256: str) -> bytes:
        """Return a small file, in one request."""
        return cast(bytes, self._files.cat_file(self._path(sha256)))

    def size(self, sha256: str) -> int | None:
        """Return the bytes of a file."""
        try:
            return int(self._files.info(self._path(sha256))["size"])
        except FileNotFoundError:
            return None

    def remove(self, sha256: str) -> None:
        """Remove a file."""
        with suppress(FileNotFoundError):
            self._files.rm_file(self._path(sha256))

    def _path(self, sha256: str) -> str:
        return f"{self._prefix}/{sha256[:2]}/{sha256}"
