"""The client that awaits, against the real application over a real socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from client.answers import Review
from client.api import Client, DraftOptions, Item
from client.async_api import AsyncClient
from client.errors import Refused
from tests.unit.serving.served import Server

OPTIONS = DraftOptions("detection", project="streets")


async def test_a_project_from_its_first_gold_item_to_its_reviews(served: tuple[Server, str]) -> None:
    _, url = served
    async with AsyncClient(url) as candor:
        assert {model["task"] for model in await candor.models()} == {"detection", "classification", "transcription"}
        made = await candor.set_project("streets", {"model": "finder", "review": {}}, if_revision=0)
        with pytest.raises(Refused, match="conflict"):
            await candor.set_project("streets", {}, if_revision=0)
        assert [project["name"] async for project in candor.projects()] == ["streets"]
        names = [f"gold {i:04}" for i in range(1100)]  # more than a page has
        put = await candor.put_gold("streets", {name: {"boxes": [{"label": "cat", "xyxy": [1, 2, 3, 4]}]} for name in names})
        assert (put["added"], put["errors"][:1]) == (1100, [])
        assert [one["item"] async for one in candor.gold("streets")] == names
        assert await candor.remove_gold("streets", names[:1000]) == 1000
        items = [Item(f"img {i}", "image", data=b"%d" % i) for i in range(40)]
        drafts = [draft async for draft in candor.draft_items(items, OPTIONS, batch=8, jobs=3)]
        assert [draft["item"] for draft in drafts] == [item.id for item in items]
        now = datetime.now(UTC).isoformat()
        reviews: list[Review] = [
            {"event_id": draft["item"], "draft": draft["id"], "reviewer": "ann", "finished_at": now, "seconds": 3, "labels": []}
            for draft in drafts
        ]
        told = [one async for one in candor.report_all([*reviews, {"event_id": "none", "draft": "drf_0"}], batch=16, jobs=2)]
        assert [one["event_id"] for one in told] == [*(draft["item"] for draft in drafts), "none"]
        assert {one.get("status") for one in told[:-1]} == {"stored"}
        assert told[-1]["error"]["code"] == "invalid_request"
        assert [one["draft"] async for one in candor.draws("streets")]
        assert await candor.effect("streets")
        assert (await candor.project("streets"))["revision"] == made["revision"]


async def test_uploads_in_parts_webhooks_and_keys(served: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, url = served
    monkeypatch.setattr("client.uploads.LARGE", 2**20)
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(9 * 2**20))  # more than a part has
    async with AsyncClient(url) as candor:
        assert (await candor.upload(large)).startswith("upl_")
        small = tmp_path / "small.jpg"
        small.write_bytes(b"small")
        (draft,) = await candor.draft([Item("a", "image", upload=await candor.upload(small))], DraftOptions("detection"))
        assert (await candor.get_draft(draft["id"]))["labels"] == draft["labels"]
        made = await candor.create_webhook("https://hooks.example/candor", ["job.done"])
        assert made["secret"].startswith("whsec_")
        assert [one["id"] async for one in candor.webhooks()] == [made["id"]]
        sent = await candor.ping(made["id"])
        assert [one["id"] async for one in candor.deliveries(made["id"])] == [sent["id"]]
        assert (await candor.delivery(made["id"], sent["id"]))["event"] == "ping"
        await candor.delete_webhook(made["id"])
        key = await candor.create_key("mine", ["draft"])
        assert (await candor.revoke_key(key["id"]))["revoked_at"]
        actions = [entry["action"] async for entry in candor.audit()]
        assert any("key" in action for action in actions), actions
        assert await candor.jobs() == []


async def test_leaving_early_leaves_nothing_running(served: tuple[Server, str]) -> None:
    _, url = served
    async with AsyncClient(url) as candor:
        before = asyncio.all_tasks()
        items = (Item(str(i), "image", data=b"%d" % i) for i in range(10_000))
        async with aclosing(candor.draft_items(items, DraftOptions("detection"), batch=4, jobs=4)) as drafts:
            async for draft in drafts:
                assert draft["item"] == "0"
                break
        left = {task for task in asyncio.all_tasks() - before if "in_order_async" in repr(task.get_coro())}
        assert not left
        assert int(next(items).id) <= 4 * 4 * 4 + 2 * 4


@asynccontextmanager
async def telling(*answers: bytes) -> AsyncIterator[str]:
    """Something that answers each connection with the next of these bytes, and closes it."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0))
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert not left


@pytest.mark.parametrize("awaiting", [False, True])
async def test_a_connection_that_breaks_in_the_middle_and_a_gateway_that_is_busy(awaiting: bool) -> None:
    whole = b'{"models": []}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(whole)
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True).encode()
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % later
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    async with telling(head + whole[:5], head[:30], busy, b"", head + whole) as url:
        if awaiting:
            async with AsyncClient(url, wait=wait) as candor:
                assert await candor.models() == []
        else:
            with Client(url, wait=waits.append) as blocking:
                assert await asyncio.to_thread(blocking.models) == []
    assert len(waits) == 4
    assert 55 <= waits[2] <= 65
