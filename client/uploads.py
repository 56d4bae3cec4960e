"""Uploads files: small ones in one request, large ones in parts, which go on where a broken connection left them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

from client.connection import Connection
from client.errors import ChangedFile, Refused
from client.responses import object_of

Progress: TypeAlias = Callable[[str, float], object]
"""Is told what is done now, in words, and which share of it, 0 to 1."""

LARGE = 32 * 2**20  # bytes from which a file goes in parts
_CHUNK = 2**20


def unheard(_step: str, _share: float) -> None:
    """Do nothing with the progress."""


class UploadCalls(Connection):
    """What a client may do with uploads."""

    def upload(self, path: Path, progress: Progress = unheard) -> str:
        """Upload a file, streamed from the disk, and return the id by which items, models and fits may name it.

        A large file goes in parts. If that breaks off for good, the same call later goes on where it was.

        Raises:
            ClientError: the upload failed.
            OSError: the file can't be read.
        """
        if path.stat().st_size > LARGE:
            return self._upload_in_parts(path, progress)

        @contextmanager
        def body() -> Iterator[Mapping[str, Any]]:
            with path.open("rb") as file:
                yield {"content": told_of(file, path.stat().st_size, progress)}

        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
        response = self.send("POST", "/v1/uploads", body, headers)
        return str(object_of(response, "id")["id"])

    def _upload_in_parts(self, path: Path, progress: Progress) -> str:
        size = path.stat().st_size
        told = {"bytes": size, "sha256": sha256_of(path, progress)}
        state = object_of(self.send("POST", "/v1/uploads/resumable", lambda: nullcontext({"json": told})), "received")
        with path.open("rb") as file:
            while not state["complete"]:
                progress("uploading", state["received"] / size)
                file.seek(state["received"])
                data = file.read(int(state["part_bytes"]))  # empty where all is there, and only has to be put together
                if state["received"] + len(data) < size and not data:
                    raise ChangedFile(f"{path} became shorter while it was uploaded: upload it again when nothing writes to it")
                state = self._put_part(state, data)
        progress("uploading", 1.0)
        return str(state["id"])

    def _put_part(self, state: Mapping[str, Any], data: bytes) -> dict[str, Any]:
        """Send a part, and return how the upload stands; where somebody else sends the same file at the same time, that counts too."""
        where = f"/v1/uploads/{state['id']}"
        headers = {"Content-Type": "application/octet-stream", "X-Part-SHA256": hashlib.sha256(data).hexdigest()}
        path = f"{where}/parts?offset={state['received']}"
        try:
            return object_of(self.send("PUT", path, lambda: nullcontext({"content": data}), headers), "received")
        except Refused as refused:
            if refused.code != "conflict":
                raise
            now = object_of(self.send("GET", where), "received")
            if now["received"] == state["received"] and not now["complete"]:
                raise
            return now


def sha256_of(path: Path, progress: Progress = unheard) -> str:
    """Return the SHA-256 of a file, in hex.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in told_of(file, path.stat().st_size, progress, "hashing"):
            digest.update(chunk)
    return digest.hexdigest()


def told_of(file: Any, size: int, progress: Progress, step: str = "uploading") -> Iterator[bytes]:
    """Yield the content of an open file, and tell how far it is."""
    done = 0
    while chunk := file.read(_CHUNK):
        yield chunk
        done += len(chunk)
        progress(step, min(1.0, done / max(1, size)))
