"""The client that awaits: the same requests and tries as the plain one, and nothing that goes on after its caller has left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.answers import Draft
from client.api import Client, DraftOptions, Item
from client.async_api import AsyncClient
from client.errors import Refused, UnclearTask, Unreachable
from client.retries import Retries
from tests.unit.client.fake_registry import PART, FakeRegistry
from tests.unit.client.fake_server import FakeServer, item_error, problem
from tests.unit.client.test_bulk import OPTIONS, files

ITEMS = [Item(name, "image", data=name.encode()) for name in "abcdefghijkl"]
RESET = httpx.ReadError("reset")


class Holding:
    """A server that holds each request until it is let go, and knows who waits."""

    def __init__(self) -> None:
        self.inside = self.most = self.begun = 0
        self.go = asyncio.Event()

    def client(self) -> AsyncClient:
        return AsyncClient(transport=httpx.MockTransport(self.handle))

    async def handle(self, request: httpx.Request) -> httpx.Response:
        items = [item["id"] for item in json.loads(await request.aread())["items"]]
        self.begun += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.go.wait()
        finally:
            self.inside -= 1
        return httpx.Response(200, json={"drafts": [{"item": item} for item in items]})

    async def held(self, requests: int) -> None:
        async with asyncio.timeout(10):
            while self.inside < requests:
                await asyncio.sleep(0)


async def names(drafts: AsyncIterator[Draft]) -> list[str]:
    return [draft["item"] async for draft in drafts]


def alone() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_retry_is_the_same_request_with_the_same_key(tmp_path: Path) -> None:
    server = FakeServer(problem("rate_limited", 429, retryable=True, retry_after="7"), RESET, httpx.Response(502, text="<html>"))
    async with server.async_client(retries=Retries(draw=lambda: 0.0)) as candor:
        assert [draft["item"] for draft in await candor.draft_files(files(tmp_path, 2), OPTIONS)] == ["00.jpg", "01.jpg"]
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 1
    bodies = [body.replace(server_boundary(request), b"") for request, body in zip(server.requests, server.bodies, strict=True)]
    assert len(set(bodies)) == 1  # each time from its start
    assert bodies[0].count(b"x" * 10) == 2
    assert server.waits == [7.0, 1.0, 2.0]


def server_boundary(request: httpx.Request) -> bytes:
    return request.headers["Content-Type"].partition("boundary=")[2].encode()


async def test_what_will_not_pass_is_told() -> None:
    for fault in (problem("unknown_model", 404), problem("conflict", 409)):
        with pytest.raises(Refused):
            await FakeServer(fault).async_client().draft(ITEMS)
    with pytest.raises(Unreachable, match="no server answers"):
        await FakeServer(httpx.ConnectError("refused")).async_client().models()
    server = FakeServer(RESET, problem("conflict", 409))  # of its own earlier try
    assert len(await server.async_client().draft(ITEMS)) == len(ITEMS)


async def test_order_is_kept_and_no_more_than_jobs_run_at_once() -> None:
    server = Holding()
    async with server.client() as candor:
        drafted = asyncio.create_task(names(candor.draft_items(ITEMS, batch=2, jobs=3)))
        await server.held(3)
        for _ in range(50):
            await asyncio.sleep(0)
        assert (server.inside, server.begun) == (3, 3)
        server.go.set()
        assert await drafted == [item.id for item in ITEMS]
    assert server.most == 3


async def test_what_is_cancelled_leaves_nothing_running() -> None:
    server = Holding()
    async with server.client() as candor:
        drafted = asyncio.create_task(names(candor.draft_items(ITEMS, batch=1, jobs=4)))
        await server.held(4)
        drafted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drafted
        assert alone()
    assert (server.inside, server.begun) == (0, 4)


async def test_a_loop_that_is_left_early_ends_its_requests() -> None:
    server = FakeServer()
    held = asyncio.Event()

    async def handle(request: httpx.Request) -> httpx.Response:
        if b'"id":"a"' not in (await request.aread()).replace(b" ", b""):
            await held.wait()
        return server.handle(request)

    candor = AsyncClient(transport=httpx.MockTransport(handle))
    async with aclosing(candor.draft_items(ITEMS, batch=1, jobs=2)) as drafts:
        async for draft in drafts:
            assert draft["item"] == "a"
            break
    assert alone()
    assert len(server.requests) == 1


@pytest.mark.parametrize("awaited", [False, True])
async def test_items_are_taken_as_they_are_needed(awaited: bool) -> None:
    taken = 0

    def endless() -> Iterator[Item]:
        nonlocal taken
        while True:
            taken += 1
            yield Item(str(taken), "image", data=b"x")

    async def endless_later() -> AsyncIterator[Item]:
        for item in endless():
            yield item

    server = FakeServer()
    if awaited:
        async with aclosing(server.async_client().draft_items(endless_later(), batch=2, jobs=2)) as later:
            assert (await anext(later))["item"] == "1"
    else:
        drafts = server.client().draft_items(endless(), batch=2, jobs=2)
        assert next(drafts)["item"] == "1"
        drafts.close()  # type: ignore[attr-defined]
    assert taken <= 2 * 2 * 4 + 3


async def test_an_error_ends_the_others_and_what_came_before_is_there() -> None:
    server = Holding()

    async def handle(request: httpx.Request) -> httpx.Response:
        name = json.loads(await request.aread())["items"][0]["id"]
        if name == "a":
            return httpx.Response(200, json={"drafts": [{"item": "a"}]})
        return problem("unknown_model", 404) if name == "b" else await server.handle(request)

    drafts = AsyncClient(transport=httpx.MockTransport(handle)).draft_items(ITEMS, batch=1, jobs=3)
    assert (await anext(drafts))["item"] == "a"
    with pytest.raises(Refused, match="unknown_model"):
        await anext(drafts)
    assert server.inside == 0
    assert alone()


async def test_files_fail_alone_and_are_sent_again_alone(tmp_path: Path) -> None:
    def entry(item: str, tries: int) -> dict[str, Any]:
        return item_error(item, "worker_lost", retryable=True) if tries < 2 and item == "01.jpg" else {"item": item, "priority": tries}

    server = FakeServer(entry=entry, too_many=2)
    some = files(tmp_path, 5)
    some[2].path.unlink()
    drafts = [draft async for draft in server.async_client().draft_found(some, OPTIONS, batch=5)]
    assert [draft["item"] for draft in drafts] == [file.item for file in some]
    assert [draft.get("priority") for draft in drafts] == [1, 2, None, 1, 1]
    assert drafts[2]["error"]["code"] == "unreadable_file"


async def test_paths_are_drafted_by_the_models_task(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"x")
    candor = FakeServer().async_client()
    assert await names(candor.draft_paths([str(tmp_path)], DraftOptions(model="boxes"))) == [f"{tmp_path}/1.jpg"]
    with pytest.raises(UnclearTask):
        await names(candor.draft_paths([tmp_path]))


async def test_a_large_file_goes_in_parts_and_a_broken_connection_costs_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.uploads.LARGE", 2 * PART)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"m" * (2 * PART + 5))
    server, steps = FakeRegistry([(rf"PUT .*offset={PART}", RESET)]), list[str]()
    assert await server.async_client().upload(path, lambda step, _share: steps.append(step)) == "upl_1"
    assert server.received == path.read_bytes()
    assert len(server.asked) == 5
    assert (steps[0], steps[-1]) == ("hashing", "uploading")


async def test_a_model_is_registered_and_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(b"model")
    server = FakeRegistry()
    candor = server.async_client()
    version = await candor.wait_version(await candor.register("mine", path, {"schema": 1}))
    assert version["state"] == "ready"
    assert b"model" in server.form
    assert server.waits


def test_both_clients_can_do_the_same() -> None:
    def public(client: type) -> set[str]:
        return {name for name in dir(client) if not name.startswith("_")}

    assert public(Client) - public(AsyncClient) == {"send"}
    assert public(AsyncClient) - public(Client) == set()
