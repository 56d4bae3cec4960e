"""The Open Inference Protocol as its clients use it."""

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
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.protocols.calibrated import calibrated_server
from tests.unit.serving.served import Server, running, settings_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
INFER = "/v2/models/finder/infer"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with calibrated_server(template, tmp_path_factory.mktemp("open_inference") / "server") as server:
        yield server


def tensor(*items: bytes, name: str = "image", **more: Any) -> dict[str, Any]:
    data = [base64.b64encode(item).decode() for item in items]
    return {"name": name, "shape": [len(items)], "datatype": "BYTES", "data": data, **more}


async def infer(server: Server, *items: bytes, at: str = INFER, name: str = "image", **more: Any) -> httpx.Response:
    return await server.client.post(at, json={"inputs": [tensor(*items, name=name)], **more})


def outputs(answer: httpx.Response) -> dict[str, list[Any]]:
    assert answer.status_code == 200, answer.text
    for output in answer.json()["outputs"]:
        size = output["shape"][0] * (output["shape"][1] if len(output["shape"]) == 2 else 1)
        assert size == len(output["data"])
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


async def test_boxes_of_all_items_stand_in_one_tensor(target: Server) -> None:
    answer = await infer(target, b"image", b"other", id="r-1")
    found = outputs(answer)
    assert (answer.json()["id"], answer.json()["model_name"]) == ("r-1", "finder")
    assert answer.json()["model_version"].startswith("sha256:")
    assert found["item_index"] == [0, 0, 1, 1]
    assert found["boxes"][:4] == [1.0, 2.0, 30.0, 40.0]
    drafts = [json.loads(draft) for draft in found["drafts"]]
    assert [draft["id"] for draft in drafts] == found["draft_ids"]
    assert found["confidences"] == [label["confidence"] for draft in drafts for label in draft["labels"]]
    assert all(0 < confidence < 1 for confidence in found["confidences"])
    assert outputs(await infer(target, b"image", outputs=[{"name": "labels"}])) == {"labels": found["labels"][:2]}


async def test_each_task_has_its_outputs(target: Server) -> None:
    words = outputs(await infer(target, b'{"units": 2}', at="/v2/models/listener/infer", name="audio"))
    assert (words["texts"], words["labels"], words["starts"]) == (["word0 word1"], ["word0", "word1"], [0.0, 1.0])
    classes = outputs(await infer(target, b"image", at="/v2/models/namer/infer"))
    assert (classes["item_index"], set(classes["labels"])) == ([0, 0], {"cat", "dog"})
    for model in ("listener", "namer"):
        told = (await target.client.get(f"/v2/models/{model}")).json()
        assert [output["name"] for output in told["outputs"]] == list(words if model == "listener" else classes)


async def test_many_empty_elements_are_not_all_read(target: Server) -> None:
    many = bytes(4 * 100_000)
    head = json.dumps({"inputs": [{**tensor(), "parameters": {"binary_data_size": len(many)}}]}).encode()
    answer = await target.client.post(INFER, content=head + many, headers={"Inference-Header-Content-Length": str(len(head))})
    assert (answer.status_code, answer.json()["error"][:20]) == (413, "more than 256 items;")


async def test_numbers_of_any_length_are_refused(target: Server) -> None:
    long = "1" * 4300
    for text in (long, f"{long}0", f"[{long}, 1]", f"[{long}, {long}]", "[1e400]", "[-1, -1]", "[1.0]"):
        sent = json.dumps({"inputs": [{**tensor(b"image"), "shape": "HERE"}]}).replace('"HERE"', text)
        assert (await target.client.post(INFER, content=sent)).status_code == 422, text[:20]
        sent = json.dumps({"inputs": [{**tensor(b"image"), "parameters": {"binary_data_size": "HERE"}}]}).replace('"HERE"', text)
        assert (await target.client.post(INFER, content=sent)).status_code == 422, text[:20]


