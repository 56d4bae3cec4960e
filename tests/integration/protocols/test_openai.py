"""OpenAI's audio API as its clients use it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import Overloaded, StorageUnavailable
from serving.requests import Drafter
from tests.recorded import HERE
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.protocols.calibrated import calibrated, calibrated_server
from tests.unit.serving.served import Server, running, settings_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT = "/openai/v1/audio/transcriptions"
TWO_WORDS = b'{"units": 2}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with calibrated_server(template, tmp_path_factory.mktemp("openai") / "server") as server:
        yield server


async def ask(server: Server, data: bytes = TWO_WORDS, at: str = AT, **fields: Any) -> httpx.Response:
    fields = {"model": "whisper-1", **fields}
    named = {name.replace("granularities", "granularities[]"): value for name, value in fields.items()}
    return await server.client.post(at, data=named, files={"file": ("clip.wav", data, "audio/wav")})


async def test_each_format(target: Server) -> None:
    plain = await ask(target)
    assert plain.json()["text"] == "word0 word1"
    assert (await ask(target, at="/v1/audio/transcriptions")).json()["id"] == plain.json()["id"]  # the same bytes are the same item
    assert (await ask(target, response_format="text")).text == "word0 word1\n"
    assert (await ask(target, response_format="srt")).text == "1\n00:00:00,000 --> 00:00:01,500\nword0 word1\n\n"
    vtt = await ask(target, response_format="vtt")
    assert vtt.text == "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nword0 word1\n\n"
    assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"


async def test_words_and_segments_carry_calibrated_confidences(target: Server) -> None:
    answer = (await ask(target, response_format="verbose_json", timestamp_granularities=["segment", "word"])).json()
    (segment,) = answer["segments"]
    assert [word["confidence"] for word in answer["words"]] == [pytest.approx(0.880797)] * 2
    assert answer["words"][1] | {"confidence": 0} == {"word": "word1", "start": 1.0, "end": 1.5, "confidence": 0}
    assert (segment["id"], segment["start"], segment["end"], segment["avg_logprob"]) == (0, 0.0, 2.0, -0.1)
    assert answer["confidence_status"] == "calibrated"
    assert (answer["language"], answer["duration"]) == ("en", 2.0)
    segments_alone = (await ask(target, response_format="verbose_json")).json()
    assert "words" not in segments_alone
    words_alone = (await ask(target, response_format="verbose_json", timestamp_granularities=["word"])).json()
    assert "segments" not in words_alone


async def test_without_a_calibration_there_is_no_number(folder: Path) -> None:
    async with running(settings_in(folder)) as server:
        answer = (await ask(server, response_format="verbose_json", timestamp_granularities=["word"])).json()
    assert answer["confidence_status"] == "uncalibrated"
    assert [word["confidence"] for word in answer["words"]] == [None, None]


async def test_what_is_to_be_made_from_scratch_is_not_shown(folder: Path) -> None:
    async with running(calibrated(folder, bias=0.0)) as server:
        answer = (await ask(server, response_format="verbose_json", timestamp_granularities=["segment", "word"])).json()
        assert (answer["route"], answer["text"], answer["segments"], answer["words"]) == ("from_scratch", "", [], [])
        assert (await ask(server, response_format="srt")).text == ""


async def test_a_stream_has_all_of_the_text_in_one_event(target: Server) -> None:
    answer = await ask(target, stream="true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.splitlines()[0] == "event: transcript.text.delta"
    assert 'data: {"type":"transcript.text.done","text":"word0 word1"}' in answer.text
    refused = await ask(target, stream="true", response_format="srt")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")


async def test_what_changes_nothing_is_named(target: Server) -> None:
    answer = await ask(target, language="de", prompt="Names: Ada", temperature="0.2")
    assert answer.headers["candor-ignored"] == "language, prompt, temperature"
    assert "candor-ignored" not in (await ask(target)).headers


async def test_models(target: Server) -> None:
    listed = (await target.client.get("/openai/v1/models")).json()
    assert [one["id"] for one in listed["data"]] == ["listener", "whisper-1"]
    assert (await target.client.get("/openai/v1/models/listener")).json()["object"] == "model"
    missing = await target.client.get("/openai/v1/models/gpt-4o")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"model": "finder"}, 400, "wrong_task", "model"),
        ({"response_format": "diarized_json"}, 400, "invalid_request", "response_format"),
        ({"timestamp_granularities": ["letter"]}, 400, "invalid_request", "timestamp_granularities"),
        ({"data": b""}, 400, "unreadable_item", None),
    ],
)
async def test_errors_are_openais(target: Server, fields: dict[str, Any], status: int, code: str, param: str | None) -> None:
    answer = await ask(target, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"], error["type"]) == (status, code, param, "invalid_request_error")
    assert error["message"]


async def test_a_form_without_a_file_or_no_form_at_all(target: Server) -> None:
    for sent in ({"json": {"model": "whisper-1"}}, {"files": {"audio": b"x"}}, {"data": {"file": "text"}, "files": {"x": b"x"}}):
        answer = await target.client.post(AT, **sent)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


async def test_a_key_is_asked_for(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        answer = await ask(server)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        server.client.headers = await caller(server, "red", "review")
        assert (await ask(server)).json()["error"]["code"] == "forbidden"
        server.client.headers = await caller(server, "red", "draft")
        assert (await ask(server)).status_code == 200
    limited = settings_in(folder, limits={"item_bytes": 4})
    async with running(limited) as server:
        assert (await ask(server)).json()["error"]["code"] == "media_too_large"


async def test_what_the_client_sends(folder: Path) -> None:
    recorded = json.loads((HERE / "openai" / "requests.json").read_text())["exchange"]
    async with running(with_keys(folder)) as server:
        key = (await caller(server, "red", "draft"))["Authorization"]
        answers = []
        for sent in recorded:
            headers = {"Authorization": sent["auth"].replace("Bearer KEY", key), **({"Content-Type": sent["type"]} if sent["type"] else {})}
            answers.append(await server.client.request(sent["method"], f"/openai/v1{sent['path']}", content=sent["body"], headers=headers))
        assert [answer.status_code for answer in answers] == [200] * 4
        models, plain, verbose, streamed = answers
        assert [one["id"] for one in models.json()["data"]] == ["listener", "whisper-1"]
        assert plain.json()["text"] == "word0 word1"
        assert len(verbose.json()["words"]) == 2
        assert "transcript.text.done" in streamed.text


async def test_capacity_and_storage(folder: Path) -> None:
    raised: list[Exception] = [Overloaded("full", retry_after=2), StorageUnavailable("no disk")]

    class Failing:
        async def draft(self, request: Any) -> Any:
            raise raised.pop(0)

    def failing(_: Drafter) -> Any:
        return Failing()

    async with running(settings_in(folder), failing) as server:
        full = await ask(server)
        assert (full.status_code, full.headers["retry-after"], full.json()["error"]["type"]) == (503, "2", "server_error")
        assert (await ask(server)).json()["error"]["code"] == "storage_unavailable"


_FIELD = st.sampled_from(["response_format", "stream", "timestamp_granularities[]", "language", "file", "x", "y\r\nz"])
_VALUE = st.text(max_size=20) | st.sampled_from(["json", "true", "word", "verbose_json"])


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(_FIELD, _VALUE), max_size=6), st.binary(max_size=20))
async def test_no_form_is_an_error_of_the_server(target: Server, fields: list[tuple[str, str]], data: bytes) -> None:
    sent: list[Any] = [(name, (None, value.encode())) for name, value in fields]
    answer = await target.client.post(AT, files=[*sent, ("file", ("a", data))])
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
