"""Roboflow's inference server as its clients use it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candor.errors import Overloaded, StorageUnavailable
from serving.requests import Drafter
from tests.recorded import HERE
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.protocols.calibrated import calibrated_server
from tests.unit.serving.served import Server, running, settings_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
DETECT = "/roboflow/infer/object_detection"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with calibrated_server(template, tmp_path_factory.mktemp("roboflow") / "server") as server:
        yield server


def picture(data: bytes = b"image") -> dict[str, str]:
    return {"type": "base64", "value": base64.b64encode(data).decode()}


async def infer(server: Server, image: Any = None, at: str = DETECT, **body: Any) -> httpx.Response:
    return await server.client.post(at, json={"model_id": "finder/1", "image": image or picture(), **body})


async def test_what_the_client_sends(folder: Path) -> None:
    recorded = json.loads((HERE / "roboflow" / "requests.json").read_text())["exchange"]
    async with running(with_keys(folder)) as server:
        key = (await caller(server, "red", "draft"))["Authorization"].removeprefix("Bearer ")
        answers = []
        for sent in recorded:
            headers = {"Content-Type": sent["type"] or "", "Authorization": (sent["auth"] or "").replace("KEY", key)}
            path, body = sent["path"].replace("KEY", key), sent["body"].replace('"KEY"', f'"{key}"')
            answers.append(
                await server.client.request(
                    sent["method"], f"/roboflow{path}", content=body, headers={name: value for name, value in headers.items() if value}
                )
            )
        assert [answer.status_code for answer in answers] == [200] * len(recorded)
        assert [one["model_id"] for one in answers[0].json()["models"]] == ["finder/1", "finder/production", "namer/1", "namer/production"]
        assert len(answers[2].json()) == 2  # a list for a list
        assert answers[-1].json()["predictions"][0]["detection_id"].startswith("drf_")
        unloaded = [
            answer.json() for sent, answer in zip(recorded, answers, strict=True) if sent["path"] in ("/model/remove", "/model/clear")
        ]
        assert unloaded == [{"models": []}] * 2  # they come without a key


async def test_boxes_are_told_by_their_centres(target: Server) -> None:
    answer = (await infer(target)).json()
    first = answer["predictions"][0]
    assert (first["x"], first["y"], first["width"], first["height"]) == (15.5, 21.0, 29.0, 38.0)
    assert (first["class_id"], first["class"]) in ((0, "cat"), (1, "dog"))
    assert 0 < first["confidence"] < 1
    assert answer["image"] == {"width": 64, "height": 48}
    assert (await infer(target, model_id="finder/production")).json()["predictions"] == answer["predictions"]


async def test_filters(target: Server) -> None:
    first, second = (one["confidence"] for one in (await infer(target)).json()["predictions"])
    least = (first + second) / 2
    assert [one["confidence"] for one in (await infer(target, confidence=least)).json()["predictions"]] == [first]
    assert len((await infer(target, confidence="best")).json()["predictions"]) == 2
    assert len((await infer(target, max_detections=1)).json()["predictions"]) == 1
    assert (await infer(target, class_filter=["nothing"])).json()["predictions"] == []
    older = await target.client.post(f"/roboflow/finder/1?confidence={least * 100}", content=picture()["value"])
    assert [one["confidence"] for one in older.json()["predictions"]] == [first]


async def test_the_older_form_takes_bytes_and_files(target: Server) -> None:
    expected = (await infer(target)).json()
    as_file = await target.client.post("/roboflow/finder/1", files={"file": ("a.jpg", b"image")})
    as_bytes = await target.client.post("/roboflow/finder/1", content=b"image", headers={"Content-Type": "image/jpeg"})
    in_query = await target.client.get("/roboflow/finder/1", params={"image": picture()["value"]})
    assert as_file.json() == as_bytes.json() == in_query.json() == expected


async def test_a_class_is_told_with_its_confidence(target: Server) -> None:
    answer = (await infer(target, at="/roboflow/infer/classification", model_id="namer/1")).json()
    assert (answer["top"], answer["confidence"]) == (answer["predictions"][0]["class"], answer["predictions"][0]["confidence"])
    assert len(answer["predictions"]) == 2


async def test_without_a_calibration_there_is_no_number(folder: Path) -> None:
    async with running(settings_in(folder)) as server:
        answer = (await infer(server, confidence=0.99)).json()
        assert [one["confidence"] for one in answer["predictions"]] == [None, None]


async def test_a_list_is_one_batch_and_fails_as_one(target: Server) -> None:
    answer = await infer(target, [picture(), picture(b""), picture(b"other")])
    assert (answer.status_code, answer.json()["message"]) == (422, "item 2 of 3: the item is empty")
    assert len((await infer(target, [picture(), picture(), picture(b"other")])).json()) == 3


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model_id": "nobody/1"}, 404, "unknown_model"),
        ({"model_id": "finder/7"}, 404, "unknown_alias"),
        ({"model_id": "namer/1"}, 409, "wrong_task"),
        ({"model_id": None}, 422, "invalid_request"),
        ({"image": {"type": "numpy", "value": "x"}}, 422, "invalid_request"),
        ({"image": {"type": "url", "value": "http://127.0.0.1/x"}}, 403, "media_forbidden"),
        ({"image": [picture()] * 257}, 413, "too_many_items"),
        ({"image": []}, 422, "no_items"),
        ({"visualize_predictions": True}, 422, "invalid_request"),
        ({"confidence": 2}, 422, "invalid_request"),
    ],
)
async def test_errors_have_a_message(target: Server, body: dict[str, Any], status: int, code: str) -> None:
    answer = await target.client.post(DETECT, json={"model_id": "finder/1", "image": picture(), **body})
    assert (answer.status_code, answer.json()["error_type"]) == (status, code)
    assert answer.json()["message"]


async def test_what_is_not_served_says_so(target: Server) -> None:
    answer = await infer(target, at="/roboflow/infer/instance_segmentation")
    assert (answer.status_code, answer.json()["error_type"]) == (404, "not_found")
    added = await target.client.post("/roboflow/model/add", json={"model_id": "listener/1"})
    assert (added.status_code, added.json()["error_type"]) == (409, "wrong_task")


async def test_keys_and_health(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        await server.ready()
        for open_address in ("/info", "/healthz", "/readiness"):
            assert (await server.client.get(f"/roboflow{open_address}")).status_code == 200
        assert (await infer(server)).status_code == 401
        assert (await infer(server, api_key="wrong")).json()["message"].startswith("send a valid API key")
        reader = (await caller(server, "red", "review"))["Authorization"].removeprefix("Bearer ")
        assert (await infer(server, api_key=reader)).status_code == 403


async def test_of_whom_it_does_not_know_it_reads_the_beginning(folder: Path) -> None:
    given_out = 0

    async def body(key: str) -> AsyncIterator[bytes]:
        nonlocal given_out
        given_out = 0
        yield json.dumps({"api_key": key, "model_id": "finder/1", "x": r'"api_key": "not this"'})[:-1].encode()
        yield b', "image": {"type": "base64", "value": "'
        for _ in range(64):
            given_out += 1
            yield b"AAAA" * 1024
        yield b'"}}'

    async with running(with_keys(folder)) as server:
        key = (await caller(server, "red", "draft"))["Authorization"].removeprefix("Bearer ")
        for wrong in ("wrong", key[:-1] + "é", ""):
            refused = await server.client.post(DETECT, content=body(wrong))
            assert refused.status_code == 401
            assert "put `api_key` before the image" in refused.json()["message"]
            assert given_out < 20
        assert (await server.client.post(DETECT, content=body(key))).status_code == 200
        late = {"image": picture(bytes(100_000)), "model_id": "finder/1", "api_key": key}
        assert (await server.client.post(DETECT, json=late)).status_code == 401
        assert (await server.client.post(DETECT, content=b"{" * 100)).status_code == 401  # nothing is parsed for nobody
        assert (await server.client.post(DETECT, content=b"{" * 100, headers={"X-API-Key": key})).status_code == 422


async def test_capacity_and_storage(folder: Path) -> None:
    raised: list[Exception] = [Overloaded("full", retry_after=2), StorageUnavailable("no disk")]

    class Failing:
        async def draft(self, request: Any) -> Any:
            raise raised.pop(0)

    def failing(_: Drafter) -> Any:
        return Failing()

    async with running(settings_in(folder), failing) as server:
        full = await infer(server)
        assert (full.status_code, full.headers["retry-after"], full.json()["message"]) == (503, "2", "full")
        assert (await infer(server)).json()["error_type"] == "storage_unavailable"


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(-2, 2) | st.text(max_size=8), lambda some: st.lists(some, max_size=2), max_leaves=4
)
_NAMES = st.sampled_from(["image", "confidence", "class_filter", "max_detections", "format", "api_key", "classes", "x"])


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(_NAMES, _JSON, max_size=4), st.binary(max_size=12), st.text(max_size=5))
async def test_no_body_is_an_error_of_the_server(target: Server, body: dict[str, Any], data: bytes, confidence: str) -> None:
    for answer in (
        await target.client.post(DETECT, json={"model_id": "finder/1", "image": picture(), **body}),
        await target.client.post("/roboflow/finder/1", content=data, params={"confidence": confidence}),
    ):
        assert answer.status_code < 500, answer.text
        assert "predictions" in answer.json() or answer.json()["message"]
