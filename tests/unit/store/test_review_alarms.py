from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from candor.errors import Conflict, NotFound
from candor.ids import new_id
from serving.projects.body import ProjectBody
from serving.reviewing import alarms
from serving.reviewing.alarms import look
from serving.reviewing.notices import as_json, body_of
from serving.reviewing.people import People
from store import Store
from store.audit import Actor, entries
from store.gold import Gold
from store.judged import judged
from store.projects import Projects
from store.review_alarms import ReviewAlarms
from store.reviews import ReviewRow, Reviews
from tests.unit.serving.reviewing.stored import LEAD, OF, reviewed


async def test_an_alarm_is_raised_once_whoever_looks_and_stays(store: Store) -> None:
    await reviewed(store, *["missed"] * 12)
    await reviewed(store, *["caught"] * 12, reviewer="ann")
    found = await asyncio.gather(*(look(store, *OF, ["sam", "ann"]) for _ in range(4)))
    (alarm,) = (one for some in found for one in some)
    assert (alarm.reviewer, alarm.open, alarm.honeypots) == ("sam", True, alarm.evidence["at"])
    assert alarm.evidence["misses"] == alarm.evidence["n"] == len(alarm.evidence["missed"])
    assert alarm.evidence["missed"][0]["item"] == "sam0"
    assert alarm.evidence["missed"][0]["planted"]["truth"] == {"label": "cat"}
    await reviewed(store, *["caught"] * 30, start=12)  # nothing that comes later takes it back
    assert await look(store, *OF) == []
    assert [one.id for one in await ReviewAlarms(store).of_project(*OF, only_open=True)] == [alarm.id]
    assert await ReviewAlarms(store).of_project("blue", "street") == []


async def test_a_review_that_comes_late_raises_no_second_alarm(store: Store) -> None:
    await reviewed(store, *["missed"] * 12)
    assert len(await look(store, *OF)) == 1
    await reviewed(store, *["missed"] * 3, start=-3)
    assert await look(store, *OF) == []
    assert len(await ReviewAlarms(store).of_project(*OF)) == 1


async def test_what_was_taken_back_or_corrected_counts_no_more(store: Store) -> None:
    rows = await reviewed(store, *["missed"] * 12)
    gone: list[dict[str, Any]] = [{"deleted": True}] * 6
    mended: list[dict[str, Any]] = [{"arm": "honeypot", "verdict": "corrected", "caught": "caught"}] * 6
    changed = [
        ReviewRow(*OF, one.event_id, one.draft, one.item, "sam", one.finished_at, new_id("f"), **how)
        for one, how in zip(rows, gone + mended, strict=True)
    ]
    await Reviews(store).add(changed)
    assert [one.caught for one in await judged(store, *OF)] == ["caught"] * 6
    assert await look(store, *OF) == []


async def test_gold_that_was_corrected_takes_its_honeypots_out(store: Store) -> None:
    rows = await reviewed(store, *["missed"] * 12)
    await Gold(store).put(LEAD, "street", {one.item: {"label": "dog"} for one in rows})
    assert await look(store, *OF) == []


async def test_clearing_spends_the_evidence_and_keeps_who_and_why(store: Store) -> None:
    await reviewed(store, *["missed"] * 12, start=-60)
    (alarm,) = await look(store, *OF)
    cleared = await alarms.clear(store, LEAD, "street", alarm.id, "the screen was broken")
    assert (cleared.open, cleared.cleared_by, cleared.reason) == (False, "key_1", "the screen was broken")
    assert [one.target for one in await entries(store, "red", action="review_alarm.cleared")] == [alarm.id]
    assert await look(store, *OF) == []  # what was finished before is spent
    with pytest.raises(Conflict, match="the screen was broken"):
        await alarms.clear(store, LEAD, "street", alarm.id, "again")
    for team, project in (("blue", "street"), ("red", "other")):
        with pytest.raises(NotFound):
            await alarms.clear(store, Actor(team, "k"), project, alarm.id, "mine")
    await reviewed(store, *["missed"] * 12, start=60)
    (second,) = await look(store, *OF)
    assert second.honeypots > 12
    assert second.evidence["missed"][0]["item"] == "sam60"


async def test_what_becomes_of_a_reviewer_is_the_projects_policy(store: Store) -> None:
    people = People(store)
    await reviewed(store, *["missed"] * 12)
    await look(store, *OF)
    for policy, expected in (("notify", (False, False)), ("withhold", (True, False)), ("second_review", (False, True))):
        body = ProjectBody.model_validate({"review": {"on_alarm": policy}}).as_json()
        await Projects(store).put(LEAD, "street", body)
        asked = [(await people.withheld_for(*OF, name), await people.second_review_for(*OF, name)) for name in ("sam", "ann")]
        assert asked == [expected, (False, False)]
    await Reviews(store).merge(LEAD, "street", "sam", "samuel")  # a new name is no way out
    assert await people.second_review_for(*OF, "samuel")
    assert await look(store, *OF) == []


async def test_the_screen_reads_only_what_is_new_and_is_the_same_after_a_restart(store: Store) -> None:
    people = People(store)
    assert not await people.raised(*OF, "sam")
    await reviewed(store, *["missed"] * 7)
    assert await people.raised(*OF, "sam")
    assert not await people.raised(*OF, "ann")
    await reviewed(store, None, "caught", start=7)
    kept, anew = await people.screen(*OF, "sam"), await People(store).screen(*OF, "sam")
    assert kept.reviews == anew.reviews == 9
    assert kept.raised
    assert kept.left == anew.left


async def test_notices_are_put_down_with_the_alarm_and_taken_by_one_sender(store: Store) -> None:
    receivers = [{"url": "https://hooks.example/candor"}, {"url": "https://chat.example/s3cret", "form": "slack"}]
    body = ProjectBody.model_validate({"review": {"notify": receivers}}).as_json()
    await Projects(store).put(LEAD, "street", body)
    await reviewed(store, *["missed"] * 12, reviewer="<sam>")
    (alarm,) = await look(store, *OF)
    queue = ReviewAlarms(store)
    taken = await asyncio.gather(*(queue.due() for _ in range(3)))
    candor, slack = sorted((one for some in taken for one in some), key=lambda one: one.form)
    assert body_of(candor)["alarm"]["id"] == alarm.id
    assert "&lt;sam&gt;" in body_of(slack)["text"]
    await queue.told(candor.id)
    await queue.told(slack.id, "it answered 500", timedelta(0))
    (again,) = await queue.due()
    assert (again.id, again.attempts) == (slack.id, 1)
    await queue.told(again.id, "it answered 500")
    assert await queue.due() == []
    told = {one["form"]: one for one in map(as_json, await queue.notices_of(*OF))}
    assert (told["candor"]["state"], told["slack"]["state"], told["slack"]["host"]) == ("sent", "given up", "chat.example")
    assert "s3cret" not in str(told)
