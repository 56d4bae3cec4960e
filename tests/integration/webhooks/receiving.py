"""A receiver of webhooks on this machine, which answers as it is told to and checks every signature."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

HANG = 0  # instead of a status: never answers
TAKEN = 204


@dataclass(frozen=True)
class Got:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def signed_with(self, secret: str) -> bool:
        """Check the signature as the standard says it, with nothing of Candor's."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = self.headers["webhook-id"].encode() + b"." + self.headers["webhook-timestamp"].encode() + b"." + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return expected in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """Answers each path with the next of its statuses, in the end with 204."""

    port: int = 0
    answers: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))  # status, further headers
    got: list[Got] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    hung: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Got]:
        return [one for one in self.got if one.path == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            path = head[0].split(" ")[1]
            self.got.append(Got(path, headers, await reader.readexactly(int(headers["content-length"]))))
            status, further = self.answers[path].pop(0) if self.answers[path] else (TAKEN, "")
            if status == HANG:
                self.hung.set()
                await reader.read()  # until the sender goes away
            else:
                await asyncio.sleep(0.005)
                writer.write(f"HTTP/1.1 {status} Told\r\n{further}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    made = Receiver()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()
