"""What people try with keys, on the whole application in this process: each is turned away alike, and nothing of a key is written down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.access import Access
from serving.loading import install_all
from serving.metrics import exposition
from store import Store
from store.audit import OPERATOR
from store.teams import Teams
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.served import Server, image, is_problem, running

_BEARER = st.binary(max_size=200).map(lambda rest: b"Bearer " + rest)


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Server]:
    settings = with_keys(tmp_path, teams={"storage_bytes": 1_000})
    install_all(settings)
    async with running(settings) as server:
        yield server


async def status(server: Server, headers: list[tuple[bytes, bytes]]) -> int:
    """Send a request as bytes, as no client library would, and return the status of its answer."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v1/models", "raw_path": b"/v1/models", "query_string": b"", "headers": headers}
    await server.app(
        {**scope, "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "server": ("candor", 80)}, receive, send
    )
    found: int = sent[0]["status"]
    return found


async def test_garbage_in_the_headers_is_401(locked: Server) -> None:
    text = (await caller(locked, "streets", "draft"))["Authorization"].encode()
    key = text.removeprefix(b"Bearer ")
    wrong: list[list[tuple[bytes, bytes]]] = [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer " + b"x" * 10_240)],
        [(b"authorization", text + b"x" * 10_240)],
        [(b"authorization", "Bearer cdr_ключ".encode())],
        [(b"authorization", text + b"\xff")],
        [(b"authorization", text + b"\x00")],
        [(b"authorization", text.swapcase())],
        [(b"authorization", b"Basic " + key)],
        [(b"authorization", key)],
        [(b"authorization", text), (b"authorization", text)],
        [(b"authorization", text), (b"x-api-key", key)],
        [(b"x-api-key", key), (b"x-api-key", b"")],
        [(b"x-api-key", text)],
        [(b"authorization", text[:-1])],
        [(b"authorization", text[:-1] + (b"A" if text[-1:] != b"A" else b"B"))],
        [(b"authorization", b"Bearer cdr_' OR 1=1 --_" + b"s" * 43)],
    ]
    assert [await status(locked, headers) for headers in wrong] == [401] * len(wrong)
    assert await status(locked, [(b"authorization", text)]) == 200
    assert await status(locked, [(b"X-API-KEY".lower(), key)]) == 200


async def test_whatever_the_headers_are_it_is_401(locked: Server) -> None:
    loop = asyncio.get_running_loop()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key"]), st.binary(max_size=200) | _BEARER), max_size=4))
    def garbage(headers: list[tuple[bytes, bytes]]) -> None:
        assert asyncio.run_coroutine_threadsafe(status(locked, headers), loop).result(10) == 401

    await asyncio.to_thread(garbage)


async def test_nothing_of_a_key_is_logged_counted_or_stored(
    locked: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    header = await caller(locked, "default", "admin", "draft")
    made = (await locked.client.post("/v1/keys", headers=header, json={"name": "bot", "scopes": ["draft"]})).json()
    secrets = [header["Authorization"].split("_", 2)[2], made["key"].split("_", 2)[2]]
    for sent in (header, {"X-API-Key": made["key"]}, {"X-API-Key": made["key"] + "x"}, {"Authorization": made["key"]}):
        await locked.client.get("/v1/models", headers=sent)
        await locked.client.get("/v1/keys", headers=sent)
        await locked.draft([image("a")], headers=sent, task="detection")
    await locked.client.delete(f"/v1/keys/{made['id']}", headers=header)
    log = (await locked.client.get("/v1/audit", headers=header)).text
    captured = capfd.readouterr()
    told = captured.out + captured.err + caplog.text + log + exposition().decode()
    assert "/v1/keys" in told
    for folder in (tmp_path, tmp_path / "blobs"):
        told += b"".join(path.read_bytes() for path in folder.glob("*") if path.is_file()).decode("latin-1")
    assert made["id"] in told
    assert not [secret for secret in secrets if secret in told]


async def test_a_key_expires_to_the_second(locked: Server) -> None:
    now = datetime.now(UTC)
    teams = Teams(locked.services.store)
    _, text = await teams.add_key(OPERATOR, "default", "short", ["draft"], now + timedelta(hours=1))
    for seconds, valid in ((3_599, True), (3_600, False), (3_601, False)):
        locked.app.state.access = (locked.services, Access(teams, partial(now.__add__, timedelta(seconds=seconds))))
        answer = await locked.client.get("/v1/models", headers={"X-API-Key": text})
        assert answer.status_code == (200 if valid else 401)


async def test_another_process_lets_a_revoked_key_go_within_two_seconds(locked: Server) -> None:
    header = await caller(locked, "streets", "draft")
    key_id = "key_" + header["Authorization"].split("_")[1]
    assert (await locked.client.get("/v1/models", headers=header)).status_code == 200
    await Teams(locked.services.store).revoke(OPERATOR, "streets", key_id, keep_admin=False)  # as another process does
    start = asyncio.get_running_loop().time()
    while (await locked.client.get("/v1/models", headers=header)).status_code == 200:
        assert asyncio.get_running_loop().time() - start < 2.5
        await asyncio.sleep(0.05)


def sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


async def test_a_stream_beyond_the_quota_leaves_nothing(locked: Server, tmp_path: Path) -> None:
    header = await caller(locked, "streets", "draft", "admin")
    assert (await locked.client.post("/v1/uploads", headers=header, content=b"a" * 900)).status_code == 201

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"b" * 50

    is_problem(await locked.client.post("/v1/uploads", headers=header, content=body()), 403, "quota_exceeded")
    assert (await locked.client.get("/v1/teams/streets", headers=header)).json()["stored_bytes"] == 900
    assert sizes(tmp_path / "blobs") == [900]
    assert (await locked.client.post("/v1/uploads", headers=header, content=b"c" * 100)).status_code == 201
    is_problem(await locked.client.post("/v1/uploads", headers=header, content=b""), 403, "quota_exceeded")
    other = await caller(locked, "cells", "draft")
    assert (await locked.client.post("/v1/uploads", headers=other, content=b"d" * 100)).status_code == 201
    assert 'candor_refused_total{reason="quota_exceeded",team="streets"}' in (await locked.client.get("/metrics")).text


async def test_many_uploads_at_once_stay_within_the_quota(locked: Server) -> None:
    header = await caller(locked, "streets", "draft")

    async def upload(n: int) -> int:
        return (await locked.client.post("/v1/uploads", headers=header, content=bytes([n]) * 300)).status_code

    answers = await asyncio.gather(*(upload(n) for n in range(12)))
    assert set(answers) <= {201, 403}
    assert 403 in answers
    assert 201 in answers
    assert await Teams(locked.services.store).stored_bytes("streets") <= 1_000


async def test_without_keys_a_page_of_another_site_gets_nowhere(server_without_keys: Server) -> None:
    client = server_without_keys.client
    for origin, code in ((None, 200), ("http://candor", 200), ("https://evil.example", 403), ("null", 403)):
        headers = {} if origin is None else {"Origin": origin}
        assert (await client.get("/v1/models", headers=headers)).status_code == code


@pytest.fixture
async def server_without_keys(tmp_path: Path) -> AsyncIterator[Server]:
    settings = with_keys(tmp_path)
    settings = settings.model_copy(update={"server": settings.server.model_copy(update={"auth": "none"})})
    install_all(settings)
    async with running(settings) as server:
        yield server


async def test_while_the_database_is_gone_nobody_gets_in(locked: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    header = await caller(locked, "streets", "draft")

    async def gone(_self: Store, *_more: Any) -> Any:
        from candor.errors import StorageUnavailable  # noqa: PLC0415

        raise StorageUnavailable("gone", retry_after=1)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "read", gone)
        is_problem(await locked.client.get("/v1/models", headers=header), 503, "storage_unavailable")
    assert (await locked.client.get("/v1/models", headers=header)).status_code == 200
