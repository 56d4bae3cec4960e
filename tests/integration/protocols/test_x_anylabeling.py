"""X-AnyLabeling's remote server as its client uses it: nothing that a person drew is lost to an answer."""

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
RECORDED = json.loads((HERE / "x_anylabeling" / "predict.json").read_text())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with calibrated_server(template, tmp_path_factory.mktemp("x_anylabeling") / "server") as server:
        yield server


async def predict(server: Server, *, params: dict[str, Any] | None = None, key: str = "", **body: Any) -> httpx.Response:
    sent = {**RECORDED["body"], **body, "params": {**RECORDED["body"]["params"], **(params or {})}}
    return await server.client.post("/x-anylabeling/v1/predict", json=sent, headers={"Token": key})


def on_canvas(answer: httpx.Response, drawn: list[str], *, keep: bool) -> list[str]:
    """What is on the client's canvas afterwards: it reads an answer like this, and any failure as an empty one."""
    if answer.status_code != 200:
        return drawn if keep else []
    data = answer.json().get("data", {})
    shapes = [shape["label"] for shape in data.get("shapes", [])]
    replace = data.get("replace")
    return shapes if (not keep if replace is None else replace) else drawn + shapes


async def test_boxes_carry_calibrated_scores(target: Server) -> None:
    answer = await predict(target)
    data = answer.json()["data"]
    (draft,) = await target.drafts([{"id": "x", "image": {"base64": "aW1hZ2U="}}])
    assert [shape["score"] for shape in data["shapes"]] == [label["confidence"] for label in draft["labels"]]
    assert data["shapes"][0]["points"] == [[1.0, 2.0], [30.0, 2.0], [30.0, 40.0], [1.0, 40.0]]
    assert data["shapes"][0]["shape_type"] == "rectangle"
    assert data["replace"] is None  # as its user has set it
    with_slash = await target.client.post("/x-anylabeling//v1/predict", json=RECORDED["body"])
    assert with_slash.json() == answer.json()


async def test_a_threshold_holds_against_the_calibrated_confidence(target: Server) -> None:
    first, second = (shape["score"] for shape in (await predict(target)).json()["data"]["shapes"])
    between = (await predict(target, params={"conf_threshold": (first + second) / 2})).json()["data"]
    assert [shape["score"] for shape in between["shapes"]] == [max(first, second)]
    label = between["shapes"][0]["label"]
    wanted = (await predict(target, params={"filter_classes": [label]})).json()["data"]
    assert {shape["label"] for shape in wanted["shapes"]} == {label}


async def test_what_was_drawn_stays_where_nothing_was_found(target: Server) -> None:
    empty = await predict(target, params={"filter_classes": ["no such label"]})
    assert empty.json()["data"]["shapes"] == []
    assert on_canvas(empty, ["mine"], keep=True) == on_canvas(empty, ["mine"], keep=False) == ["mine"]


async def test_a_failure_is_never_a_success(target: Server) -> None:
    for body in (
        {"model": "nobody"},
        {"model": "listener"},
        {"image": "§"},
        {"image": ""},
        {"image": 3},
        {"params": {"conf_threshold": 7}},
    ):
        answer = await predict(target, **body)
        assert 400 <= answer.status_code < 500, body
        assert answer.json()["success"] is False
        assert answer.json()["error"]["message"]
        assert on_canvas(answer, ["mine"], keep=True) == ["mine"]
    models = (await target.client.get("/x-anylabeling/v1/models")).json()["data"]
    for told in models.values():  # keeping is what its user starts with: so a failure loses nothing
        assert {"name": "toggle_preserve_existing_annotations", "value": True} in told["widgets"]


async def test_a_class_is_a_box_of_the_whole_image(target: Server) -> None:
    (shape,) = (await predict(target, model="namer")).json()["data"]["shapes"]
    assert shape["points"][2] == [64.0, 48.0]
    assert 0.5 <= shape["score"] <= 1


async def test_models(target: Server) -> None:
    models = (await target.client.get("/x-anylabeling/v1/models")).json()
    assert set(models["data"]) == {"finder", "namer"}
    assert models["data"]["finder"]["classes"] == ["cat", "dog"]
    assert "edit_conf" in [widget["name"] for widget in models["data"]["finder"]["widgets"]]
    info = await target.client.get("/x-anylabeling/v1/models/finder/info")
    assert info.json()["data"] == models["data"]["finder"]
    assert (await target.client.get("/x-anylabeling/v1/models/listener/info")).status_code == 404


async def test_without_a_calibration_there_is_no_score_and_no_threshold(folder: Path) -> None:
    async with running(settings_in(folder)) as server:
        data = (await predict(server, params={"conf_threshold": 0.99})).json()["data"]
        assert [shape["score"] for shape in data["shapes"]] == [None, None]
        models = (await server.client.get("/x-anylabeling/v1/models")).json()["data"]
        assert "edit_conf" not in [widget["name"] for widget in models["finder"]["widgets"]]


async def test_the_key_is_the_token(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        health = await server.client.get("/x-anylabeling/health")
        assert (health.status_code, health.json()["status"]) == (200, "healthy")
        for key in ("", "cdr_wrong"):
            answer = await predict(server, key=key)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")
        key = (await caller(server, "red", "draft"))["Authorization"].removeprefix("Bearer ")
        assert (await predict(server, key=key)).status_code == 200
        reader = (await caller(server, "red", "review"))["Authorization"].removeprefix("Bearer ")
        assert (await predict(server, key=reader)).status_code == 403


async def test_capacity_and_storage(folder: Path) -> None:
    raised: list[Exception] = [Overloaded("full", retry_after=2), StorageUnavailable("no disk")]

    class Failing:
        async def draft(self, request: Any) -> Any:
            raise raised.pop(0)

    def failing(_: Drafter) -> Any:
        return Failing()

    async with running(settings_in(folder, limits={"item_bytes": 5}), failing) as server:
        full = await predict(server)
        assert (full.status_code, full.headers["retry-after"], full.json()["error"]["message"]) == (503, "2", "full")
        assert (await predict(server)).json()["error"]["code"] == "storage_unavailable"
        large = await predict(server, image=base64.b64encode(bytes(99)).decode())
        assert (large.status_code, large.json()["error"]["code"]) == (413, "media_too_large")


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(-2, 2) | st.text(max_size=8), lambda some: st.lists(some, max_size=2), max_leaves=4
)


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(["model", "image", "params", "x"]), _JSON), st.dictionaries(st.text(max_size=9), _JSON, max_size=2))
async def test_no_body_is_an_error_of_the_server(target: Server, body: dict[str, Any], params: dict[str, Any]) -> None:
    sent = {"model": "finder", "image": "aW1hZ2U=", "params": params, **body}
    answer = await target.client.post("/x-anylabeling/v1/predict", json=sent)
    assert answer.status_code < 500, answer.text
    assert answer.json()["success"] is (answer.status_code == 200)
