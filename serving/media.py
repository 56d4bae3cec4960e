"""Fetch an item from its URL. The URL is hostile: it may point inside, redirect there, never end, or unpack into gigabytes.

The name is resolved once for each connection, every address that it has is checked, and the connection goes to a checked address, so
that a resolver which answers differently the second time gains nothing. TLS still verifies the name.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import TypeAlias

import httpcore
import httpx

from candor.errors import CandorError, MediaForbidden, MediaTooLarge, MediaUnreachable
from serving.config import MediaSettings
from serving.media_addresses import Address, Hosts, literal, normal_host, standing

Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]  # a name and a port to addresses
Headers: TypeAlias = Mapping[str, str]
SocketOptions: TypeAlias = Iterable[httpcore.SOCKET_OPTION] | None

_AT_ONCE = 32  # fetches of one process; the rest wait, and their time does not run yet
_ADDRESSES = 8  # of one name that are tried
_IDLE_SECONDS = 5.0  # how long a connection is kept for the next item
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = ((b"Accept", b"*/*"), (b"Accept-Encoding", b"identity"), (b"User-Agent", b"candor"))


@dataclass(frozen=True, slots=True)
class Called:
    """What an address of another tool answered."""

    status: int
    body: bytes
    location: str | None = None
    retry_after: str | None = None


class MediaFetcher:
    """Fetches items, over one pool of connections. Belongs to one event loop; `close` it.

    `resolver` and `backend` (what connects to an address) are the system's, but for tests.
    """

    def __init__(
        self,
        settings: MediaSettings,
        max_bytes: int,
        *,
        resolver: Resolver | None = None,
        backend: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._settings = settings
        self._max_bytes = max_bytes
        self._allowed = Hosts(settings.allowed_hosts)
        self._places = asyncio.Semaphore(_AT_ONCE)
        # Threads of our own: names that resolve slowly must not hold up whatever else runs in threads.
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="candor-dns")
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_verified(),
            max_connections=_AT_ONCE,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=_CheckedBackend(
                resolver or self._resolve, Hosts(settings.private_hosts), settings.timeout_seconds, backend or httpcore.AnyIOBackend()
            ),
        )

    async def fetch(self, url: str, own: Headers = MappingProxyType({})) -> bytes:
        """Return the body behind a URL. `own` headers, such as a token, go to that URL's very host alone, wherever it redirects to.

        Raises:
            MediaForbidden: the scheme, the host or one of its addresses is not allowed, at first or after a redirect.
            MediaUnreachable: no such host, no connection, no whole answer in time, or a status other than 200.
            MediaTooLarge: the body is over the limit.
        """
        async with self._places:
            try:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    return await self._follow(url, own)
            except TimeoutError as error:
                raise MediaUnreachable(f"the item's URL gave no whole answer in {self._settings.timeout_seconds:g} s") from error

    async def call(self, method: str, url: str, headers: Headers, body: bytes | None = None, *, most: int | None = None) -> Called:
        """Call an address of another tool's API, checked as an item's is; no redirect is followed. `most` bytes of the answer are read.

        Raises:
            MediaForbidden: the scheme, the host or one of its addresses is not allowed.
            MediaUnreachable: no such host, no connection, or no whole answer in time.
            MediaTooLarge: the answer is larger than the limit of items.
        """
        target = self._permitted(url)
        async with self._places:
            try:
                async with (
                    asyncio.timeout(self._settings.timeout_seconds),
                    self._send(method.encode("ascii"), target, _named(headers), body) as response,
                ):
                    read = b"" if most == 0 else await self._read(response, most)
                    return Called(response.status, read, _header(response, b"location"), _header(response, b"retry-after"))
            except TimeoutError as error:
                raise MediaUnreachable(f"{target.host!r} gave no answer in {self._settings.timeout_seconds:g} s") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _follow(self, url: str, own: Headers) -> bytes:
        target = first = self._permitted(url)
        for _ in range(self._settings.redirects + 1):
            headers = (*_HEADERS, *(_named(own) if _origin(target) == _origin(first) else ()))
            async with self._send(b"GET", target, headers) as response:
                location = _header(response, b"location")
                if response.status not in _REDIRECTS or location is None:
                    return await self._body(target, response)
            target = self._permitted(_joined(target, location))
        raise MediaUnreachable(f"the item's URL redirects more than {self._settings.redirects} times")

    def _permitted(self, url: str) -> httpx.URL:
        """Return the URL in the form that is fetched, or refuse it. Its addresses are checked when it is connected to."""
        if url[:5].lower() == "data:":
            raise MediaForbidden("data: URLs are not fetched; send the bytes as `base64`")
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise MediaForbidden("the item's URL is not a valid http(s) URL") from error
        if parsed.scheme not in self._settings.schemes:
            raise MediaForbidden(f"the item's URL has scheme {parsed.scheme!r}; allowed: {', '.join(self._settings.schemes)}")
        if parsed.userinfo:
            raise MediaForbidden("the item's URL holds a user name or password; use a signed URL, or send the bytes as `base64`")
        if parsed.port is not None and not 0 < parsed.port < 65536:
            raise MediaForbidden(f"the item's URL has port {parsed.port}, which does not exist")
        host = normal_host(parsed)
        if self._allowed and host not in self._allowed:
            raise MediaForbidden(f"the host {host!r} is not among `media.allowed_hosts`")
        return parsed.copy_with(host=host, fragment=None)

    @asynccontextmanager
    async def _send(
        self, method: bytes, url: httpx.URL, headers: Sequence[tuple[bytes, bytes]], body: bytes | None = None
    ) -> AsyncIterator[httpcore.Response]:
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        try:
            async with self._pool.stream(
                method, target, headers=[(b"Host", url.netloc), *headers, *_length(body)], content=body
            ) as response:
                yield response
        except CandorError:
            raise
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise MediaUnreachable(f"{url.host!r} can't be reached, or its answer broke off ({type(error).__name__})") from error

    async def _body(self, url: httpx.URL, response: httpcore.Response) -> bytes:
        if response.status != 200:
            raise MediaUnreachable(f"{url.host!r} answered {response.status}")
        encoding = _header(response, b"content-encoding") or "identity"
        if encoding.lower() != "identity":
            raise MediaUnreachable(f"{url.host!r} answered with Content-Encoding {encoding[:40]!r}, which was not asked for")
        return await self._read(response, None)

    async def _read(self, response: httpcore.Response, most: int | None) -> bytes:
        stated = _header(response, b"content-length") or ""
        limit = self._max_bytes if most is None else min(most, self._max_bytes)
        too_large = MediaTooLarge(f"the item behind the URL is larger than {limit} bytes")
        if stated.isdecimal() and int(stated) > limit:
            raise too_large
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > limit:
                raise too_large
        return bytes(body)

    async def _resolve(self, host: str, port: int) -> list[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to a name through an address that was checked."""

    def __init__(self, resolver: Resolver, private: Hosts, seconds: float, inner: httpcore.AsyncNetworkBackend) -> None:
        self._resolver = resolver
        self._private = private
        self._seconds = seconds
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: SocketOptions = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check every address, and connect to the first that answers.

        Raises:
            MediaForbidden: one of the addresses is not allowed.
            MediaUnreachable: there is no address.
            httpcore.ConnectError: none of them answers.
        """
        failure: Exception = httpcore.ConnectError("no address")
        addresses = await self._checked(host, port)
        share = self._seconds / max(1, len(addresses))  # so that an address which swallows packets leaves time for the next
        for address in addresses:
            try:
                return await self._inner.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _checked(self, host: str, port: int) -> list[Address]:
        address = literal(host)
        if address is not None:
            addresses = [address]
        else:
            try:
                addresses = [ip_address(found) for found in await self._resolver(host, port)]
            except (OSError, UnicodeError) as error:
                raise MediaUnreachable(f"{host!r} has no address") from error
        for found in addresses:
            known = standing(found)
            if known == "forbidden" or (known == "private" and host not in self._private):
                raise MediaForbidden(f"{host!r} leads to an address that is not public")
        return addresses[:_ADDRESSES]


def _named(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


@cache
def _verified() -> ssl.SSLContext:
    """Return what verifies servers: certifi's authorities, and the system's, where an inside authority may be. Slow to make."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def _length(body: bytes | None) -> list[tuple[bytes, bytes]]:
    return [] if body is None else [(b"Content-Length", str(len(body)).encode())]


def _header(response: httpcore.Response, name: bytes) -> str | None:
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode("latin-1").strip()
    return None


def _joined(base: httpx.URL, location: str) -> str:
    try:
        return str(base.join(location))
    except (httpx.InvalidURL, UnicodeError) as error:
        raise MediaForbidden(f"{base.host!r} redirects to something that is not a URL") from error
