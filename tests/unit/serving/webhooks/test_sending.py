"""Signatures, waits, and who gets a place: what of the sender needs no receiver."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from candor.errors import InvalidRequest
from serving.config import MediaSettings
from serving.outgoing import LONGEST, Posted, Poster, Tending, retry_after
from serving.webhooks.asked import require_events, require_url
from serving.webhooks.sender import AT_ONCE, FAILING_AT_ONCE, PER_RECEIVER, Sender
from serving.webhooks.signing import EARLIER_COUNTS, headers, new_secret, signature
from store import Store
from store.audit import Actor
from store.deliveries import LEASE, Deliveries
from store.webhooks import EVENTS, Webhook, Webhooks

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_signature_is_that_of_the_standards_own_example() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_for_a_day_the_earlier_secret_counts_too() -> None:
    old, new = new_secret(), new_secret()
    webhook = Webhook("whk_1", "red", None, "https://example.org", [], new, old, NOW, "key_1", NOW, None)
    own, earlier = (signature(secret, "dlv_1", str(int(NOW.timestamp())), b"{}") for secret in (new, old))
    assert headers(webhook, "dlv_1", b"{}", NOW)["webhook-signature"] == f"{own} {earlier}"
    assert headers(webhook, "dlv_1", b"{}", NOW + EARLIER_COUNTS)["webhook-signature"].count("v1,") == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("Fri, 02 Jan 2026 00:01:00 GMT", 60),
        ("Fri, 02 Jan 2020 00:01:00 GMT", 0),
        ("9" * 400, LONGEST.total_seconds()),
        ("Fri, 02 Jan 9999 00:01:00 GMT", LONGEST.total_seconds()),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_receiver_asks_for_is_read(header: str | None, seconds: float | None) -> None:
    found = retry_after(header, NOW)
    assert (found and found.total_seconds()) == seconds if seconds else found == (None if seconds is None else timedelta())


async def test_waits_grow_by_chance_honour_the_receiver_and_end(store: Store) -> None:
    sender = Sender(store, MediaSettings.model_validate({}), chance=lambda low, high: low)
    failed = Posted(500, "it answered 500")
    assert [sender._again(attempts, failed) for attempts in (1, 2)] == [timedelta(seconds=8), timedelta(seconds=24)]
    assert sender._again(1, Posted(503, "busy", timedelta(minutes=1))) == timedelta(minutes=1)
    assert sender._again(3, Posted(503, "busy", timedelta(seconds=1))) == timedelta(seconds=72)
    assert sender._again(13, failed) is None
    assert sender._again(1, Posted(410, "it answered 410")) is None


async def test_who_fails_has_one_place_and_all_of_them_few(store: Store) -> None:
    sender = Sender(store, MediaSettings.model_validate({}))
    bad = [f"whk_{number}" for number in range(FAILING_AT_ONCE + 3)]
    sender._failing = set(bad)
    assert sender._places(["whk_good", *bad]) == {"whk_good": PER_RECEIVER, **dict.fromkeys(bad[:FAILING_AT_ONCE], 1)}


@pytest.mark.parametrize("url", ["example.org/hook", "ftp://example.org", "https://", "https://me:pw@example.org/", "https://[::1"])
def test_an_address_that_can_never_be_sent_to_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^url "):
        require_url(url, ("https", "http"))
    require_url("https://example.org/hook?key=1", ("https",))


def test_events_of_no_project_are_not_asked_for_with_one() -> None:
    require_events(["job.done"], None)
    require_events(["drafts.ready", "alarm.raised"], "street")
    with pytest.raises(InvalidRequest, match=r"^job\.done: "):
        require_events(["drafts.ready", "job.done"], "street")


async def test_what_breaks_counts_as_an_attempt(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    webhook = await Webhooks(store).add(Actor("red", "key_1"), "https://example.org/hook", EVENTS, None, "whsec_x")  # no base64
    queue, sender = Deliveries(store), Sender(store, MediaSettings.model_validate({}))
    made = await queue.ping(webhook)
    await sender.tend()
    await sender.settled()
    await sender.close()
    found = await queue.get(webhook.id, made.id)
    assert (found.state, found.attempts, found.error) == ("waiting", 1, "it could not be sent: Error")
    assert found.next_at < made.next_at + LEASE


async def test_half_a_character_is_sent_as_a_question_mark(store: Store) -> None:
    sent: list[bytes] = []

    class Taking(Poster):
        async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
            sent.append(body)
            return Posted(204, None)

    webhook = await Webhooks(store).add(Actor("red", "key_1"), "https://example.org/hook", EVENTS, None, new_secret())
    await Webhooks(store).announce("job.failed", "job_1", {"detail": "half \ud800"}, team="red")
    sender = Sender(store, MediaSettings.model_validate({}))
    sender._poster = Taking(MediaSettings.model_validate({}))
    await sender.tend()
    await sender.settled()
    assert [one.state for one in await Deliveries(store).of_webhook(webhook.id)] == ["delivered"]
    assert b'"half ?"' in sent[0]


async def test_a_queue_is_tended_on_after_something_broke() -> None:
    looked: list[int] = []

    async def tend() -> None:
        looked.append(1)
        if len(looked) == 1:
            tending.wake()
            raise RuntimeError("a bug")
        going_on.set()

    going_on = asyncio.Event()
    tending = Tending(tend, 60, "tests")
    tending.start()
    tending.wake()
    async with asyncio.timeout(5):
        await going_on.wait()
    await tending.close()


async def test_so_many_at_once_and_no_more(store: Store) -> None:
    class Hanging(Poster):
        async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
            await answered.wait()
            return Posted(204, None)

    answered = asyncio.Event()
    sender = Sender(store, MediaSettings.model_validate({}))
    sender._poster = Hanging(MediaSettings.model_validate({}))
    for _ in range(AT_ONCE // PER_RECEIVER + 1):
        webhook = await Webhooks(store).add(Actor("red", "key_1"), "https://example.org/hook", EVENTS, None, new_secret())
        for _ in range(PER_RECEIVER):
            await Deliveries(store).ping(webhook)
    assert [await sender.tend() for _ in range(2)] == [AT_ONCE, 0]
    answered.set()
    await sender.settled()
    assert await sender.tend() == PER_RECEIVER
    await sender.settled()
