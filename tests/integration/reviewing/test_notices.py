"""Notices reach a receiver over HTTP, signed; go again where it fails; and never go to where items are not fetched from."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.config import MediaSettings
from serving.outgoing import wait
from serving.projects.body import ProjectBody
from serving.reviewing.alarms import look
from serving.reviewing.notices import Notifier, as_json, signature, signing_key
from store import Store, open_store
from store.projects import Projects
from store.review_alarms import ReviewAlarms
from tests.unit.serving.reviewing.stored import LEAD, OF, reviewed

INSIDE = MediaSettings.model_validate({"private_hosts": ("127.0.0.1",)})


@dataclass
class Receiver:
    """Somebody's web hook, who answers with the statuses that it is told."""

    statuses: list[int]
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        self.got.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(f"HTTP/1.1 {self.statuses.pop(0)} Told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver([])
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite+aiosqlite:///{tmp_path}/candor.db")
    yield opened
    await opened.close()


async def _alarmed(store: Store, receiver: Receiver, form: str = "candor") -> None:
    notify = [{"url": f"http://127.0.0.1:{receiver.port}/hook?token=s3cret", "form": form}]
    await Projects(store).put(LEAD, "street", ProjectBody.model_validate({"review": {"notify": notify}}).as_json())
    await reviewed(store, *["missed"] * 12)
    assert len(await look(store, *OF)) == 1


async def test_a_notice_is_signed_and_sent_once(store: Store, receiver: Receiver) -> None:
    await _alarmed(store, receiver)
    receiver.statuses = [204]
    notifier = Notifier(store, INSIDE)
    assert await notifier.tend() == 1
    assert await notifier.tend() == 0
    await notifier.close()
    ((headers, body),) = receiver.got
    key = await signing_key(store, *OF)
    expected = hmac.digest(key.encode(), headers["candor-timestamp"].encode() + b"." + body, "sha256").hex()
    assert headers["candor-signature"] == expected == signature(key, headers["candor-timestamp"], body)
    told = json.loads(body)
    assert (told["event"], told["alarm"]["reviewer"], told["id"]) == ("review_alarm.raised", "sam", headers["candor-notice"])
    (log,) = [as_json(one) for one in await ReviewAlarms(store).notices_of(*OF)]
    assert (log["state"], log["attempts"], log["host"]) == ("sent", 1, "127.0.0.1")


async def test_what_fails_goes_again_after_a_wait_also_by_another_process(store: Store, receiver: Receiver) -> None:
    await _alarmed(store, receiver, "slack")
    receiver.statuses = [500, 302, 200]
    settings, now = INSIDE, datetime.now(UTC)
    for later in (0, 60, 600):
        notifier = Notifier(store, settings)  # each time another process
        clock = now + timedelta(seconds=later)
        notifier._alarms = ReviewAlarms(store, lambda clock=clock: clock)  # type: ignore[misc]
        assert await notifier.tend() == 1
        assert await notifier.tend() == 0  # it waits
        await notifier.close()
    assert len(receiver.got) == 3
    assert "alarm about reviewer sam" in json.loads(receiver.got[0][1])["text"]
    assert "candor-signature" not in receiver.got[0][0]
    (log,) = [as_json(one) for one in await ReviewAlarms(store).notices_of(*OF)]
    assert (log["state"], log["attempts"]) == ("sent", 3)


async def test_private_addresses_are_not_told_unless_the_configuration_names_them(store: Store, receiver: Receiver) -> None:
    await _alarmed(store, receiver)
    notifier = Notifier(store, MediaSettings.model_validate({}))
    assert await notifier.tend() == 1
    await notifier.close()
    assert receiver.got == []
    (log,) = [as_json(one) for one in await ReviewAlarms(store).notices_of(*OF)]
    assert log["state"] == "waiting"
    assert "not public" in str(log["error"])
    assert "s3cret" not in json.dumps(log)


def test_waits_grow_and_end() -> None:
    waits = [wait(attempt) for attempt in range(1, 14)]
    assert waits[0] == timedelta(seconds=10)
    assert waits[1] == timedelta(seconds=30)
    assert waits[-1] is None
    assert timedelta(hours=20) < sum((one for one in waits if one), timedelta()) < timedelta(hours=36)