async def test_bytes_may_follow_the_json(target: Server) -> None:
    items = (b"image", b"\xff\x00")
    binary = b"".join(len(item).to_bytes(4, "little") + item for item in items)
    head = json.dumps({"inputs": [{**tensor(*items), "data": None, "parameters": {"binary_data_size": len(binary)}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = await target.client.post(INFER, content=head + binary, headers=headers)
    assert outputs(answer)["draft_ids"] == outputs(await infer(target, *items))["draft_ids"]
    for cut in (head + binary[:-1], head[:-1], head + b"\xff\xff\xff\xff" + bytes(len(binary) - 4)):
        assert (await target.client.post(INFER, content=cut, headers=headers)).status_code == 422


async def test_one_bad_item_fails_alone_and_all_bad_ones_together(target: Server) -> None:
    found = outputs(await infer(target, b"image", b""))
    assert (found["errors"], found["draft_ids"][1], found["drafts"][1]) == (["", "the item is empty"], "", "")
    alone = await infer(target, b"")
    assert (alone.status_code, alone.json()) == (422, {"error": "the item is empty"})


async def test_versions(target: Server) -> None:
    told = (await target.client.get("/v2/models/finder")).json()
    (version,) = told["versions"]
    for at in (version, "production"):
        assert (await infer(target, b"image", at=f"/v2/models/finder/versions/{at}/infer")).json()["model_version"] == version
        assert (await target.client.get(f"/v2/models/finder/versions/{at}/ready")).json()["ready"] is True
    assert (await target.client.get("/v2/models/finder/versions/9")).status_code == 404


async def test_without_a_calibration_there_is_no_number(folder: Path) -> None:
    async with running(settings_in(folder)) as server:
        assert outputs(await infer(server, b"image"))["confidences"] == [None, None]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"inputs": []}, 422),
        ({"inputs": [tensor(b"x"), tensor(b"x")]}, 422),
        ({"inputs": [tensor(b"x", name="audio")]}, 422),
        ({"inputs": [tensor(b"x", datatype="FP32")]}, 422),
        ({"inputs": [tensor(b"x", shape=[2])]}, 422),
        ({"inputs": [tensor(b"x", data=["§"])]}, 422),
        ({"inputs": [tensor(b"x", data=["http://127.0.0.1/x"])]}, 403),
        ({"inputs": [tensor()]}, 422),
        ({"inputs": [tensor(*[b"x"] * 257)]}, 413),
        ({"inputs": [tensor(b"x")], "outputs": [{"name": "masks"}]}, 422),
    ],
)
async def test_errors_have_one_field(target: Server, body: dict[str, Any], status: int) -> None:
    answer = await target.client.post(INFER, json=body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert answer.json()["error"]


async def test_keys_and_health(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        await server.ready()
        assert (await server.client.get("/v2")).json()["name"] == "candor"
        assert (await server.client.get("/v2/health/live")).json() == {"live": True}
        assert (await server.client.get("/v2/health/ready")).json() == {"ready": True}
        assert (await server.client.get("/v2/models/finder")).status_code == 401
        assert (await infer(server, b"image")).status_code == 401
        server.client.headers = await caller(server, "red", "review")
        assert (await infer(server, b"image")).status_code == 403
        server.client.headers = await caller(server, "red", "draft")
        assert (await infer(server, b"image")).status_code == 200
        assert (await infer(server, b"image", at="/v2/models/nobody/infer")).status_code == 404


async def test_capacity_and_storage(folder: Path) -> None:
    raised: list[Exception] = [Overloaded("full", retry_after=2), StorageUnavailable("no disk")]

    class Failing:
        async def draft(self, request: Any) -> Any:
            raise raised.pop(0)

    def failing(_: Drafter) -> Any:
        return Failing()

    async with running(settings_in(folder), failing) as server:
        full = await infer(server, b"image")
        assert (full.status_code, full.headers["retry-after"], full.json()) == (503, "2", {"error": "full"})
        assert (await infer(server, b"image")).json() == {"error": "no disk"}


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda some: st.lists(some, max_size=2), max_leaves=4)
_TENSOR = st.dictionaries(st.sampled_from(["shape", "data", "parameters", "name"]), _JSON | st.just({"binary_data_size": 0}), max_size=2)


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    _TENSOR, st.dictionaries(st.sampled_from(["id", "outputs", "parameters", "inputs"]), _JSON, max_size=1), st.none() | st.text("0129x")
)
async def test_no_body_is_an_error_of_the_server(target: Server, changes: Any, body: dict[str, Any], length: str | None) -> None:
    headers = {} if length is None else {"Inference-Header-Content-Length": length}
    answer = await target.client.post(INFER, json={"inputs": [{**tensor(b"image"), **changes}], **body}, headers=headers)
    assert answer.status_code < 500, answer.text
    assert "outputs" in answer.json() or answer.json()["error"]
