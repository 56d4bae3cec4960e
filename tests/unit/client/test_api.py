from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from client.api import Client, DraftOptions, Item
from client.errors import BadKey, Refused, UnclearTask, UnexpectedAnswer, Unreachable
from client.files import MediaFile
from client.retries import Retries
from tests.unit.client.fake_server import FakeServer, problem

REFUSED = httpx.ConnectError("[Errno 111] Connection refused")
ITEMS = [Item("a", "image", data=b"A"), Item("b", "image", url="https://example.org/b"), Item("c", "image", upload="upl_1")]


def image(folder: Path, name: str, content: bytes = b"pixels") -> MediaFile:
    path = folder / name
    path.write_bytes(content)
    return MediaFile(path, "image", name)


def test_items_go_as_the_api_takes_them() -> None:
    server = FakeServer()
    drafts = server.client().draft(ITEMS, DraftOptions("detection", "boxes@production", "streets", raw=True, fresh=True))
    assert [draft["item"] for draft in drafts] == ["a", "b", "c"]
    request = server.requests[0]
    assert request.url.path == "/v1/detection/drafts"
    assert request.headers["Cache-Control"] == "no-cache"
    assert json.loads(server.bodies[0]) == {
        "model": "boxes@production",
        "project": "streets",
        "include": ["raw"],
        "items": [
            {"id": "a", "image": {"base64": "QQ=="}},
            {"id": "b", "image": {"url": "https://example.org/b"}},
            {"id": "c", "image": {"upload": "upl_1"}},
        ],
    }


def test_files_go_as_a_form_with_their_names(tmp_path: Path) -> None:
    server = FakeServer()
    files = [image(tmp_path, "1.jpg", b"first"), image(tmp_path, "2.jpg", b"second")]
    assert [draft["item"] for draft in server.client().draft_files(files, DraftOptions(raw=True))] == ["1.jpg", "2.jpg"]
    assert server.requests[0].url.path == "/v1/drafts"
    assert "Cache-Control" not in server.requests[0].headers
    body = server.bodies[0]
    assert body.index(b'name="include"\r\n\r\nraw') < body.index(b"first") < body.index(b"second")


def test_a_retry_is_the_same_request_with_the_same_key(tmp_path: Path) -> None:
    server = FakeServer(problem("overloaded", 503, retryable=True), httpx.ReadError("reset"), httpx.Response(502, text="<html>"))
    server.client().draft_files([image(tmp_path, "1.jpg", b"whole file")], DraftOptions("detection"))
    assert len(server.requests) == 4
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 1
    assert all(b"whole file" in body for body in server.bodies)  # each time from its start


def test_two_requests_have_two_keys() -> None:
    server = FakeServer()
    client = server.client()
    client.draft(ITEMS)
    client.draft(ITEMS)
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 2


def test_retry_after_is_never_undercut_and_backoff_grows() -> None:
    busy = [problem("overloaded", 503, retryable=True, retry_after=asked) for asked in ("7", None, None)]
    server = FakeServer(*busy)
    server.client(retries=Retries(draw=lambda: 0.0)).draft(ITEMS)
    assert server.waits == [7.0, 1.0, 2.0]


def test_retries_end() -> None:
    server = FakeServer(*(problem("overloaded", 503, retryable=True) for _ in range(9)))
    with pytest.raises(Refused) as refused:
        server.client(retries=Retries(attempts=3)).draft(ITEMS)
    assert len(server.requests) == 3
    assert len(server.waits) == 2
    assert (refused.value.code, refused.value.status, refused.value.request_id) == ("overloaded", 503, "req-1")


def test_what_will_not_pass_is_not_tried_again() -> None:
    server = FakeServer(problem("unknown_model", 404))
    with pytest.raises(Refused, match="told: unknown_model"):
        server.client().draft(ITEMS)
    assert len(server.requests) == 1


def test_a_conflict_with_its_own_earlier_try_passes() -> None:
    server = FakeServer(httpx.ReadTimeout("slow"), problem("conflict", 409))
    assert len(server.client().draft(ITEMS)) == 3
    with pytest.raises(Refused):
        FakeServer(problem("conflict", 409)).client().draft(ITEMS)


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    server = FakeServer(*[REFUSED] * 5)
    with pytest.raises(Unreachable, match="make serve"):
        server.client().models()
    assert len(server.requests) == 1


def test_a_server_that_restarts_is_waited_for() -> None:
    server = FakeServer()
    client = server.client()
    client.models()
    server.faults = [REFUSED, REFUSED]
    assert len(client.draft(ITEMS)) == 3


@pytest.mark.parametrize("address", ["example.org", "ftp://example.org", "http://host:port"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(Unreachable, match="is not an address"), Client(address) as client:
        client.models()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>hello"),
        httpx.Response(200, json={"drafts": []}),
        httpx.Response(200, json=["drafts"]),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(302, headers={"Location": "/login"}),
    ],
)
def test_a_stranger_is_told_from_candor(answer: httpx.Response) -> None:
    with pytest.raises(UnexpectedAnswer, match="another server"):
        FakeServer(answer).client().draft(ITEMS)


def test_readiness_is_read_also_from_a_503() -> None:
    body = {"ready": False, "models": [{"task": "detection", "model": "boxes", "state": "loading"}]}
    server = FakeServer(httpx.Response(503, json=body))
    assert server.client().ready() == body
    server.faults = [REFUSED]
    with pytest.raises(Unreachable):
        server.client().ready()


def test_an_upload_streams_the_file_and_is_sent_whole_again(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"sound" * 50_000)
    server = FakeServer(httpx.ReadError("reset"), httpx.Response(201, json={"id": "upl_1", "sha256": "0", "bytes": 250_000}))
    assert server.client().upload(path) == "upl_1"
    assert server.bodies == [path.read_bytes()] * 2
    assert server.requests[0].headers["Content-Length"] == "250000"


def test_a_stored_draft_is_read() -> None:
    server = FakeServer(httpx.Response(200, json={"id": "drf_1", "item": "a"}))
    assert server.client().get_draft("drf_1")["item"] == "a"
    assert server.requests[0].url.path == "/v1/drafts/drf_1"


def test_the_task_is_the_models_own_else_transcription_else_unclear(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.wav"):
        (tmp_path / name).write_bytes(b"x")
    server = FakeServer()
    client = server.client()
    assert [draft["item"] for draft in client.draft_paths([tmp_path], DraftOptions(model="words@production"))] == [f"{tmp_path}/2.wav"]
    assert server.requests[-1].url.path == "/v1/transcription/drafts"
    assert [draft["item"] for draft in client.draft_paths([tmp_path], DraftOptions("classification"))] == [f"{tmp_path}/1.jpg"]
    assert len(list(client.draft_paths([tmp_path / "2.wav"]))) == 1
    assert server.requests[-1].url.path == "/v1/transcription/drafts"
    with pytest.raises(UnclearTask, match="--task"):
        client.draft_paths([tmp_path])


def test_a_key_goes_with_every_request() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"ready": request.headers.get("Authorization") == "Bearer cdr_1_2"})

    transport = httpx.MockTransport(answer)
    assert Client(key="cdr_1_2", transport=transport).ready()["ready"]
    assert not Client(transport=transport).ready()["ready"]


@pytest.mark.parametrize("key", ["cdr_\u00e9", "cdr_1\nX-Other: 1", "cdr 1"])
def test_a_key_that_can_be_none_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(BadKey) as refused:
        Client(key=key)
    assert key not in str(refused.value)
