"""`POST /v1/outcomes`: Candor's own verdict on stored drafts, and alarms on what they show."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from calibration.streams import STREAMS
from candor.drafts import Draft
from candor.manifest import Manifest
from serving.api.calibration_jobs import MOST
from serving.calibrations.watch import watch
from store.calibrations import CalibrationEvent, Calibrations
from store.outcomes import Outcome, Outcomes
from tests.unit.serving.calibrations.drafted import image_draft, image_drafts, manifest_of, told
from tests.unit.serving.served import Server, audio, image, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def site(steady: Server) -> Server:
    return steady


@pytest.fixture
def namer(steady: Server) -> Manifest:
    return manifest_of(steady.services.settings, "namer")


async def post(site: Server, *entries: Any) -> list[dict[str, Any]]:
    answer = await site.client.post("/v1/outcomes", json={"outcomes": list(entries)})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["outcomes"]
    return found


async def kept(site: Server, *drafts: str) -> list[Outcome]:
    """What is stored of these drafts, in order of arrival."""
    found = []
    for version in {one.model_version for one in (await Outcomes(site.services.store).drafts(drafts)).values()}:
        found += await Outcomes(site.services.store).of_version(version, STREAMS)
    return [one for one in found if one.draft in drafts]


async def alarms(site: Server, version: str, calibration: str) -> list[CalibrationEvent]:
    events = await Calibrations(site.services.store).events(version)
    return [event for event in events if (event.kind, event.calibration) == ("alarm", calibration)]


async def saved(site: Server, drafts: list[Draft]) -> list[Draft]:
    await site.services.store.save(drafts)
    return drafts


async def test_real_drafts_of_every_task_are_judged(site: Server) -> None:
    (boxes,) = await site.drafts([image("a")])
    (words,) = await site.drafts([audio("b", b'{"units": 3}')], "/v1/transcription/drafts")
    (name,) = await site.drafts([image("c")], "/v1/classification/drafts")
    first, second = boxes["labels"]
    found = await post(
        site,
        {"draft": boxes["id"], "stream": "gold", "source": "e1", "truth": {"boxes": [{"label": first["label"], "xyxy": first["xyxy"]}]}},
        {"draft": words["id"], "stream": "blind", "source": "e2", "propensity": 0.1, "truth": {"text": "word0 other word2"}},
        {"draft": name["id"], "stream": "audit", "source": "e3", "propensity": 1, "truth": {"label": name["labels"][0]["label"]}},
    )
    assert [(one["status"], one["labels"], one["correct"]) for one in found] == [("stored", 2, 1), ("stored", 3, 2), ("stored", 1, 1)]
    (stored, other) = await kept(site, boxes["id"])
    assert (stored.correct, other.correct, stored.label_index, other.label_index) == (True, False, 0, 1)
    assert stored.features["label"] == first["label"]
    assert (stored.stream, stored.propensity, stored.confidence, stored.calibration) == ("gold", 1.0, None, None)
    assert second["label"] == other.features["label"]
    of_words = await kept(site, words["id"])
    assert [(one.correct, one.propensity) for one in of_words] == [(True, 0.1), (False, 0.1), (True, 0.1)]
    assert of_words[0].features["normaliser"][0].startswith("whisper_normalizer.")


async def test_confidence_and_calibration_are_those_that_were_shown(site: Server, namer: Manifest) -> None:
    (made,) = await saved(site, [image_draft(namer, "a.jpg", 1.5, 0.7, "cal_then")])
    await post(site, told(made, False, "blind", propensity=0.25, reviewer="ann"))
    (found,) = await kept(site, made.id)
    assert (found.confidence, found.calibration, found.correct) == (0.7, "cal_then", False)
    assert (found.propensity, found.reviewer, found.cluster) == (0.25, "ann", made.media_sha256)
    assert found.features == {"logit": pytest.approx(1.5), "label": "cat"}


async def test_the_same_event_again_changes_nothing(site: Server, namer: Manifest) -> None:
    (made,) = await saved(site, [image_draft(namer, "a.jpg", 1.5, 0.7)])
    assert [one["status"] for one in await post(site, told(made, True), told(made, True))] == ["stored", "already"]
    (again,) = await post(site, told(made, True))
    assert (again["status"], again["labels"], again["correct"]) == ("already", 1, 1)
    (other,) = await post(site, told(made, False))
    assert (other["error"]["code"], other["error"]["status"]) == ("conflict", 409)
    assert [one.correct for one in await kept(site, made.id)] == [True]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"draft": "drf_none"}, "unknown_draft", "drf_none"),
    ({"truth": {"label": "zebra"}}, "invalid_request", "zebra"),
    ({"truth": {"text": "cat"}}, "invalid_request", "classification"),
    ({"truth": {"label": "cat", "text": "cat"}}, "invalid_request", "exactly one"),
    ({"truth": {}}, "invalid_request", "exactly one"),
    ({"stream": "blind"}, "invalid_request", "propensity"),
    ({"stream": "audit"}, "invalid_request", "propensity"),
    ({"propensity": 0}, "invalid_request", "propensity"),
    ({"propensity": 1.01}, "invalid_request", "propensity"),
    ({"propensity": -0.1}, "invalid_request", "propensity"),
    ({"stream": "hearsay"}, "invalid_request", "stream"),
    ({"correct": True}, "invalid_request", "correct"),
    ({"source": ""}, "invalid_request", "source"),
]


async def test_wrong_entries_fail_alone(site: Server, namer: Manifest) -> None:
    good, bad = await saved(site, image_drafts(namer, [1.0, 2.0], [0.5, 0.6]))
    found = await post(site, *({**told(bad, True), **change} for change, _, _ in WRONG), told(good, True))
    for answer, (change, code, words) in zip(found, WRONG, strict=False):
        assert answer["error"]["code"] == code, change
        assert words in answer["error"]["detail"], change
    assert found[-1] == {"draft": good.id, "source": f"evt-{good.id}", "status": "stored", "labels": 1, "correct": 1}
    assert [one.draft for one in await kept(site, good.id, bad.id)] == [good.id]


async def test_what_is_no_entry_at_all_fails_alone_too(site: Server, namer: Manifest) -> None:
    (made,) = await saved(site, [image_draft(namer, "a.jpg", 1.0)])
    found = await post(site, None, 7, {"draft": {}, "source": []}, told(made, True))
    assert [one.get("status") for one in found] == [None, None, None, "stored"]
    assert {one["error"]["code"] for one in found[:3]} == {"invalid_request"}
    assert found[2]["error"]["detail"].startswith("outcomes[2]: ")


async def test_a_label_set_that_is_not_here_is_told(site: Server, namer: Manifest) -> None:
    gone = image_draft(namer, "a.jpg", 1.0)
    gone = Draft(**{**{name: getattr(gone, name) for name in Draft.__slots__}, "model_version": "namer@sha256:" + "0" * 64})
    await saved(site, [gone])
    (found,) = await post(site, told(gone, True))
    assert found["error"]["code"] == "unknown_model"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"outcomes": []}, 422, "no_items"),
        ({"outcomes": [{}] * (MOST + 1)}, 413, "too_many_items"),
        ({"outcomes": "all"}, 422, "invalid_request"),
        ({"outcomes": [], "more": 1}, 422, "invalid_request"),
        ([], 422, "invalid_request"),
    ],
    ids=["none", "too many", "no list", "more", "a list"],
)
async def test_a_request_that_is_wrong_as_a_whole(site: Server, body: Any, status: int, code: str) -> None:
    answer: httpx.Response = await site.client.post("/v1/outcomes", json=body)
    is_problem(answer, status, code)


async def many(site: Server, namer: Manifest, stream: str, tag: str, accuracy: float = 0.5) -> list[dict[str, Any]]:
    """Outcomes of 120 labels that say 0.9 and are right less often. `tag` names their calibration."""
    right = np.random.default_rng(4).random(120) < accuracy
    drafts = await saved(site, image_drafts(namer, [2.0] * 120, [0.9] * 120, calibration=tag))
    more = {"propensity": 0.1} if stream in ("blind", "audit") else {}
    return [told(one, bool(good), stream, **more) for one, good in zip(drafts, right, strict=True)]


@pytest.mark.parametrize("stream", ["gold", "blind", "audit"])
async def test_an_overconfident_calibration_raises_one_alarm(site: Server, namer: Manifest, stream: str) -> None:
    entries = await many(site, namer, stream, f"cal_of_{stream}")
    await post(site, *entries[:5])
    assert await alarms(site, namer.version, f"cal_of_{stream}") == []  # too few to tell
    await post(site, *entries[5:80])
    await post(site, *entries[80:])
    (alarm,) = await alarms(site, namer.version, f"cal_of_{stream}")
    assert "too high" in alarm.detail["reason"]
    assert 5 < alarm.detail["alarms"][0]["at"] <= 80


@pytest.mark.parametrize("stream", ["review", "honeypot"])
async def test_reviews_and_honeypots_never_reach_the_monitor(site: Server, namer: Manifest, stream: str) -> None:
    entries = await many(site, namer, stream, f"cal_{stream}")
    await post(site, *entries)
    assert await alarms(site, namer.version, f"cal_{stream}") == []
    assert len(await kept(site, *(one["draft"] for one in entries))) == 120
    monitor = await watch(site.services.store, namer.version, f"cal_{stream}")
    assert monitor is not None
    assert monitor.labels == 0


async def test_an_honest_calibration_stays_quiet(site: Server, namer: Manifest) -> None:
    await post(site, *await many(site, namer, "gold", "cal_honest", accuracy=0.9))
    assert await alarms(site, namer.version, "cal_honest") == []


async def test_a_cleared_alarm_comes_again_only_of_later_outcomes(site: Server, namer: Manifest) -> None:
    entries = await many(site, namer, "gold", "cal_cleared")
    await post(site, *entries[:60])
    assert len(await alarms(site, namer.version, "cal_cleared")) == 1
    await Calibrations(site.services.store).record_event(namer.version, "cal_cleared", "cleared", {"by": "ann"})
    await post(site, *entries[60:64])
    monitor = await watch(site.services.store, namer.version, "cal_cleared")
    assert monitor is not None
    assert (monitor.labels, len(await alarms(site, namer.version, "cal_cleared"))) == (4, 1)
    await post(site, *entries[64:])
    assert len(await alarms(site, namer.version, "cal_cleared")) == 2


async def test_one_item_drafted_many_times_is_one_observation(site: Server, namer: Manifest) -> None:
    drafts = await saved(site, [image_draft(namer, "same.jpg", 2.0, 0.9, "cal_same") for _ in range(60)])
    await post(site, *(told(one, False) for one in drafts))
    assert await alarms(site, namer.version, "cal_same") == []
    monitor = await watch(site.services.store, namer.version, "cal_same")
    assert monitor is not None
    assert monitor.labels == 1
