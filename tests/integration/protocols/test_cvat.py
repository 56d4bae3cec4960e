"""What a CVAT of one's own gets from the addresses that it takes for nuclio's."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from candor.drafts import Draft, Timings
from candor.errors import InvalidRequest, NotFound, NotReady, Overloaded, RateLimited
from serving.protocols.cvat.functions import function_id, named
from serving.protocols.cvat.invocation import patiently, read_call, seconds_of, shapes_of
from tests.recorded import HERE
from tests.unit.serving.served import Server, image, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDED = json.loads((HERE / "cvat" / "gateway.json").read_text())["requests"]


async def replay(server: Server, number: int, **headers: str) -> httpx.Response:
    """Send a recorded request, with other headers where they are given."""
    told = RECORDED[number]
    headers = {**told["headers"], **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await server.client.request(told["method"], told["path"], headers=headers, content=told["body"])


async def invoke(
    server: Server, name: str, data: bytes = b"frame", headers: Mapping[str, str] | None = None, **more: Any
) -> httpx.Response:
    body = {"image": base64.b64encode(data).decode(), **more}
    found = {"x-nuclio-function-name": name, "x-nuclio-path": "/", "X-Nuclio-Invoke-Timeout": "5s", **(headers or {})}
    return await server.client.post("/api/function_invocations", json=body, headers=found)


def spec_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Read a function as CVAT does: what it takes for granted raises here too."""
    notes = found["metadata"]["annotations"]
    assert notes["type"] == "detector"
    int(notes.get("version", "1"))
    assert found["spec"]["description"]
    assert isinstance(found["status"], dict)
    spec: list[dict[str, Any]] = json.loads(notes["spec"])
    assert all(attribute.keys() >= {"name", "input_type", "values"} for label in spec for attribute in label["attributes"])
    assert len({label["name"] for label in spec}) == len(spec)
    return spec


async def test_models_for_images_are_listed(steady: Server) -> None:
    listed = (await replay(steady, 0)).json()
    assert {"model-finder", "model-namer"} <= listed.keys()
    assert "model-listener" not in listed
    assert [(label["name"], label["type"]) for label in spec_of(listed["model-finder"])] == [("cat", "rectangle"), ("dog", "rectangle")]
    assert {label["type"] for label in spec_of(listed["model-namer"])} == {"tag"}
    one = (await replay(steady, 1)).json()
    assert one == listed["model-finder"]
    assert one["metadata"]["annotations"]["candor.model_version"].startswith("finder@sha256:")


async def test_a_frame_gets_the_boxes_of_its_draft(steady: Server) -> None:
    found = (await replay(steady, 2)).json()
    frame = base64.b64decode(json.loads(RECORDED[2]["body"])["image"])
    (draft,) = await steady.drafts([image("the same", frame)])
    assert found
    assert [(one["label"], one["points"]) for one in found] == [(label["label"], label["xyxy"]) for label in draft["labels"]]
    # it is not calibrated: there is no confidence, and nothing that a threshold could be held against
    assert all(one.keys() == {"label", "type", "points"} and one["type"] == "rectangle" for one in found)
    assert (await replay(steady, 3)).json() == found


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b'{"image": 3}', 422, "invalid_request"),
        (b'{"image": "%%%"}', 422, "invalid_request"),
        (b'{"image": "YQ==", "threshold": 50}', 422, "invalid_request"),
        (b'{"image": "YQ==", "threshold": true}', 422, "invalid_request"),
        (b'{"image": ""}', 422, "unreadable_item"),
    ],
)
async def test_a_bad_call_is_refused(steady: Server, body: bytes, status: int, code: str) -> None:
    answer = await steady.client.post("/api/function_invocations", content=body, headers={"x-nuclio-function-name": "model-finder"})
    is_problem(answer, status, code)


async def test_an_unknown_function_is_refused(steady: Server) -> None:
    for name in ("model-nobodys", "finder", "model-", "project-"):
        assert (await invoke(steady, name)).status_code == 404
        assert (await steady.client.get(f"/api/functions/{name}")).status_code == 404
    is_problem(await invoke(steady, ""), 422, "invalid_request")
    is_problem(await invoke(steady, "model-listener"), 422, "invalid_request")
    assert (await steady.client.get("/api/functions/model-listener")).status_code == 404


def draft_of(*confidences: float | None) -> Draft:
    labels = [{"id": "d.0", "label": "cat", "xyxy": [1.0, 2.0, 3.0, 4.5], "confidence": one, "raw": {"score": 0.9}} for one in confidences]
    rest: dict[str, Any] = {"confidence": None, "timings": Timings(), "media_sha256": "", "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    return Draft("d", "a", "detection", "m", "c", "calibrated", payload={"image_size": [9, 9], "labels": labels}, **rest)


async def test_a_threshold_is_held_against_confidences() -> None:
    found = shapes_of(draft_of(0.7, 0.69999, 0.2), 0.7)
    assert [one["confidence"] for one in found] == ["0.7000"]
    assert found[0]["points"] == [1.0, 2.0, 3.0, 4.5]
    assert len(shapes_of(draft_of(None, None), 0.99)) == 2
    assert len(shapes_of(draft_of(0.7, 0.1), None)) == 2


async def test_ids_are_what_cvat_takes_and_lead_back() -> None:
    for name in ("yolov3-tiny", "a_b", "my.model", "x+y", "Straße 7", "1:2", "model-x"):
        text = function_id("project", name)
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
        assert named(text) == ("project", name)
    for wrong in ("", "model", "model-", "other-x", "model-a.b", "model-.FF", "model-a.2e"):
        with pytest.raises(NotFound):
            named(wrong)


async def test_patience_ends_before_cvats() -> None:
    assert seconds_of("120s") == 119
    assert seconds_of("5s") == 4.5
    assert seconds_of("999999s") == 599
    assert seconds_of(None) == seconds_of("soon") == 29
    clock = asyncio.get_running_loop().time
    tries = [NotReady("loading", retry_after=0), RateLimited("later", retry_after=0), None]

    async def work() -> str:
        if (error := tries.pop(0)) is not None:
            raise error
        return "done"

    assert await patiently(work, clock() + 1) == "done"

    async def never() -> str:
        raise Overloaded("full", retry_after=60)

    with pytest.raises(Overloaded):
        await patiently(never, clock() + 1)

    async def wrong() -> str:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        await patiently(wrong, clock() + 1)


async def test_a_call_is_read_whole() -> None:
    call = read_call(b'{"image": "YWJj", "threshold": 1}', 3)
    assert (call.image, call.threshold, call.item) == (b"abc", 1.0, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
