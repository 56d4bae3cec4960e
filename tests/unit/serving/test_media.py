from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpcore
import pytest

from candor.errors import CandorError, MediaForbidden, MediaTooLarge, MediaUnreachable
from serving.config import MediaSettings
from serving.media import MediaFetcher

PUBLIC, OTHER = "93.184.216.34", "2606:4700::1111"


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    fields = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return f"HTTP/1.1 {status}\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in fields.items()) + b"\r\n" + body


def moved(to: str) -> bytes:
    return answer("302 Found", Location=to)


class Stream(httpcore.AsyncMockStream):
    """Plays what a server says; keeps what it is told."""

    def __init__(self, chunks: list[bytes], said: list[bytes], names: list[str | None], *, endless: bool) -> None:
        super().__init__(chunks)
        self._said, self._names, self._endless = said, names, endless

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._said.append(buffer)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        chunk = await super().read(max_bytes)
        if not chunk and self._endless:
            await asyncio.Event().wait()
        return chunk

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        assert ssl_context.verify_mode == ssl.CERT_REQUIRED
        assert ssl_context.check_hostname
        self._names.append(server_hostname)
        return self


class Network(httpcore.AsyncNetworkBackend):
    """Names and servers. Each server gives its answers in order, one connection after the other."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {"example.org": [[PUBLIC]], "other.net": [[OTHER]]}
        self.servers: dict[str, list[list[bytes]]] = {}
        self.asked: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self.said: list[bytes] = []
        self.tls_names: list[str | None] = []
        self.endless = False

    def serve(self, address: str, *answers: bytes) -> None:
        self.servers.setdefault(address, []).extend([each] for each in answers)

    async def resolve(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.names:
            raise OSError("Name or service not known")
        answers = self.names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append((host, port))
        if not self.servers.get(host):
            raise httpcore.ConnectError("refused")
        return Stream(self.servers[host].pop(0), self.said, self.tls_names, endless=self.endless)


Make = Callable[..., MediaFetcher]


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
async def make(network: Network) -> AsyncIterator[Make]:
    made: list[MediaFetcher] = []

    def fetcher(max_bytes: int = 1000, **settings: Any) -> MediaFetcher:
        made.append(MediaFetcher(MediaSettings(**settings), max_bytes, resolver=network.resolve, backend=network))
        return made[-1]

    yield fetcher
    for each in made:
        await each.close()


async def refused(fetcher: MediaFetcher, url: str, kind: type[CandorError]) -> str:
    with pytest.raises(kind) as caught:
        await fetcher.fetch(url)
    assert type(caught.value) is kind
    return caught.value.detail


async def test_fetches_by_name_through_a_checked_address(make: Make, network: Network) -> None:
    network.serve(PUBLIC, answer(body=b"bytes"))
    assert await make().fetch("http://example.org:8080/a%20b.png?sig=1#part") == b"bytes"
    assert network.connected == [(PUBLIC, 8080)]
    request = b"".join(network.said)
    assert request.startswith(b"GET /a%20b.png?sig=1 HTTP/1.1\r\nHost: example.org:8080\r\n")
    assert b"Accept-Encoding: identity\r\n" in request


async def test_tls_verifies_the_name_and_not_the_address(make: Make, network: Network) -> None:
    network.serve(PUBLIC, answer(body=b"bytes"))
    assert await make().fetch("https://EXAMPLE.org./a") == b"bytes"
    assert network.connected == [(PUBLIC, 443)]
    assert network.tls_names == ["example.org"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://localhost/",
        "http://localhost./",
        "http://LOCALHOST/",
        "http://169.254.169.254/latest",
        "http://[fd00:ec2::254]/",
        "http://metadata.internal/",
        "http://10.0.0.1/",
        "http://[fe80::1]/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://0/",
        "http://[::]/",
        "http://100.64.0.1/",
        "http://sneaky.example/",
        "http:///x",
        "http://",
        "not a url",
        "//example.org/a",
        "http://example.org:99999/",
        "http://example.org:0/",
        "http://example.org:x/",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "gopher://example.org/",
        "http://user:pw@example.org/",
        "http://user@example.org/",
        "http://example.org\\@127.0.0.1/",
        "http://exa\nmple.org/",
        "data:image/png;base64,AAAA",
        "http://127.0.0.1.",
        "http://a..b/",
    ],
)
async def test_refuses_before_anything_is_connected(make: Make, network: Network, url: str) -> None:
    network.names |= {
        "localhost": [["127.0.0.1"]],
        "metadata.internal": [["169.254.169.254"]],
        "sneaky.example": [[PUBLIC, "10.1.2.3"]],  # one bad address among good ones
    }
    await refused(make(), url, MediaForbidden)
    assert network.connected == []


async def test_data_urls_say_what_to_send_instead(make: Make) -> None:
    assert "base64" in await refused(make(), "data:image/png;base64,AAAA", MediaForbidden)


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1/", "http://inside.example/", "//[::1]/", "ftp://example.org/", "http://u:p@example.org/", "data:,x", "http://[/"],
)
async def test_every_redirect_is_checked_anew(make: Make, network: Network, target: str) -> None:
    network.names["inside.example"] = [["192.168.0.1"]]
    network.serve(PUBLIC, moved(target))
    await refused(make(), "http://example.org/a", MediaForbidden)
    assert network.connected == [(PUBLIC, 80)]


async def test_follows_redirects_by_name_path_and_scheme(make: Make, network: Network) -> None:
    network.serve(PUBLIC, moved("/b"), moved("https://other.net/c"))
    network.serve(OTHER, answer(body=b"there"))
    assert await make().fetch("http://example.org/a") == b"there"
    assert network.connected == [(PUBLIC, 80), (PUBLIC, 80), (OTHER, 443)]
    assert [said.split(b" ")[1] for said in network.said if said.startswith(b"GET")] == [b"/a", b"/b", b"/c"]


async def test_counts_redirects(make: Make, network: Network) -> None:
    network.serve(PUBLIC, moved("/"), moved("/"), answer(body=b"end"), moved("/"), moved("/"), answer(body=b"end"))
    assert await make(redirects=2).fetch("http://example.org/") == b"end"
    assert "more than 1 times" in await refused(make(redirects=1), "http://example.org/", MediaUnreachable)


async def test_a_name_is_resolved_once_for_a_connection(make: Make, network: Network) -> None:
    network.names["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    network.serve(PUBLIC, answer(body=b"public"))
    assert await make().fetch("http://rebind.example/") == b"public"
    assert network.asked == ["rebind.example"]
    assert network.connected == [(PUBLIC, 80)]


async def test_a_new_connection_is_checked_anew(make: Make, network: Network) -> None:
    network.names["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    network.serve(PUBLIC, answer(body=b"public", Connection="close"))
    fetcher = make()
    await fetcher.fetch("http://rebind.example/")
    await refused(fetcher, "http://rebind.example/", MediaForbidden)
    assert network.connected == [(PUBLIC, 80)]


async def test_tries_the_next_address(make: Make, network: Network) -> None:
    network.names["example.org"] = [[OTHER, PUBLIC]]
    network.serve(PUBLIC, answer(body=b"bytes"))
    assert await make().fetch("http://example.org/") == b"bytes"
    assert network.connected == [(OTHER, 80), (PUBLIC, 80)]


async def test_private_hosts_may_be_private_and_nothing_else(make: Make, network: Network) -> None:
    network.names |= {"minio.internal": [["10.0.0.5"]], "db.internal": [["10.0.0.6"]]}
    network.serve("10.0.0.5", answer(body=b"stored"))
    fetcher = make(private_hosts=("minio.internal",))
    assert await fetcher.fetch("http://minio.internal:9000/b/k") == b"stored"
    for url in ("http://db.internal/", "http://10.0.0.5:9000/b/k", "http://x.minio.internal/"):
        network.names.setdefault("x.minio.internal", [["10.0.0.7"]])
        await refused(fetcher, url, MediaForbidden)
    await refused(make(private_hosts=("minio.internal",), allowed_hosts=("example.org",)), "http://minio.internal/", MediaForbidden)


async def test_a_private_host_is_never_a_metadata_service(make: Make, network: Network) -> None:
    network.names["minio.internal"] = [["169.254.169.254"]]
    await refused(make(private_hosts=("minio.internal",)), "http://minio.internal/", MediaForbidden)


async def test_allowed_hosts(make: Make, network: Network) -> None:
    network.names["cdn.example.org"] = [[PUBLIC]]
    network.serve(PUBLIC, answer(body=b"bytes"), moved("http://other.net/"))
    fetcher = make(allowed_hosts=("*.example.org",))
    assert await fetcher.fetch("http://cdn.example.org/") == b"bytes"
    await refused(fetcher, "http://example.org/", MediaForbidden)
    network.servers[PUBLIC] = [[moved("http://other.net/")]]
    await refused(make(allowed_hosts=("*.example.org",)), "http://cdn.example.org/", MediaForbidden)


async def test_schemes(make: Make) -> None:
    assert "https" in await refused(make(schemes=("https",)), "http://example.org/", MediaForbidden)


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "206 Partial Content", "304 Not Modified", "204 No Content"])
async def test_a_wrong_status_is_named_and_its_body_is_not(make: Make, network: Network, status: str) -> None:
    network.serve(PUBLIC, answer(status, b"secret of the inside"))
    detail = await refused(make(), "http://example.org/a?signature=secret", MediaUnreachable)
    assert status[:3] in detail
    assert "secret" not in detail


async def test_too_large_by_its_header(make: Make, network: Network) -> None:
    network.endless = True  # the body never comes: the header alone decides
    network.serve(PUBLIC, b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")
    await refused(make(max_bytes=1000), "http://example.org/", MediaTooLarge)


async def test_too_large_while_it_streams(make: Make, network: Network) -> None:
    network.endless = True
    chunks = [b"100\r\n" + b"x" * 256 + b"\r\n"] * 4
    network.servers[PUBLIC] = [[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks]]
    await refused(make(max_bytes=1000), "http://example.org/", MediaTooLarge)


async def test_exactly_the_limit_is_fine(make: Make, network: Network) -> None:
    network.serve(PUBLIC, answer(body=b"x" * 1000))
    assert len(await make(max_bytes=1000).fetch("http://example.org/")) == 1000


async def test_a_url_that_never_ends_is_stopped(make: Make, network: Network) -> None:
    network.endless = True
    network.serve(PUBLIC, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    async with asyncio.timeout(2):
        assert "0.01 s" in await refused(make(timeout_seconds=0.01), "http://example.org/", MediaUnreachable)


async def test_compressed_answers_are_refused(make: Make, network: Network) -> None:
    network.serve(PUBLIC, answer(body=b"\x1f\x8b", Content_Encoding="gzip"))
    assert "gzip" in await refused(make(), "http://example.org/", MediaUnreachable)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"\x00\x01 nonsense\r\n\r\n"])
async def test_a_broken_answer_is_unreachable(make: Make, network: Network, said: bytes) -> None:
    network.serve(PUBLIC, said)
    await refused(make(), "http://example.org/", MediaUnreachable)


async def test_no_such_host_and_no_server(make: Make) -> None:
    assert "no address" in await refused(make(), "http://nowhere.example/", MediaUnreachable)
    assert "example.org" in await refused(make(), "http://example.org/", MediaUnreachable)


async def test_ignores_proxies_of_the_environment(make: Make, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    network.serve(PUBLIC, answer(body=b"bytes"))
    assert await make().fetch("http://example.org/") == b"bytes"
    assert network.connected == [(PUBLIC, 80)]
