"""Webhooks reach a receiver over HTTP on both databases: again where it fails, once each of two servers, also after one was killed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serving.config import MediaSettings
from serving.webhooks.sender import PER_RECEIVER, Sender
from serving.webhooks.signing import new_secret
from store import Store, open_store
from store.audit import OPERATOR
from store.deliveries import LEASE, Deliveries, Delivery
from store.jobs import Jobs
from store.webhooks import EVENTS, Webhook, Webhooks
from tests.integration.webhooks.receiving import HANG, Receiver, receiving

ROOT = Path(__file__).resolve().parents[3]
INSIDE = MediaSettings.model_validate({"private_hosts": ("127.0.0.1",), "timeout_seconds": 10})
IMPATIENT = INSIDE.model_copy(update={"timeout_seconds": 5.0})


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/candor.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await open_store(url)
    yield opened
    await opened.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


class Clock:
    """Ahead of the rows' own, so that what a test puts down is due."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC) + timedelta(minutes=1)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def _made(store: Store, receiver: Receiver, path: str) -> Webhook:
    return await Webhooks(store).add(OPERATOR, receiver.url(path), EVENTS, None, new_secret())


async def _pinged(store: Store, receiver: Receiver, path: str, times: int = 1) -> Webhook:
    webhook = await _made(store, receiver, path)
    for _ in range(times):
        await Deliveries(store).ping(webhook)
    return webhook


async def _sent(sender: Sender) -> int:
    """Send until nothing is due that has a place; return how many attempts that took."""
    tried = 0
    while number := await sender.tend():
        tried += number
        await sender.settled()
    return tried


async def _only(store: Store, webhook: Webhook) -> Delivery:
    (found,) = await Deliveries(store).of_webhook(webhook.id)
    return found


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
async def test_it_fails_twice_then_it_is_taken(store: Store, receiver: Receiver, clock: Clock) -> None:
    webhook = await _made(store, receiver, "/hook?a=1")
    jobs = Jobs(store)
    job = await jobs.add("fit", {})
    assert await jobs.claim(job.id)
    assert await jobs.finish(job.id, {"figures": 1})
    receiver.answers["/hook?a=1"] = [(500, ""), (503, "Retry-After: 600\r\n")]
    for later in (0, 15, 599, 2):  # the third time the receiver has not said so yet
        clock.now += timedelta(seconds=later)
        sender = Sender(store, INSIDE, clock)  # each time another server
        await _sent(sender)
        assert await _sent(sender) == 0
        await sender.close()
    assert len(receiver.got) == 3
    assert all(one.signed_with(webhook.secret) for one in receiver.got)
    assert not receiver.got[0].signed_with(new_secret())
    assert len({one.headers["webhook-id"] for one in receiver.got}) == 1
    assert int(receiver.got[0].headers["webhook-timestamp"]) < int(clock.now.timestamp())
    told = receiver.got[-1].told
    assert (told["type"], told["data"]["job"]["id"], told["data"]["job"]["state"]) == ("job.done", job.id, "done")
    found = await _only(store, webhook)
    assert (found.state, found.attempts, found.status, found.error) == ("delivered", 3, 204, None)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_what_receivers_answer_is_told_in_the_list(store: Store, receiver: Receiver, clock: Clock) -> None:
    receiver.answers |= {"/gone": [(410, "")], "/moved": [(302, f"Location: {receiver.url('/other')}\r\n")]}
    gone, moved = await _pinged(store, receiver, "/gone"), await _pinged(store, receiver, "/moved")
    closed = await Webhooks(store).add(OPERATOR, "http://127.0.0.1:9/s3cret", EVENTS, None, new_secret())
    await Deliveries(store).ping(closed)
    sender = Sender(store, INSIDE, clock)
    assert await _sent(sender) == 3
    await sender.close()
    assert {one.path for one in receiver.got} == {"/gone", "/moved"}
    found = [await _only(store, webhook) for webhook in (gone, moved, closed)]
    assert [(one.state, one.status) for one in found] == [("dead", 410), ("waiting", 302), ("waiting", None)]
    assert "redirects are not followed" in str(found[1].error)
    assert "can't be reached" in str(found[2].error)
    assert "s3cret" not in str(found[2].error)
    outside = Sender(store, MediaSettings.model_validate({}), clock)
    assert await Deliveries(store).replay(OPERATOR, gone.id) == 1
    clock.now += timedelta(seconds=5)
    assert await _sent(outside) == 1
    await outside.close()
    assert "not public" in str((await _only(store, gone)).error)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_one_that_hangs_holds_up_nobody_else(store: Store, receiver: Receiver, clock: Clock) -> None:
    receiver.answers["/hangs"] = [(HANG, "")] * 20
    hangs = await _pinged(store, receiver, "/hangs", 20)
    good = await _pinged(store, receiver, "/good", 20)
    sender = Sender(store, IMPATIENT, clock)
    start = asyncio.get_running_loop().time()
    async with asyncio.timeout(20):
        while len(receiver.at("/good")) < 20:
            await sender.tend()
            await asyncio.sleep(0.01)
    assert asyncio.get_running_loop().time() - start < 5.0  # before the first that hangs was given up
    assert len(receiver.at("/hangs")) == PER_RECEIVER
    await sender.settled()
    assert await sender.tend() == 1  # one place for a receiver whose last answer was none
    await sender.close()
    assert "gave no answer in 5 s" in str((await Deliveries(store).of_webhook(hangs.id, state="waiting"))[-1].error)
    assert len(await Deliveries(store).of_webhook(good.id, state="delivered")) == 20


