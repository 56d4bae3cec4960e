"""Fetching over real sockets and the system's resolver, from servers on loopback that behave badly."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from candor.errors import CandorError, MediaForbidden, MediaTooLarge, MediaUnreachable
from serving.config import MediaSettings
from serving.media import MediaFetcher

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def server(reply: Reply, seen: list[bytes] | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve one behavior for every request; yield the port."""
    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            if seen is not None:
                seen.append(request)
            await reply(writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client or the test left
        finally:
            writer.close()
            serving.discard(task)

    running = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()
        left = list(serving)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def fetcher(max_bytes: int = 2**20, **settings: Any) -> AsyncIterator[MediaFetcher]:
    made = MediaFetcher(MediaSettings(**{"private_hosts": ("localhost",), **settings}), max_bytes)
    try:
        yield made
    finally:
        await made.close()


def says(data: bytes) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return reply


async def drips(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def floods(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def silent(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def refused(reply: Reply, kind: type[CandorError], max_bytes: int = 2**20, **settings: Any) -> str:
    async with server(reply) as port, fetcher(max_bytes, **settings) as media:
        with pytest.raises(kind) as caught:
            await media.fetch(f"http://localhost:{port}/item")
    return caught.value.detail


async def test_fetches_from_a_named_private_host() -> None:
    body = bytes(range(256)) * 1000
    seen: list[bytes] = []
    async with server(says(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body), seen) as port, fetcher() as media:
        assert await media.fetch(f"http://localhost:{port}/item?x=1") == body
    assert seen[0].startswith(b"GET /item?x=1 HTTP/1.1\r\nHost: localhost:%d\r\n" % port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "localhost."])
async def test_loopback_is_not_reached_in_any_form(host: str) -> None:
    seen: list[bytes] = []
    async with server(says(OK + b"Content-Length: 0\r\n\r\n"), seen) as port, fetcher(private_hosts=()) as media:
        with pytest.raises(MediaForbidden):
            await media.fetch(f"http://{host}:{port}/")
    assert seen == []


async def test_a_redirect_to_loopback_is_refused() -> None:
    seen: list[bytes] = []
    async with server(says(OK + b"Content-Length: 0\r\n\r\n"), seen) as inside:
        moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:%d/\r\n\r\n" % inside
        await refused(says(moved), MediaForbidden)
    assert seen == []


@pytest.mark.parametrize("reply", [drips, silent])
async def test_a_body_that_never_ends_is_stopped_in_time(reply: Reply) -> None:
    started = time.monotonic()
    assert "0.3 s" in await refused(reply, MediaUnreachable, timeout_seconds=0.3)
    assert time.monotonic() - started < 2


async def test_a_flood_is_stopped_at_the_limit() -> None:
    await refused(floods, MediaTooLarge, max_bytes=200_000)


async def test_a_stated_length_over_the_limit_is_refused_before_the_body() -> None:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 2000\r\n\r\n")
        await silent(writer)

    await refused(reply, MediaTooLarge, max_bytes=1000)


async def test_a_body_that_breaks_off_is_not_an_item() -> None:
    await refused(says(OK + b"Content-Length: 100\r\n\r\nhalf"), MediaUnreachable)


async def test_a_closed_port_is_unreachable() -> None:
    async with server(silent) as port:
        pass
    async with fetcher() as media:
        with pytest.raises(MediaUnreachable):
            await media.fetch(f"http://localhost:{port}/")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `localhost`, with its key, that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return path


async def test_tls_verifies_the_name_behind_a_checked_address(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(authority)

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    async def fetch(host: str, port: int) -> bytes:
        media = MediaFetcher(MediaSettings.model_validate({"private_hosts": ("localhost", "other.test")}), 100, resolver=resolve)
        try:
            return await media.fetch(f"https://{host}:{port}/")
        finally:
            await media.close()

    async with server(says(OK + b"Content-Length: 2\r\n\r\nok"), tls=ours) as port:
        with pytest.raises(MediaUnreachable):  # an authority that nobody knows
            await fetch("localhost", port)
        trusting = ssl.create_default_context(cafile=str(authority))
        monkeypatch.setattr("serving.media._verified", lambda: trusting)
        assert await fetch("localhost", port) == b"ok"
        with pytest.raises(MediaUnreachable):  # another name than the certificate's
            await fetch("other.test", port)


async def test_hanging_up_frees_the_place() -> None:
    async with server(silent) as port, fetcher() as media:
        waiting = [asyncio.create_task(media.fetch(f"http://localhost:{port}/")) for _ in range(40)]
        await asyncio.sleep(0.2)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        async with server(says(OK + b"Content-Length: 2\r\n\r\nok")) as other:
            assert await media.fetch(f"http://localhost:{other}/") == b"ok"
