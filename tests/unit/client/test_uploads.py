from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from client.errors import ChangedFile, Refused, Unreachable
from client.uploads import LARGE
from tests.unit.client.fake_registry import PART, FakeRegistry
from tests.unit.client.fake_server import problem

BROKEN = httpx.ReadError("reset")
PUT = r"PUT .*offset="


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("client.uploads.LARGE", 2 * PART)
    path = tmp_path / "model.onnx"
    path.write_bytes(os.urandom(2 * PART + 5))
    return path


def test_a_large_file_goes_in_parts_and_says_how_far_it_is(large: Path) -> None:
    server, shares = FakeRegistry(), []
    assert server.client().upload(large, lambda step, share: shares.append((step, round(share, 2)))) == "upl_1"
    assert server.received == large.read_bytes()
    assert server.asked == ["POST /v1/uploads/resumable", *(f"PUT /v1/uploads/upl_1/parts?offset={n * PART}" for n in range(3))]
    assert shares[0][0] == "hashing"
    assert shares[-1] == ("uploading", 1.0)
    assert [share for _, share in shares] == [0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0]


def test_a_small_file_goes_whole(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"x")
    server = FakeRegistry()
    assert server.client().upload(path) == "upl_1"
    assert server.asked == ["POST /v1/uploads"]
    assert LARGE > 2**20


def test_a_broken_connection_costs_one_part(large: Path) -> None:
    server = FakeRegistry([(PUT + str(PART), BROKEN), (PUT + str(2 * PART), problem("storage_unavailable", 503, retryable=True))])
    server.client().upload(large)
    assert server.received == large.read_bytes()
    assert len(server.asked) == 6  # two parts twice


def test_the_same_call_later_goes_on_where_it_was(large: Path) -> None:
    server = FakeRegistry([(PUT + str(PART), BROKEN)] * 6)
    with pytest.raises(Unreachable):
        server.client().upload(large)
    assert len(server.received) == PART
    server.asked.clear()
    server.client().upload(large)
    assert server.asked[1:] == [f"PUT /v1/uploads/upl_1/parts?offset={n * PART}" for n in (1, 2)]


def test_a_part_that_somebody_else_sent_counts(large: Path) -> None:
    server = FakeRegistry([(PUT + "0", problem("conflict", 409))])
    server.announced, server.received = {}, b""
    client = server.client()
    handle = server.handle

    def other_sends_meanwhile(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            server.received = large.read_bytes()[: 2 * PART]
        return handle(request)

    client._http._transport = httpx.MockTransport(other_sends_meanwhile)
    client.upload(large)
    assert server.asked[2:] == ["GET /v1/uploads/upl_1", f"PUT /v1/uploads/upl_1/parts?offset={2 * PART}"]


def test_what_got_no_further_is_told(large: Path) -> None:
    with pytest.raises(Refused, match="conflict"):
        FakeRegistry([(PUT, problem("conflict", 409))]).client().upload(large)


def test_a_file_that_shrinks_is_told(large: Path) -> None:
    server = FakeRegistry()

    def shrink(step: str, _share: float) -> None:
        if step == "uploading":
            large.write_bytes(b"")

    with pytest.raises(ChangedFile, match="became shorter"):
        server.client().upload(large, shrink)


def test_a_join_that_broke_off_is_asked_for_again(large: Path) -> None:
    server = FakeRegistry()
    state, joined = server._state, list[bool]()

    def unjoined(status: int = 200) -> httpx.Response:
        answer = state(status)
        if len(server.received) < 2 * PART + 5 or joined:
            return answer
        joined.append(True)
        return httpx.Response(200, json={**answer.json(), "complete": False})

    server._state = unjoined  # type: ignore[method-assign]
    server.client().upload(large)
    assert server.asked[-1] == f"PUT /v1/uploads/upl_1/parts?offset={2 * PART + 5}"
