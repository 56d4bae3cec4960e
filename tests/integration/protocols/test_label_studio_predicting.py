"""What Label Studio is told and given: by a server whose fake models are calibrated, at an address that was pasted into it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from serving.projects import book
from serving.projects.body import ProjectBody
from serving.protocols.label_studio import predicting, pushing
from serving.protocols.label_studio.pushing import Pusher
from serving.protocols.label_studio.tools import Tools
from store.audit import Actor
from store.connections import Connections
from store.label_studio_events import Events
from store.label_studio_tasks import Tasks
from store.moments import utc_now
from store.projects import Projects
from store.tool_tables import label_studio_tasks
from tests.recorded import HERE
from tests.unit.serving.arms.armed import OFTEN, draws_of, put
from tests.unit.serving.protocols.calibrated import calibrated_server
from tests.unit.serving.protocols.label_studio import BOXES, ONE, SEGMENTS, SEVERAL, URL, WHOLE, Remote, paste, task
from tests.unit.serving.served import Server, cancelled

RECORDED = HERE / "label_studio"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with calibrated_server(template, tmp_path_factory.mktemp("label_studio") / "server") as made:
        yield made


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project that was changed is known at once, instead of in a second."""
    monkeypatch.setattr(book, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(predicting, "_SETTLED", timedelta(0))


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Remote:
    made = Remote()
    monkeypatch.setattr("serving.protocols.label_studio.remote.LabelStudio", made)
    return made


@pytest_asyncio.fixture(loop_scope="module")
async def pusher(server: Server, monkeypatch: pytest.MonkeyPatch) -> Pusher:
    """Pushes when it is told to and not before. Nothing waits yet."""
    await server.services.store.execute(sa.delete(label_studio_tasks))
    tools: Tools = server.app.state.label_studio
    monkeypatch.setattr(tools.predicting, "pushes", lambda: None)
    await tools.pusher.close()
    return tools.pusher


def at(monkeypatch: pytest.MonkeyPatch, pusher: Pusher, hours: float) -> None:
    """Let the pusher's queue think that it is later."""
    later = utc_now() + timedelta(hours=hours)
    monkeypatch.setattr(pusher._tasks, "_clock", lambda: later)


async def test_health_and_setup_answer_who_has_the_secret(server: Server) -> None:
    here = await paste(server)
    for path in ("/health", "/", ""):
        answer = await server.client.get(here.base + path)
        assert (answer.status_code, answer.json()["status"]) == (200, "UP")
    version = await here.setup()
    name, _, rest = version.partition("@sha256:")
    assert (name, len(rest.partition("+")[0]), len(rest.partition("+")[2])) == ("finder", 16, 8)
    assert (await server.client.get(here.base + "/versions")).json() == {"versions": [version]}
    for base in (here.base + "x", here.base.replace("birds", "other")):
        assert (await server.client.get(base + "/health")).status_code == 401
        assert (await server.client.post(base + "/predict", json={})).status_code == 401


async def test_every_task_gets_one_entry_with_the_version_of_setup(server: Server) -> None:
    here = await paste(server, project="entries")
    version = await here.setup()
    results = await here.predict([task(1), task(2, b""), task(3, key="photo"), {"id": 4}, task(5, "http://127.0.0.1/a.png"), task(6, "x")])
    assert {one["model_version"] for one in results} == {version}
    assert [bool(one["result"]) for one in results] == [True, False, False, False, False, False]
    assert all(one["score"] is None for one in results[1:])
    rows = await Tasks(server.services.store).of(here.connection.id, list("123456"))
    assert [rows[one].state for one in "123456"] == ["done", *["failed"] * 5]
    assert "photo" not in str(rows["3"].error)
    assert "'image'" in str(rows["3"].error)


async def test_boxes_are_percents_with_calibrated_scores_in_the_configs_words(server: Server) -> None:
    here = await paste(server, project="boxes")
    await here.setup()
    (entry,) = await here.predict([task(1)])
    row = (await Tasks(server.services.store).of(here.connection.id, ["1"]))["1"]
    first = entry["result"][0]
    assert row.draft is not None
    assert (row.item, first["id"]) == ("7:1", f"{row.draft}.0")
    assert (first["from_name"], first["to_name"], first["type"]) == ("box", "img", "rectanglelabels")
    assert first["value"]["rectanglelabels"][0] in ("cat", "Hund")
    draft = (await server.client.get(f"/v1/drafts/{row.draft}", params={"include": "raw"})).json()
    assert (first["original_width"], first["original_height"]) == tuple(draft["image_size"])
    assert first["value"]["x"] == pytest.approx(100 * draft["labels"][0]["xyxy"][0] / draft["image_size"][0], abs=1e-3)
    assert first["score"] == pytest.approx(draft["labels"][0]["confidence"], abs=1e-4)
    assert first["meta"]["candor"] == {"draft": row.draft, "confidence_status": "calibrated"}
    assert first["meta"]["raw"] == {"score": draft["labels"][0]["raw"]["score"]}
    assert entry["score"] == pytest.approx(sum(one["score"] for one in entry["result"]) / len(entry["result"]), abs=1e-3)


async def test_choices_and_transcripts(server: Server) -> None:
    one = await paste(server, project="one", model="namer")
    several = await paste(server, project="several", model="namer")
    assert (await one.setup(ONE)).startswith("namer@")
    await several.setup(SEVERAL)
    (single,), (multiple,) = await one.predict([task(1)], ONE), await several.predict([task(1)], SEVERAL)
    assert single["result"][0]["value"]["choices"][0] in ("cat", "dog")
    assert single["score"] == single["result"][0]["score"]
    assert multiple["result"][0]["value"]["choices"] == single["result"][0]["value"]["choices"]
    sounds = await paste(server, project="sounds")
    await sounds.setup(WHOLE)
    (whole,) = await sounds.predict([task(1, b'{"units": 3}', "audio")], WHOLE)
    assert [(region["type"], region["value"]) for region in whole["result"]] == [("textarea", {"text": ["word0 word1 word2"]})]
    assert whole["score"] == whole["result"][0]["score"] == pytest.approx(0.88, abs=0.01)
    (parts,) = await sounds.predict([task(2, b'{"units": 3}', "audio")], SEGMENTS)
    spans, text = parts["result"]
    assert spans["id"] == text["id"]
    assert (spans["type"], spans["value"]) == ("labels", {"start": 0.0, "end": 3.0, "channel": 0, "labels": ["Speech"]})
    assert text["value"]["text"] == ["word0 word1 word2"]
    assert spans["original_length"] == 3.0
    assert spans["score"] == text["score"] == parts["score"] == pytest.approx(0.88, abs=0.01)  # its words': a segment has none of its own
    (silent,) = await sounds.predict([task(3, b'{"units": 0}', "audio")], SEGMENTS)
    assert (silent["result"], silent["score"]) == ([], None)


async def test_a_task_that_is_asked_for_again_has_the_same_draft_and_nothing_is_fetched(server: Server, remote: Remote) -> None:
    here = await paste(server, project="again", url=URL)
    await here.setup()
    remote.media["/data/upload/7/a.png"] = b"an image"
    first = await here.predict([task(1, "/data/upload/7/a.png")])
    assert first[0]["result"]
    assert await here.predict([task(1, "/data/upload/7/a.png")], context={"result": []}) == first
    assert remote.fetched == ["/data/upload/7/a.png"]
    remote.media["/data/upload/7/b.png"] = b"another image"
    second = await here.predict([task(1, "/data/upload/7/b.png")])
    assert second[0]["result"][0]["id"] != first[0]["result"][0]["id"]


async def test_arms_can_not_be_told_apart_and_stay(server: Server) -> None:
    await put(server, "arms", OFTEN, label_map={"cat": "cat"}, labels=["cat", "Hund", "Bird"])
    here = await paste(server, project="arms")
    version = await here.setup()
    tasks = [task(number) for number in range(30)]
    results = await here.predict(tasks)
    arms = {row.item: row.arm for row in (await draws_of(server, "arms")).values()}
    assert {"withheld", "assisted"} <= set(arms.values())
    withheld = [one for one, asked in zip(results, tasks, strict=True) if arms[f"7:{asked['id']}"] == "withheld"]
    assert all(one == {"result": [], "score": None, "model_version": version} for one in withheld)
    assert any(one["result"] for one in results)
    honest = [one for one, asked in zip(results, tasks, strict=True) if arms[f"7:{asked['id']}"] == "assisted" and not one["result"]]
    assert all(one in withheld for one in honest)
    assert await here.predict(tasks) == results


async def test_a_project_takes_its_labels_from_the_config_until_somebody_sets_them(server: Server) -> None:
    here, projects = await paste(server, project="labels"), Projects(server.services.store)
    await here.setup()
    body = (await projects.get("default", "labels")).body
    assert body["labels"] == ["cat", "Bird", "Hund"]
    assert body["label_map"] == {"cat": "cat", "dog": "Hund"}
    other = BOXES.replace('"cat"', '"Katze" predicted_values="cat"')
    await here.setup(other)
    assert (await projects.get("default", "labels")).body["labels"] == ["Katze", "Bird", "Hund"]
    await put(server, "labels", None, label_map={"cat": "Katze", "dog": "wolf"})
    await here.setup(BOXES)
    body = (await projects.get("default", "labels")).body
    assert body["label_map"] == {"cat": "Katze", "dog": "wolf"}
    nothing = (await here.now()).state["problem"]
    assert "'Katze', 'wolf'" in nothing
    assert await here.predict([task(1)], BOXES) == [[]]


@pytest.mark.parametrize("config", ["<View/>", "no XML", BOXES.replace('value="cat"', 'value="x"').replace("dog", "y"), None])
async def test_where_nothing_fits_setup_answers_all_the_same_and_nothing_is_stored_there(server: Server, config: Any) -> None:
    here = await paste(server, project=f"misfit-{len(str(config))}")
    assert await here.setup(config)
    assert await here.predict([task(1), task(2)], config) == [[], []]
    state = (await here.now()).state
    assert state["problem"]
    assert await here.setup(BOXES.replace("<View>", f"<View><!-- {len(str(config))} -->"))
    assert (await here.now()).state["problem"] is None


async def test_setup_waits_for_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    here, quick = await paste(server, project="waits"), await paste(server, project="quick")
    tools: Tools = server.app.state.label_studio
    let = asyncio.Event()
    align = tools.predicting._aligning.align

    async def slow(*what: Any) -> Any:
        await let.wait()
        return await align(*what)

    version = await quick.setup()
    monkeypatch.setattr(predicting, "_SETUP_SECONDS", 0.01)
    monkeypatch.setattr(tools.predicting._aligning, "align", slow)
    assert await here.setup() == version
    let.set()
    assert (await here.predict([task(1)]))[0]["model_version"] == version
    assert (await Projects(server.services.store).get("default", "waits")).body["labels"] == ["cat", "Bird", "Hund"]


async def test_another_project_of_label_studio_is_told_so(server: Server, remote: Remote) -> None:
    here = await paste(server, project="mine", url=URL)
    body = {"tasks": [], "project": "8.1795473587", "label_config": BOXES}
    answer = await server.client.post(here.base + "/predict", json=body)
    assert answer.status_code == 409
    assert "project 8 asks" in answer.json()["error"]
    wrongs: list[Any] = [[], {"project": "7.1", "tasks": {}}, {"tasks": []}, {"project": "7", "tasks": [{}], "label_config": BOXES}]
    for wrong in wrongs:
        assert (await server.client.post(here.base + "/predict", json=wrong)).status_code == 422


async def test_what_is_not_ready_in_time_is_pushed_once(server: Server, remote: Remote, pusher: Pusher) -> None:
    here = await paste(server, project="late", url=URL, predict_seconds=0.0)
    tasks = Tasks(server.services.store)
    remote.media |= {f"/data/upload/7/{number}.png": b"late %d" % number for number in range(4)}
    asked = [task(number, f"/data/upload/7/{number}.png") for number in range(5)]
    version = await here.setup()
    assert await here.predict(asked) == [[]] * 5
    assert await tasks.counts(here.connection.id) == {"queued": 5}
    remote.refuses = {3}
    assert await pusher.tend() == 5
    assert await tasks.counts(here.connection.id) == {"done": 3, "queued": 2}  # the last one's file is not there
    assert {one["task"] for one in remote.taken} == {0, 1, 2}
    assert all(one["model_version"] == version and one["result"] for one in remote.taken)
    rows = await tasks.of(here.connection.id, ["3", "4"])
    assert "400" in str(rows["3"].error)
    assert "404" in str(rows["4"].error)
    assert await pusher.tend() == 0  # they wait
    assert [one["result"] for one in await here.predict(asked[:3])] == [
        one["result"] for one in sorted(remote.taken, key=lambda one: one["task"])
    ]


async def test_a_push_survives_what_stops_it_and_gives_up_at_last(
    server: Server, remote: Remote, pusher: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks(server.services.store)
    here = await paste(server, project="stopped", url=URL, predict_seconds=0.0)
    await here.predict([task(1, "/data/upload/7/1.png")])
    remote.media["/data/upload/7/1.png"] = b"one"
    remote.tasks["1"] = task(1, "/data/upload/7/1.png")
    begun = asyncio.Event()

    async def never(*_: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(remote, "import_predictions", never)
    running = asyncio.create_task(pusher.tend())
    await begun.wait()
    assert await pusher.tend() == 0  # another server leaves it alone
    await cancelled(running)
    assert await tasks.counts(here.connection.id) == {"queued": 1}
    remote.down = True
    for attempt in range(2, pushing.ATTEMPTS + 1):
        assert await tasks.counts(here.connection.id) == {"queued": 1}, attempt
        at(monkeypatch, pusher, 2 * attempt)
        assert await pusher.tend() == 1
    assert [(row.task, row.attempts, row.error) for row in await tasks.failures(here.connection.id)] == [
        ("1", pushing.ATTEMPTS, "'ls.example' can't be reached")
    ]


async def test_what_a_lost_answer_had_brought_is_not_pushed_twice(
    server: Server, remote: Remote, pusher: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks(server.services.store)
    here = await paste(server, project="twice", url=URL, predict_seconds=0.0)
    version = await here.setup()
    await here.predict([task(1), task(2)])
    remote.down = True
    assert await pusher.tend() == 2
    remote.down = False
    remote.tasks = {"1": {**task(1), "predictions": [{"model_version": version, "result": []}]}, "2": task(2)}
    at(monkeypatch, pusher, 1)
    assert await pusher.tend() == 2
    assert [one["task"] for one in remote.taken] == [2]
    assert await tasks.counts(here.connection.id) == {"done": 2}


async def test_servers_that_set_the_labels_at_once_agree(server: Server) -> None:
    here = await paste(server, project="at-once")
    tools: Tools = server.app.state.label_studio
    desk = await tools.predicting.desk(await here.now(), BOXES)
    await Projects(server.services.store).put(Actor("default", "none"), "at-once", ProjectBody().as_json())  # type: ignore[call-arg]
    aligned = await asyncio.gather(*(tools.predicting._aligning.align(here.connection, desk.standing) for _ in range(3)))
    assert [(one.fits, one.problem) for one in aligned] == [(True, None)] * 3
    assert (await Projects(server.services.store).get("default", "at-once")).body["labels"] == ["cat", "Bird", "Hund"]


@pytest.mark.parametrize("kind", ["boxes", "segments"])
async def test_what_label_studio_1_23_2_asked_is_answered(server: Server, remote: Remote, kind: str) -> None:
    said = json.loads((RECORDED / "asking.json").read_text())[kind]
    here = await paste(server, project=f"recorded-{kind}")
    (asked,) = said["predict"]["tasks"]
    connections = Connections(server.services.store)
    fields = {"url": URL, "token": "t", "remote_project": str(asked["project"])}
    await connections.change(Actor("default", "none"), here.connection.id, **fields)
    remote.media = {next(iter(asked["data"].values())): b'{"units": 2}'}
    answers = {}
    for address in ("setup", "predict"):
        answer = await server.client.post(f"{here.base}/{address}", content=json.dumps(said[address]), headers=said["headers"])
        assert answer.status_code == 200, answer.text
        answers[address] = answer.json()
    (entry,) = answers["predict"]["results"]
    assert entry["model_version"] == answers["setup"]["model_version"]
    assert [one["type"] for one in entry["result"]][:2] == {"boxes": ["rectanglelabels"] * 2, "segments": ["labels", "textarea"]}[kind]
    assert list(remote.media) == remote.fetched


async def test_what_is_reported_is_looked_at_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await paste(server)
    tools: Tools = server.app.state.label_studio
    waiting = []
    monkeypatch.setattr(tools.tender, "wake", lambda: waiting.append(tools))
    report = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}], "project": {"id": 7}}
    assert (await server.client.post(here.base + "x/webhook", json=report)).status_code == 401
    assert not waiting
    assert (await server.client.post(here.base + "/webhook", json=report)).status_code == 201
    assert len(waiting) == 1
    assert await Events(server.services.store).counts(here.connection.id) == {"waiting": 1, "failed": 0}
