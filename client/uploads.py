"""Uploads files: small ones in one request, large ones in parts, which go on where a broken connection left them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

from client.answers import PartialUpload
from client.calls import Call, Flow, ask, bytes_body, json_body, told, work
from client.errors import ChangedFile, Refused
from client.methods import Method

Progress: TypeAlias = Callable[[str, float], object]
"""Is told what is done now, in words, and which share of it, 0 to 1. An `AsyncClient` may call it from another thread."""

LARGE = 32 * 2**20  # bytes from which a file goes in parts
_CHUNK = 2**20
_BYTES = {"Content-Type": "application/octet-stream"}


def unheard(_step: str, _share: float) -> None:
    """Do nothing with the progress."""


def upload(path: Path, progress: Progress = unheard) -> Flow[str]:
    """Upload a file, streamed from the disk, and return the id by which items, models and fits may name it.

    A large file goes in parts. If that breaks off for good, the same call later goes on where it was.

    Raises:
        ClientError: the upload failed.
        OSError: the file can't be read.
    """
    size = path.stat().st_size
    if size > LARGE:
        return (yield from _upload_in_parts(path, progress))

    @contextmanager
    def body() -> Iterator[Mapping[str, Any]]:
        with path.open("rb") as file:
            yield {"content": told_of(file, size, progress)}

    headers = {**_BYTES, "Content-Length": str(size)}
    stored = yield from ask(Call("POST", "/v1/uploads", told(dict[str, Any], "id"), body, headers))
    return str(stored["id"])


def _upload_in_parts(path: Path, progress: Progress) -> Flow[str]:
    size = path.stat().st_size
    announced = {"bytes": size, "sha256": (yield from work(partial(sha256_of, path, progress)))}
    state = yield from ask(Call("POST", "/v1/uploads/resumable", told(PartialUpload, "received"), json_body(announced)))
    with path.open("rb") as file:
        while not state["complete"]:
            progress("uploading", state["received"] / size)
            # empty where all is there, and only has to be put together
            data, digest = yield from work(partial(_part_of, file, state["received"], state["part_bytes"]))
            if state["received"] + len(data) < size and not data:
                raise ChangedFile(f"{path} became shorter while it was uploaded: upload it again when nothing writes to it")
            state = yield from _put_part(state, data, digest)
    progress("uploading", 1.0)
    return state["id"]


def _put_part(state: PartialUpload, data: bytes, digest: str) -> Flow[PartialUpload]:
    """Send a part, and return how the upload stands; where somebody else sends the same file at the same time, that counts too."""
    where, stands = f"/v1/uploads/{state['id']}", told(PartialUpload, "received")
    path = f"{where}/parts?offset={state['received']}"
    try:
        return (yield from ask(Call("PUT", path, stands, bytes_body(data), {**_BYTES, "X-Part-SHA256": digest})))
    except Refused as refused:
        if refused.code != "conflict":
            raise
        now = yield from ask(Call("GET", where, stands))
        if now["received"] == state["received"] and not now["complete"]:
            raise
        return now


def _part_of(file: Any, offset: int, most: int) -> tuple[bytes, str]:
    file.seek(offset)
    data = cast(bytes, file.read(most))
    return data, hashlib.sha256(data).hexdigest()


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


class UploadCalls:
    """What a client may do with uploads."""

    upload = Method(upload)
