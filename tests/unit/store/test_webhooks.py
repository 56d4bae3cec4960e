"""Webhooks and their deliveries: what happens is put down with it, claimed by one, tried again, given up, and replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from candor.errors import InvalidRequest, NotFound
from store import Store
from store.audit import Actor, entries
from store.calibrations import Calibrations
from store.deliveries import KEPT, LEASE, Claimed, Deliveries
from store.jobs import Jobs
from store.review_alarms import ReviewAlarms
from store.tool_tables import webhooks as table
from store.webhooks import EVENTS, MOST, Webhook, Webhooks

RED, BLUE = Actor("red", "key_1"), Actor("blue", "key_2")
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(store: Store, clock: Clock) -> Deliveries:
    return Deliveries(store, clock)


async def _made(store: Store, actor: Actor = RED, events: Sequence[str] = EVENTS, project: str | None = None) -> Webhook:
    return await Webhooks(store).add(actor, "https://example.org/hook?key=s3cret", events, project, "whsec_x")


async def _claimed(queue: Deliveries, of_each: int = 100, most: int = 100) -> list[Claimed]:
    return await queue.claim(lambda due: dict.fromkeys(due, of_each), most)


async def _heard(queue: Deliveries, webhook: Webhook) -> list[str]:
    return sorted(one.event for one in await queue.of_webhook(webhook.id))


async def _happens(store: Store) -> None:
    """A job is done and one fails, a reviewer's alarm is raised and cleared, and a calibration's is raised. Of team red, project street."""
    jobs = Jobs(store)
    for end in (jobs.finish, jobs.fail):
        job = await jobs.add("fit", {}, "red")
        assert await jobs.claim(job.id)
        assert await end(job.id, {"code": "internal"})
        assert not await end(job.id, {"code": "internal"})
    alarms = ReviewAlarms(store)
    alarm = await alarms.raise_once("red", "street", "sam", 9, {"says": "so"})
    assert alarm is not None
    assert await alarms.raise_once("red", "street", "sam", 9, {"says": "so"}) is None
    await alarms.clear(RED, "red", "street", alarm.id, "checked")
    assert await Calibrations(store).raise_alarm("yolo@1", "cal_1", {"reason": "too high"}) is not None


async def test_each_hears_what_it_asked_for_once(store: Store, queue: Deliveries) -> None:
    every, of_street, of_road = await _made(store), await _made(store, project="street"), await _made(store, project="road")
    of_jobs, deleted = await _made(store, events=["job.failed"]), await _made(store)
    others = await _made(store, BLUE)
    await Webhooks(store).delete(RED, deleted.id)
    await _happens(store)
    assert await _heard(queue, every) == sorted(set(EVENTS) - {"drafts.ready"})
    assert await _heard(queue, of_street) == ["alarm.cleared", "alarm.raised"]
    assert await _heard(queue, of_road) == await _heard(queue, deleted) == []
    assert await _heard(queue, of_jobs) == ["job.failed"]
    assert await _heard(queue, others) == ["calibration.alarm"]  # of the configuration's model, which all teams share
    told = {one.event: one.body for one in await queue.of_webhook(every.id)}
    assert told["job.failed"]["data"]["job"]["error"] == {"code": "internal"}
    assert told["alarm.raised"]["type"] == "alarm.raised"
    assert told["alarm.raised"]["data"]["alarm"]["evidence"] == {"says": "so"}
    assert told["calibration.alarm"]["data"]["reason"] == "too high"


async def test_what_is_undone_is_not_told(store: Store, queue: Deliveries) -> None:
    webhook = await _made(store)
    with pytest.raises(NotFound):
        await ReviewAlarms(store).clear(RED, "red", "street", "ral_none", "no")
    assert await _heard(queue, webhook) == []


async def test_a_delivery_is_claimed_once_until_its_lease_ends(store: Store, queue: Deliveries, clock: Clock) -> None:
    webhooks = [await _made(store), await _made(store)]
    for webhook in webhooks:
        for _ in range(3):
            await queue.ping(webhook)
    found = [one for some in await asyncio.gather(*(_claimed(queue, 2) for _ in range(4))) for one in some]
    assert len({one.delivery.id for one in found}) == len(found) == 6
    assert {one.delivery.attempts for one in found} == {1}
    clock.now += LEASE - timedelta(seconds=1)
    assert await _claimed(queue) == []
    clock.now += timedelta(seconds=1)  # whoever had them died
    again = await _claimed(queue, most=4)
    assert len(again) == 4
    assert {one.delivery.attempts for one in again} == {2}
    assert len(await _claimed(queue)) == 2


async def test_it_fails_waits_dies_and_is_replayed(store: Store, queue: Deliveries, clock: Clock) -> None:
    webhook = await _made(store)
    await queue.ping(webhook)
    (first,) = await _claimed(queue)
    await queue.failed(first.delivery, "it answered 500", 500, timedelta(minutes=5))
    (waiting,) = await queue.of_webhook(webhook.id, state="waiting")
    assert (waiting.status, waiting.error, waiting.next_at - clock.now) == (500, "it answered 500", timedelta(minutes=5))
    clock.now += timedelta(minutes=5)
    (second,) = await _claimed(queue)
    await queue.failed(first.delivery, "late", None, None)  # of an attempt that somebody else has taken over
    assert [one.id for one in await queue.of_webhook(webhook.id, state="waiting")] == [first.delivery.id]
    await queue.failed(second.delivery, "it answered 410", 410, None)
    (dead,) = await queue.of_webhook(webhook.id, state="dead")
    assert (dead.id, dead.attempts, await _claimed(queue)) == (first.delivery.id, 2, [])
    assert await queue.replay(RED, webhook.id) == 1
    (third,) = await _claimed(queue)
    assert (third.delivery.id, third.delivery.attempts) == (dead.id, 1)
    await queue.taken(third.delivery, 204)
    (delivered,) = await queue.of_webhook(webhook.id, state="delivered")
    assert (delivered.status, delivered.error) == (204, None)
    assert await queue.replay(RED, webhook.id) == 0
    assert await queue.replay(RED, webhook.id, dead.id) == 1  # the receiver lost it
    assert len(await _claimed(queue)) == 1
    logged = [one.action for one in await entries(store, "red", target=webhook.id)]
    assert logged == ["webhook.replayed", "webhook.replayed", "webhook.created"]


async def test_a_team_has_its_own_and_not_too_many(store: Store, queue: Deliveries) -> None:
    webhook = await _made(store)
    await queue.ping(webhook)
    webhooks = Webhooks(store)
    for attempt in (webhooks.get("blue", webhook.id), webhooks.delete(BLUE, webhook.id), webhooks.rotate(BLUE, webhook.id, "whsec_y")):
        with pytest.raises(NotFound):
            await attempt
    rotated = await webhooks.rotate(RED, webhook.id, "whsec_y")
    assert (rotated.secret, rotated.earlier_secret) == ("whsec_y", "whsec_x")
    assert "s3cret" not in repr(rotated)
    assert "whsec" not in repr(rotated)
    await webhooks.delete(RED, webhook.id)
    assert await _claimed(queue) == []
    assert [one.error for one in await queue.of_webhook(webhook.id, state="dead")] == ["the webhook was deleted"]
    for _ in range(MOST):
        await _made(store)
    with pytest.raises(InvalidRequest, match="delete one"):
        await _made(store)
    await _made(store, BLUE)


async def test_pages_go_back_in_time(store: Store, queue: Deliveries) -> None:
    webhook = await _made(store)
    made = [(await queue.ping(webhook)).id for _ in range(3)]
    page = await queue.of_webhook(webhook.id, limit=2)
    rest = await queue.of_webhook(webhook.id, after=page[-1].id)
    assert sorted(one.id for one in [*page, *rest]) == sorted(made)
    with pytest.raises(NotFound):
        await queue.get("whk_other", made[0])


async def test_what_was_delivered_is_forgotten_in_time_and_dead_ones_stay(store: Store, queue: Deliveries, clock: Clock) -> None:
    webhook, deleted = await _made(store), await _made(store)
    taken, dead, waiting = [(await queue.ping(webhook)).id for _ in range(3)]
    of_deleted = (await queue.ping(deleted)).id
    claimed = {one.delivery.id: one.delivery for one in await _claimed(queue)}
    await queue.taken(claimed[taken], 204)
    await queue.taken(claimed[of_deleted], 204)
    await queue.failed(claimed[dead], "it answered 410", 410, None)
    clock.now += KEPT
    assert await queue.prune() == 0
    clock.now += timedelta(seconds=1)
    assert await queue.prune() == 2
    assert [one.id for one in await queue.of_webhook(webhook.id)] == sorted([dead, waiting], reverse=True)
    await Webhooks(store, clock).delete(RED, webhook.id)
    assert await queue.prune() == 0
    clock.now += KEPT + timedelta(seconds=1)
    assert await queue.prune() == 2  # of a webhook that is deleted nobody can ask for any
    assert await queue.of_webhook(webhook.id) == []


async def test_a_deleted_webhook_keeps_no_secret(store: Store) -> None:
    webhook = await _made(store)
    await Webhooks(store).rotate(RED, webhook.id, "whsec_y")
    await Webhooks(store).delete(RED, webhook.id)
    (kept,) = await store.read(sa.select(table))
    assert (kept.secret, kept.earlier_secret) == ("", None)