async def test_of_four_servers_that_claim_at_once_one_gets_each(url: str, store: Store, receiver: Receiver, clock: Clock) -> None:
    await _pinged(store, receiver, "/hook", 20)
    stores = [store, *[await open_store(url) for _ in range(3)]]
    found: list[str] = []
    while any(got := await asyncio.gather(*(Deliveries(one, clock).claim(lambda due: dict.fromkeys(due, 1), 1) for one in stores))):
        found += [one.delivery.id for some in got for one in some]
    for one in stores[1:]:
        await one.close()
    assert len(found) == len(set(found)) == 20


async def test_of_two_servers_one_sends_each(url: str, store: Store, receiver: Receiver, clock: Clock) -> None:
    webhooks = [await _pinged(store, receiver, f"/{number}", 15) for number in range(3)]
    other = await open_store(url)
    senders = [Sender(one, INSIDE, clock) for one in (store, other)]
    await asyncio.gather(*(_sent(sender) for sender in senders))
    await asyncio.gather(*(_sent(sender) for sender in senders))
    for sender in senders:
        await sender.close()
    await other.close()
    assert len({one.headers["webhook-id"] for one in receiver.got}) == len(receiver.got) == 45
    assert receiver.most_open <= 2 * 3 * PER_RECEIVER
    for webhook in webhooks:
        assert len(await Deliveries(store).of_webhook(webhook.id, state="delivered")) == 15


# A server that sends what is due, and waits for its receiver.
SENDS = """
import asyncio, json, sys
from serving.config import MediaSettings
from serving.webhooks.sender import Sender
from store import open_store

async def main(url, media):
    store = await open_store(url)
    sender = Sender(store, MediaSettings.model_validate(json.loads(media)))
    await sender.tend()
    await sender.settled()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_a_killed_server_was_sending_comes_free(url: str, store: Store, receiver: Receiver, clock: Clock) -> None:
    webhook = await _pinged(store, receiver, "/hook")
    receiver.answers["/hook"] = [(HANG, "")]
    media: dict[str, Any] = {"private_hosts": ["127.0.0.1"]}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SENDS, url, json.dumps(media), cwd=ROOT)
    try:
        async with asyncio.timeout(60):
            await receiver.hung.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    sender = Sender(store, INSIDE, clock)
    assert await _sent(sender) == 0  # it is claimed still
    clock.now += LEASE
    assert await _sent(sender) == 1
    await sender.close()
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    found = await _only(store, webhook)
    assert (found.state, found.attempts) == ("delivered", 2)
