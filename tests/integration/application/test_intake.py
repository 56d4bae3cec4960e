"""`POST /v1/reviews`: verdicts of what was shown, streams by arm, revisions, and nothing that tells an arm."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from calibration.streams import STREAMS
from candor.errors import Conflict
from candor.manifest import Manifest
from serving.api.review_schemas import ReviewBody
from serving.api.reviews import MOST
from serving.reviewing import intake
from store.audit import OPERATOR
from store.gold import Gold
from store.outcomes import Outcome, Outcomes
from store.reviews import ReviewRow, Reviews
from store.tables import outcomes as outcome_table
from store.tables import withdrawals
from tests.unit.serving.calibrations.drafted import manifest_of
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.reviewing.drawn import drafted, drew, reviewed, save
from tests.unit.serving.served import Server, audio, image, is_problem, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def site(steady: Server) -> Server:
    return steady


@pytest.fixture
def namer(steady: Server) -> Manifest:
    return manifest_of(steady.services.settings, "namer")


async def post(site: Server, *entries: Any, **headers: Any) -> list[dict[str, Any]]:
    answer = await site.client.post("/v1/reviews", json={"reviews": list(entries)}, **headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["reviews"]
    return found


async def rows(site: Server, project: str, **more: Any) -> list[ReviewRow]:
    return await Reviews(site.services.store).current("default", project, **more)


async def told(site: Server, *drafts: str) -> list[Outcome]:
    """The outcomes of these drafts that count, by draft."""
    found = []
    for version in {one.model_version for one in (await Outcomes(site.services.store).drafts(drafts)).values()}:
        found += await Outcomes(site.services.store).of_version(version, STREAMS)
    return sorted((one for one in found if one.draft in drafts), key=lambda one: drafts.index(one.draft))


async def test_real_drafts_of_every_task_are_reviewed(site: Server) -> None:
    (boxes,) = await site.drafts([image("a")], project="real")
    (words,) = await site.drafts([audio("b", b'{"units": 3}')], "/v1/transcription/drafts", project="real")
    (name,) = await site.drafts([image("c")], "/v1/classification/drafts", project="real")
    found = await post(
        site,
        reviewed(boxes["id"], event="r1", labels=boxes["labels"]),
        reviewed(boxes["id"], event="r2", labels=boxes["labels"][:1]),
        reviewed(words["id"], event="r3", labels=..., text="word0 other word2"),
        reviewed(words["id"], event="r4", labels=..., segments=words["segments"]),
        reviewed(name["id"], event="r5", labels=name["labels"]),
        reviewed(name["id"], event="r6", labels=[]),
        reviewed(name["id"], event="r7", labels=..., skipped=True),
    )
    assert [one["verdict"] for one in found] == ["accepted", "corrected", "corrected", "accepted", "accepted", "rejected", None]
    assert [(one["status"], one["counts"], one["note"]) for one in found] == [("stored", True, None)] * 7
    kept = {row.event_id: row for row in await rows(site, "real")}
    assert (kept["r2"].final, kept["r7"].final, kept["r7"].skipped) == ({"boxes": _plain(boxes["labels"][:1])}, None, True)
    assert [edit["kind"] for edit in kept["r2"].edits or ()] == ["kept", "deleted"]
    assert (kept["r3"].final, kept["r3"].seconds, kept["r3"].item) == ({"text": "word0 other word2"}, 2.5, "b")
    assert {one.stream for one in await told(site, boxes["id"], words["id"], name["id"])} == {"review"}


def _plain(labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: label[name] for name in ("label", "xyxy")} for label in labels]


async def test_each_arm_says_what_it_may_of_the_model_and_the_answer_tells_none(site: Server, namer: Manifest) -> None:
    store, names = site.services.store, ("assisted", "withheld", "gold", "pot", "natural", "late")
    plain, hidden, golden, pot, natural, late = (drafted(namer, name, "arms") for name in names)
    drawn = [
        drew(plain),
        drew(hidden, "withheld", propensity=0.125),
        drew(golden, gold=True),
        drew(pot, "honeypot", natural, item="pot"),
        drew(late),
    ]
    await save(store, plain, hidden, golden, pot, natural, late, *drawn)
    await Gold(store).put(OPERATOR, "arms", {"gold": {"label": "dog"}, "pot": {"label": "dog"}, "late": {"label": "dog"}})
    shown = (plain, hidden, golden, pot, late)
    found = await post(site, *(reviewed(one) for one in shown))
    assert {tuple(one) for one in found} == {("event_id", "id", "draft", "item", "status", "counts", "verdict", "second_review", "note")}
    # an empty draft that is filled was corrected, whether honestly empty or withheld
    assert [one["verdict"] for one in found] == ["accepted", "corrected", "accepted", "accepted", "accepted"]
    kept = {row.item: (row.arm, row.caught) for row in await rows(site, "arms")}
    assert kept == {
        "assisted": ("assisted", None),
        "withheld": ("withheld", None),
        "gold": ("assisted", None),
        "pot": ("honeypot", "missed"),
        "late": ("assisted", None),
    }
    outcomes = await told(site, *(one.id for one in shown), natural.id)
    assert [(one.stream, one.correct, one.propensity) for one in outcomes] == [
        ("review", True, 1.0),
        ("blind", True, 0.125),
        ("gold", False, 1.0),  # by the gold label, not the reviewer's
        ("honeypot", True, 1.0),
        ("review", True, 1.0),  # it was not gold when it was drawn: somebody may have chosen it for its draft
        ("gold", False, 1.0),  # the honeypot's natural twin, which nobody saw
    ]
    # a second reviewer of the gold item says nothing new of the model
    await post(site, reviewed(golden, "dog", "second", reviewer="ben"))
    assert [one.source for one in await told(site, golden.id)] == [outcomes[2].source]


async def test_honeypots_are_judged_by_their_error(site: Server, namer: Manifest) -> None:
    pots = [drafted(namer, f"p{n}", "pots") for n in range(3)]
    await save(site.services.store, *pots, *(drew(one, "honeypot") for one in pots))
    await post(site, reviewed(pots[0], "dog"), reviewed(pots[1], "cat"), reviewed(pots[2], None))
    assert [row.caught for row in sorted(await rows(site, "pots"), key=lambda row: row.item)] == ["caught", "missed", "noticed"]


async def test_an_open_alarm_asks_for_a_second_review_where_that_is_the_policy(site: Server, namer: Manifest) -> None:
    store, pots = site.services.store, [drafted(namer, f"s{n}", "stamped") for n in range(12)]
    await site.client.put("/v1/projects/stamped", json={"review": {"on_alarm": "second_review"}})
    await Gold(store).put(OPERATOR, "stamped", {one.item: {"label": "dog"} for one in pots})
    await save(store, *pots, *(drew(one, "honeypot", at=datetime.now(UTC)) for one in pots))
    found = await post(site, *(reviewed(one, minute=minute) for minute, one in enumerate(pots)))
    assert {one["second_review"] for one in found} == {True}
    (other,) = await post(site, reviewed(pots[0], "dog", "ben's", reviewer="ben"))
    assert other["second_review"] is False


async def test_a_correction_of_gold_judges_anew_and_a_removal_takes_back(site: Server, namer: Manifest) -> None:
    golden = drafted(namer, "g", "regild")
    await save(site.services.store, golden, drew(golden, gold=True))
    await site.client.put("/v1/projects/regild", json={"labels": ["cat", "dog"], "label_map": {"cat": "cat", "dog": "dog"}})

    async def gild(label: str) -> dict[str, Any]:
        answer = await site.client.post("/v1/projects/regild/gold", json={"items": [{"item": "g", "truth": {"label": label}}]})
        return dict(answer.json())

    assert await gild("cat") == {"added": 1, "corrected": 0, "unchanged": 0, "errors": []}
    await post(site, reviewed(golden))
    assert [one.correct for one in await told(site, golden.id)] == [True]
    assert (await gild("DOG"))["corrected"] == 1
    assert [(one.stream, one.correct) for one in await told(site, golden.id)] == [("gold", False)]
    assert (await site.client.delete("/v1/projects/regild/gold", params={"item": "g"})).json() == {"removed": 1}
    assert await told(site, golden.id) == []


async def test_revisions_replace_each_other_and_what_they_said(site: Server, namer: Manifest) -> None:
    hidden = drafted(namer, "a", "revised")
    await save(site.services.store, hidden, drew(hidden, "withheld"))
    first, second, third = (reviewed(hidden, label, "one", minute) for label, minute in (("cat", 1), ("dog", 2), ("cat", 3)))
    assert [one["status"] for one in await post(site, first, second, first, second)] == ["stored", "stored", "already", "already"]
    assert [(one.correct, one.source) for one in await told(site, hidden.id)] == [(False, "candor:review:one#2")]
    (late,) = await post(site, reviewed(hidden, "cat", "one", 1.5))
    assert (late["status"], late["counts"]) == ("stored", False)
    assert [one.correct for one in await told(site, hidden.id)] == [False]
    await post(site, third)
    assert [one.correct for one in await told(site, hidden.id)] == [True]
    gone = {"event_id": "one", "deleted": True}
    assert [one["status"] for one in await post(site, gone, gone)] == ["stored", "already"]
    assert (await rows(site, "revised"), await told(site, hidden.id)) == ([], [])
    (back,) = await post(site, reviewed(hidden, "dog", "one", finished_at=datetime.now(UTC).isoformat()))
    assert back["counts"]
    assert [one.correct for one in await told(site, hidden.id)] == [False]


@pytest.mark.parametrize("seed", range(4))
async def test_the_same_events_in_any_order_and_any_parts_give_the_same_state(site: Server, namer: Manifest, seed: int) -> None:
    rng, project = random.Random(seed), f"order{seed}"  # noqa: S311 - a test repeats itself
    drafts = [drafted(namer, f"{seed}-{n}", project) for n in range(6)]
    arms = ["withheld", "assisted", "honeypot"] * 2
    await save(site.services.store, *drafts, *(drew(one, arm) for one, arm in zip(drafts, arms, strict=True)))
    events = []
    for number, one in enumerate(drafts):
        for minute in range(rng.randint(1, 4)):
            gone = {"deleted": True, "labels": ...} if rng.random() < 0.2 else {}
            skipped = {"skipped": True, "labels": ...} if not gone and rng.random() < 0.2 else {}
            label = rng.choice(["cat", "dog", None])
            events.append(reviewed(one, label, f"{project}-{number}", minute, **gone, **skipped, reviewer=rng.choice(["ann", "ben"])))
    last = {one["event_id"]: one for one in events}  # minutes go up
    sent = events + rng.choices(events, k=5)
    rng.shuffle(sent)
    while sent:
        part = rng.randint(1, 7)
        await post(site, *sent[:part])
        sent = sent[part:]
    expected = {
        name: (one["reviewer"], one.get("skipped", False), None if one.get("skipped") else {"label": _label(one)}, one["finished_at"])
        for name, one in last.items()
        if not one.get("deleted")
    }
    found = await rows(site, project)
    assert {row.event_id: (row.reviewer, row.skipped, row.final, row.finished_at.isoformat()) for row in found} == expected
    judged = {one.draft: one for one in await told(site, *(one.id for one in drafts))}
    live = {row.draft: row for row in found if not row.skipped}
    assert set(judged) == set(live)
    assert all(one.correct == (live[one.draft].final == {"label": "cat"}) for one in judged.values())


def _label(entry: dict[str, Any]) -> str | None:
    return entry["labels"][0]["label"] if entry["labels"] else None


async def test_wrong_entries_fail_alone(site: Server, namer: Manifest) -> None:
    one, other = drafted(namer, "w", "wrong"), drafted(namer, "theirs", "wrong", team="fish")
    twin = drafted(namer, "t", "wrong", arm="twin")
    await save(site.services.store, one, other)
    await site.services.store.save([twin])
    await site.client.put("/v1/projects/wrong", json={"labels": ["cat", "dog"]})
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"draft": "drf_none"}, "unknown_draft", "drf_none"),
        ({"draft": other.id}, "unknown_draft", other.id),
        ({"draft": twin.id}, "unknown_draft", twin.id),
        ({"draft": ..., "item": "w", "project": "wrong"}, "unknown_draft", "by its item"),
        ({"labels": [{"label": "dogg"}]}, "invalid_request", "did you mean 'dog'?"),
        ({"seconds": -1}, "invalid_request", "seconds"),
        ({"seconds": 86_401}, "invalid_request", "seconds"),
        ({"finished_at": "2026-01-01T00:00:00"}, "invalid_request", "timezone"),
        ({"finished_at": "9999-12-31T23:59:59-23:59"}, "invalid_request", "years"),
        ({"finished_at": ...}, "invalid_request", "finished_at is missing"),
        ({"reviewer": ...}, "invalid_request", "reviewer is missing"),
        ({"labels": ...}, "invalid_request", "exactly one of labels"),
        ({"labels": ..., "text": "cat"}, "invalid_request", "classification"),
        ({"skipped": True}, "invalid_request", "skipped"),
        ({"verdict": "accepted"}, "invalid_request", "verdict"),
        ({"item": "w"}, "invalid_request", "exactly one of draft and item"),
        ({"event_id": ""}, "invalid_request", "event_id"),
        ({"event_id": "a\0b"}, "invalid_request", "U+0000"),
        ({"guideline_version": "\0"}, "invalid_request", "U+0000"),
    ]
    entries = [{**reviewed(one, event=f"bad{n}"), **change} for n, (change, _, _) in enumerate(wrong)]
    entries = [{name: value for name, value in entry.items() if value is not ...} for entry in entries]
    unknown = {"event_id": "never", "deleted": True}
    *found, odd, gone, good = await post(site, *entries, "x", unknown, reviewed(one, event="good"))
    for answer, (change, code, words) in zip(found, wrong, strict=True):
        assert (answer["error"]["code"], words in answer["error"]["detail"]) == (code, True), (change, answer)
    assert (odd["error"]["status"], gone["error"]["status"], good["verdict"]) == (422, 404, "accepted")
    assert [row.event_id for row in await rows(site, "wrong")] == ["good"]
    (conflict,) = await post(site, reviewed(drafted(namer, "x", "wrong"), event="good"))
    assert conflict["error"]["code"] == "unknown_draft"
    body = b'{"reviews": [{"event_id": "\\ud800", "draft": "\\ud800"}]}'
    half = await site.client.post("/v1/reviews", content=body, headers={"Content-Type": "application/json"})
    assert [one["error"]["code"] for one in half.json()["reviews"]] == ["invalid_request"]
    is_problem(await site.client.post("/v1/reviews", json={"reviews": []}), 422, "no_items")
    is_problem(await site.client.post("/v1/reviews", json={"reviews": [1] * (MOST + 1)}), 413, "too_many_items")


async def test_boxes_must_lie_in_the_image(site: Server) -> None:
    (boxes,) = await site.drafts([image("a")], project="boxed")
    box = boxes["labels"][0]
    for corners in ([5, 5, 5, 9], [-9, 0, 5, 5], [0, 0, 1e6, 5], [7, 0, 5, 5]):
        (found,) = await post(site, reviewed(boxes["id"], labels=[{**box, "xyxy": corners}]))
        assert "xyxy" in found["error"]["detail"]


async def test_an_item_stands_for_what_was_drawn_of_it(site: Server, namer: Manifest) -> None:
    mine, ours = drafted(namer, "i", "items"), drafted(namer, "i", "items")
    await save(site.services.store, mine, ours, drew(mine, reviewer="ann"), drew(ours))
    entries = [{**reviewed("", event=who), "reviewer": who, "item": "i", "project": "items"} for who in ("ann", "ben")]
    found = await post(site, *({name: value for name, value in entry.items() if name != "draft"} for entry in entries))
    assert [one["draft"] for one in found] == [mine.id, ours.id]


async def test_a_clock_that_is_fast_does_not_count_over_what_comes_later(site: Server, namer: Manifest) -> None:
    one = drafted(namer, "c", "clock")
    await save(site.services.store, one)
    now = datetime.now(UTC)
    far, near = ((now + timedelta(minutes=minutes)).isoformat() for minutes in (60, 4))
    first, second = await post(site, reviewed(one, "cat", "far", finished_at=far), reviewed(one, "cat", "near", finished_at=near))
    assert ("in the future" in first["note"], second["note"]) == (True, None)
    kept = {row.event_id: row for row in await rows(site, "clock")}
    assert now <= kept["far"].finished_at < now + timedelta(minutes=1)
    assert kept["near"].finished_at.isoformat() == near
    assert [answer["status"] for answer in await post(site, reviewed(one, "cat", "far", finished_at=far))] == ["already"]


async def test_a_merged_reviewer_is_one_person_and_can_be_parted(site: Server, namer: Manifest) -> None:
    one = drafted(namer, "m", "merged")
    await save(site.services.store, one)
    await site.client.put("/v1/projects/merged", json={})
    await post(site, reviewed(one, event="m1"), reviewed(one, event="m2", reviewer="Ann B."))
    where = "/v1/projects/merged/reviewers/merge"
    assert (await site.client.post(where, json={"reviewer": "Ann B.", "into": "ann"})).json() == {"merged": {"Ann B.": "ann"}}
    assert {row.reviewer for row in await rows(site, "merged")} == {"ann"}
    is_problem(await site.client.post(where, json={"reviewer": "ann", "into": "Ann B."}), 409, "conflict")
    assert (await site.client.post(where, json={"reviewer": "Ann B.", "into": "Ann B."})).json() == {"merged": {}}
    assert {row.reviewer for row in await rows(site, "merged")} == {"ann", "Ann B."}
    is_problem(await site.client.post("/v1/projects/none/reviewers/merge", json={"reviewer": "a", "into": "b"}), 404, "unknown_project")


async def test_outcomes_that_were_lost_are_made_up_for_when_the_review_comes_again(site: Server, namer: Manifest) -> None:
    hidden = drafted(namer, "lost", "lost")
    await save(site.services.store, hidden, drew(hidden, "withheld"))
    store = Reviews(site.services.store)
    row = await _stored_row(site, hidden)
    assert await told(site, hidden.id) == []
    (again,) = await post(site, reviewed(hidden))
    assert (again["status"], again["id"]) == ("already", row.id)
    assert [one.stream for one in await told(site, hidden.id)] == ["blind"]
    assert len(await store.page("default", "lost")) == 1


async def _stored_row(site: Server, draft: Any) -> ReviewRow:
    """Store a review as if the process had died before its outcomes were."""
    entry = ReviewBody.model_validate(reviewed(draft)).as_reported()
    made = intake.ReviewIntake(site.services.store, site.services.manifests, None)  # type: ignore[arg-type]
    known = await made._known([entry], "default")
    read = intake._read(entry, known)
    assert isinstance(read, intake._Read)
    await Reviews(site.services.store).add([read.row])
    (row,) = await rows(site, "lost")
    return row


async def test_outcomes_are_only_added(site: Server, namer: Manifest) -> None:
    hidden = drafted(namer, "kept", "kept")
    await save(site.services.store, hidden, drew(hidden, "withheld"))
    for entry in (reviewed(hidden, "cat", "kept"), {"event_id": "kept", "deleted": True}):
        await post(site, entry)
    for table in (outcome_table, withdrawals):
        with pytest.raises(Conflict):
            await site.services.store.execute(sa.delete(table))


async def test_only_leads_read_gold_and_reviewers_send_reviews(folder: Any) -> None:
    async with running(with_keys(folder)) as server:
        drafts, reviews, leads = [await caller(server, "birds", scope) for scope in ("draft", "review", "register")]
        other = await caller(server, "fish", "register", "review")
        await server.client.put("/v1/projects/ponds", json={"labels": ["cat"]}, headers=leads)
        gold = {"items": [{"item": "a", "truth": {"label": "cat"}}]}
        for headers in (drafts, reviews):
            is_problem(await server.client.post("/v1/projects/ponds/gold", json=gold, headers=headers), 403, "forbidden")
            for path in ("gold", "gold/history?item=a"):
                is_problem(await server.client.get(f"/v1/projects/ponds/{path}", headers=headers), 403, "forbidden")
            is_problem(await server.client.delete("/v1/projects/ponds/gold?item=a", headers=headers), 403, "forbidden")
        is_problem(await server.client.post("/v1/reviews", json={"reviews": [1]}, headers=drafts), 403, "forbidden")
        assert (await server.client.post("/v1/projects/ponds/gold", json=gold, headers=leads)).status_code == 200
        is_problem(await server.client.post("/v1/projects/ponds/gold", json=gold, headers=other), 404, "unknown_project")
        is_problem(await server.client.get("/v1/projects/ponds/gold", headers=other), 404, "unknown_project")
        is_problem(await server.client.get("/v1/projects/ponds/gold/history?item=a", headers=other), 404, "not_found")
        (drafted_,) = await server.drafts([image("a")], "/v1/classification/drafts", headers=drafts, project="ponds")
        (theirs,) = await post(server, reviewed(drafted_["id"]), headers=other)
        assert theirs["error"]["code"] == "unknown_draft"
        (mine,) = await post(server, reviewed(drafted_["id"], None), headers=reviews)
        assert mine["verdict"] in ("accepted", "rejected")
