"""`POST /v1/{task}/drafts` and `POST /v1/drafts`: what is drafted, in which order, and what an answer looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from candor.predictions import Task
from tests.unit.serving.served import MODELS, Server, audio, image, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def server(steady: Server) -> Server:
    return steady


def keys(value: Any) -> set[str]:
    """All keys of a JSON value, at any depth."""
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys(inner)}
    return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()


RAW = {"raw", "logit", "logits", "score", "avg_logprob", "no_speech_prob"}


@pytest.mark.parametrize("task", MODELS)
@pytest.mark.parametrize("general", [False, True])
async def test_each_task_is_drafted(server: Server, task: Task, general: bool) -> None:
    item = audio if task == "transcription" else image
    path, body = ("/v1/drafts", {"task": task}) if general else (f"/v1/{task}/drafts", {})
    names = [f"{name} {general}" for name in "cab"]  # media that no other test has sent
    answer = await server.draft([item(name) for name in names], path, project="p", **body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert found.keys() == {"model_version", "drafts"}
    assert found["model_version"].startswith(f"{MODELS[task]}@sha256:")
    assert [draft["item"] for draft in found["drafts"]] == names
    for draft in found["drafts"]:
        assert (draft["task"], draft["project"], draft["model_version"]) == (task, "p", found["model_version"])
        assert (draft["confidence"], draft["confidence_status"], draft["calibration"]) == (None, "uncalibrated", None)
        assert draft["timings"].keys() == {"fetch", "prepare", "queue", "infer", "finish", "batch_size", "cached"}
        assert draft["timings"]["batch_size"] >= 1
        assert draft["timings"]["cached"] is False
        labels = draft["segments"] if task == "transcription" else draft["labels"]
        assert [label["id"] for label in labels] == [f"{draft['id']}.{n}" for n in range(len(labels))]
        assert labels
    assert len({draft["id"] for draft in found["drafts"]}) == 3


@pytest.mark.parametrize(
    ("body", "items", "task"),
    [
        ({}, [audio()], "transcription"),
        ({"model": "namer"}, [image()], "classification"),
        ({"model": "finder@production"}, [image()], "detection"),
    ],
)
async def test_the_general_address_finds_the_task(server: Server, body: Any, items: Any, task: str) -> None:
    (draft,) = await server.drafts(items, "/v1/drafts", **body)
    assert draft["task"] == task


@pytest.mark.parametrize("items", [[image()], [image(), audio("b")], [{"id": "a", "image": {"base64": "!"}}]])
async def test_the_general_address_asks_where_the_task_is_unclear(server: Server, items: Any) -> None:
    detail = is_problem(await server.draft(items), 422, "invalid_request")
    assert "say which task" in detail


@pytest.mark.parametrize("task", MODELS)
async def test_raw_scores_are_shown_on_request_alone(server: Server, task: Task) -> None:
    item, path = audio() if task == "transcription" else image(), f"/v1/{task}/drafts"
    plain = await server.drafts([item], path)
    assert keys(plain) & RAW == set()
    for shown in (await server.drafts([item], path, include=["raw"]), await server.drafts([item], f"{path}?include=raw")):
        labels = shown[0]["segments"][0]["words"] if task == "transcription" else shown[0]["labels"]
        assert labels[0]["raw"].keys() == {"score", "logit"}
    address = f"/v1/drafts/{plain[0]['id']}"
    assert keys((await server.client.get(address)).json()) & RAW == set()
    assert "raw" in keys((await server.client.get(address, params={"include": "raw"})).json())
    assert keys(await server.drafts([item], path)) & RAW == set()  # asking once opens nothing


async def test_a_stored_draft_is_read_as_it_was_answered(server: Server) -> None:
    (draft,) = await server.drafts([image("stored")], project="p")
    answer = await server.client.get(f"/v1/drafts/{draft['id']}")
    assert answer.status_code == 200
    assert answer.json() == draft


async def test_an_unknown_draft_is_not_found(server: Server) -> None:
    is_problem(await server.client.get("/v1/drafts/drf_none"), 404, "unknown_draft")
    is_problem(await server.client.get("/v1/drafts/" + "x" * 65), 422, "invalid_request")
    is_problem(await server.client.get("/v1/drafts/drf_none?include=score"), 422, "invalid_request")


async def test_one_bad_item_leaves_the_others_drafted(server: Server) -> None:
    items = [
        image("good"),
        image("empty", b""),
        image("prepare", b'{"fail": "prepare"}'),
        image("infer", b'{"fail": "infer"}'),
        image("batch", b'{"fail": "batch"}'),
        image("finish", b'{"fail": "finish"}'),
        audio("sound"),
        {"id": "upload", "image": {"upload": "upl_none"}},
        {"id": "loopback", "image": {"url": "http://127.0.0.1/a.png"}},
        {"id": "private", "image": {"url": "http://10.1.2.3/a.png"}},
        {"id": "scheme", "image": {"url": "file:///etc/passwd"}},
        {"id": "not base64", "image": {"base64": "a*b"}},
        image("last"),
    ]
    found = await server.drafts(items)
    assert [entry["item"] for entry in found] == [item["id"] for item in items]
    codes = {entry["item"]: entry["error"]["code"] for entry in found if "error" in entry}
    assert codes == {
        "empty": "unreadable_item",
        "prepare": "unreadable_item",
        "infer": "unreadable_item",
        "batch": "internal",
        "finish": "internal",
        "sound": "invalid_request",
        "upload": "unknown_upload",
        "loopback": "media_forbidden",
        "private": "media_forbidden",
        "scheme": "media_forbidden",
        "not base64": "invalid_request",
    }
    for entry in found:
        if "error" in entry:
            assert entry.keys() == {"item", "error"}
            assert entry["error"]["type"] == f"/problems/{entry['error']['code']}"
            assert "told to fail" not in entry["error"]["detail"] or entry["error"]["code"] == "unreadable_item"


async def test_an_answer_of_errors_alone_is_an_answer(server: Server) -> None:
    found = await server.drafts([image("a", b""), image("b", b"")])
    assert [entry["error"]["status"] for entry in found] == [422, 422]


async def test_the_model_is_named_by_name_version_or_alias(server: Server) -> None:
    (draft,) = await server.drafts([image()])
    version = draft["model_version"]
    digits = version.partition("sha256:")[2]
    for reference in ("finder", version, f"finder@sha256:{digits[:8]}", "finder@production"):
        assert (await server.draft([image()], "/v1/detection/drafts", model=reference)).json()["model_version"] == version


@pytest.mark.parametrize(
    ("reference", "status", "code", "told"),
    [
        ("findr", 404, "unknown_model", "Did you mean finder?"),
        ("zzz", 404, "unknown_model", "This server has: finder, listener, namer"),
        ("", 422, "invalid_request", "model"),
        ("@production", 404, "unknown_model", "there is no model ''"),
        ("../finder", 404, "unknown_model", ""),
        ("finder@staging", 404, "unknown_alias", "it has production"),
        ("finder@", 404, "unknown_alias", ""),
        ("finder@sha256:0000000000000000", 404, "unknown_model", "there is none"),
        ("finder@sha256:0", 404, "unknown_model", "at least 8 hex digits"),
        ("finder@sha256:*", 404, "unknown_model", ""),
        ("namer", 409, "wrong_task", "For detection: finder"),
    ],
)
async def test_a_model_that_is_not_there_is_told(server: Server, reference: str, status: int, code: str, told: str) -> None:
    answer = await server.draft([image()], "/v1/detection/drafts", model=reference)
    assert told in is_problem(answer, status, code)


async def test_a_model_of_another_task_is_refused_at_the_general_address_too(server: Server) -> None:
    is_problem(await server.draft([image()], task="detection", model="namer"), 409, "wrong_task")
    is_problem(await server.draft([image()], model="nobody"), 404, "unknown_model")


async def test_the_path_and_the_body_name_one_task(server: Server) -> None:
    answer = await server.draft([image()], "/v1/detection/drafts", task="classification")
    assert "this address drafts detection" in is_problem(answer, 422, "invalid_request")
    assert (await server.draft([image()], "/v1/detection/drafts", task="detection")).status_code == 200


async def test_an_upload_is_drafted_as_if_it_were_sent(server: Server) -> None:
    uploaded = await server.client.post("/v1/uploads", content=b"a picture")
    assert uploaded.status_code == 201
    assert uploaded.json()["bytes"] == len(b"a picture")
    by_id, inline = await server.drafts(
        [{"id": "u", "image": {"upload": uploaded.json()["id"]}}, image("i", b"a picture")], include=["raw"]
    )
    assert [label["raw"] for label in by_id["labels"]] == [label["raw"] for label in inline["labels"]]
    stored = await server.services.store.get(by_id["id"])
    assert stored.media_sha256 == uploaded.json()["sha256"]
    assert by_id["timings"]["fetch"] > 0
    assert inline["timings"]["fetch"] == 0


async def test_an_upload_is_bounded(server: Server) -> None:
    settings = server.services.settings
    too_much = settings.limits.model_copy(update={"item_bytes": 10})
    object.__setattr__(server.services, "settings", settings.model_copy(update={"limits": too_much}))
    try:
        is_problem(await server.client.post("/v1/uploads", content=b"x" * 11), 413, "media_too_large")
        assert (await server.client.post("/v1/uploads", content=b"x" * 10)).status_code == 201
    finally:
        object.__setattr__(server.services, "settings", settings)


async def test_text_of_every_script_comes_back_whole(server: Server) -> None:
    name = "Ωμέγα/写真\u0000\u202e🖼\n"
    (draft,) = await server.drafts([image(name)], project=name)
    assert (draft["item"], draft["project"]) == (name, name)
    assert (await server.client.get(f"/v1/drafts/{draft['id']}")).json()["item"] == name


async def test_a_transcript_is_rendered_in_order(server: Server) -> None:
    (draft,) = await server.drafts([audio("a", json.dumps({"units": 3}).encode())], "/v1/transcription/drafts")
    assert draft["text"] == "word0 word1 word2"
    assert draft["no_speech"] is False
    (silent,) = await server.drafts([audio("s", json.dumps({"units": 0}).encode())], "/v1/transcription/drafts")
    assert (silent["text"], silent["segments"], silent["no_speech"]) == ("", [], True)
