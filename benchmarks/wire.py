"""Requests for drafts as bytes made beforehand, and connections that send them.

Plain HTTP/1.1 over asyncio streams: the generator shares its cores with the server, and a whole HTTP client would cost several times
what this does. `null.py` measures what it can do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from candor.predictions import Task
from candor.tasks import SPECS

_BOUNDARY = b"candor-benchmark-5d1f8a3c"
_MOST_HEAD = 1 << 16
_TYPES = {".jpg": b"image/jpeg", ".wav": b"audio/wav"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, head and body, and the names of its items in order."""

    items: tuple[str, ...]
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What came back."""

    status: int
    body: bytes


class Sender(Protocol):
    """Sends one request after another."""

    async def send(self, request: Request) -> Response:
        """Send and wait for the answer.

        Raises:
            OSError, EOFError: the connection broke.
        """

    async def close(self) -> None:
        """Close what is open."""


def draft_request(task: Task, files: Sequence[Path]) -> Request:
    """Return a multipart request for drafts of files. Stored drafts do not answer it."""
    parts = []
    for path in files:
        disposition = f'Content-Disposition: form-data; name="{SPECS[task].media}"; filename="{path.name}"'.encode()
        head = b"\r\n".join((b"--" + _BOUNDARY, disposition, b"Content-Type: " + _TYPES[path.suffix], b"", b""))
        parts.append(head + path.read_bytes() + b"\r\n")
    body = b"".join(parts) + b"--" + _BOUNDARY + b"--\r\n"
    headers = {
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY.decode()}",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-cache",
    }
    return Request(tuple(path.name for path in files), f"/v1/{task}/drafts", headers, body)


class Connection:
    """A kept-alive connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: Request) -> Response:
        """Send and wait for the answer. A kept connection that the server closed meanwhile is opened anew, once."""
        kept = self._streams is not None
        try:
            return await self._exchange(request)
        except (OSError, EOFError):
            await self.close()
            if not kept:
                raise
        return await self._exchange(request)

    async def close(self) -> None:
        """Close it, if it is open."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, request: Request) -> Response:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        lines = [f"POST {request.path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        writer.write(request.body)
        response, keep = await read_response(reader)
        if not keep:
            await self.close()
        return response


async def read_response(reader: asyncio.StreamReader) -> tuple[Response, bool]:
    """Read one response with a Content-Length; return it and whether the connection may be used again.

    Raises:
        EOFError: the stream ended before the response did.
        ValueError: the response has no length, or is no HTTP.
    """
    head = (await reader.readuntil(b"\r\n\r\n"))[:_MOST_HEAD].decode("latin-1").split("\r\n")
    version, _, rest = head[0].partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"not an HTTP response: {head[0][:80]!r}")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if "content-length" not in headers:
        raise ValueError(f"a response without Content-Length: {head[0]}")
    body = await reader.readexactly(int(headers["content-length"]))
    return Response(int(rest[:3]), body), headers.get("connection", "").lower() != "close"
