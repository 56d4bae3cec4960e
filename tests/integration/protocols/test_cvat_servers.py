"""CVAT at servers of its own: keys, limits, a calibrated model."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path

from serving.loading import install_all
from tests.integration.protocols.test_cvat import invoke, replay, spec_of
from tests.unit.serving.arms.armed import draws_of, put
from tests.unit.serving.calibrations.drafted import manifest_of
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.served import Gate, Server, calibration_of, image, is_problem, model, running, settings_in


async def test_a_class_is_one_tag_with_its_confidence(folder: Path) -> None:
    settings = settings_in(folder)
    async with running(settings) as server:
        record = calibration_of(manifest_of(settings, "namer").version)
        assert (await server.client.post("/v1/calibrations", json=record.as_json())).status_code == 201
        assert (await server.client.post(f"/v1/calibrations/{record.id}/promote")).status_code == 200
        (tag,) = (await invoke(server, "model-namer")).json()
        (draft,) = await server.drafts([image("x", b"frame")], "/v1/classification/drafts")
        confidence = draft["labels"][0]["confidence"]
        told = f"{confidence:.4f}"
        assert tag == {
            "label": draft["labels"][0]["label"],
            "type": "tag",
            "confidence": told,
            "attributes": [{"name": "confidence", "value": told}],
        }
        assert (await invoke(server, "model-namer", threshold=confidence - 0.01)).json() == [tag]
        assert (await invoke(server, "model-namer", threshold=min(1, confidence + 0.01))).json() == []
        notes = (await replay(server, 0)).json()["model-namer"]["metadata"]["annotations"]
        assert notes["candor.confidence_status"] == "calibrated"


async def test_a_project_is_a_function_with_its_own_labels(server: Server) -> None:
    project = {"model": "finder", "label_map": {"cat": "beast"}}
    assert (await server.client.put("/v1/projects/Old town.1", json=project)).status_code == 200
    assert (await server.client.put("/v1/projects/without", json={"labels": ["cat"]})).status_code == 200
    listed = (await replay(server, 0)).json()
    name = "project-Old.20town.2E1"
    assert [label["name"] for label in spec_of(listed[name])] == ["beast"]
    assert not [one for one in listed if "without" in one]
    found = [one for n in range(8) for one in (await invoke(server, name, f"{n}".encode())).json()]
    assert {one["label"] for one in found} == {"beast"}
    is_problem(await invoke(server, "project-without"), 404, "not_found")
    is_problem(await invoke(server, "project-nobodys"), 404, "unknown_project")


async def test_a_withheld_draft_looks_like_an_empty_frame(server: Server) -> None:
    await put(server, "armed", {"control": 0.5, "honeypot": 0.02}, model="finder")
    frames = [f"armed {n}".encode() for n in range(12)]
    found = {hashlib.sha256(frame).hexdigest(): (await invoke(server, "project-armed", frame)).json() for frame in frames}
    drawn = {item: row.arm for item, row in (await draws_of(server, "armed")).items()}
    assert drawn.keys() == found.keys()
    assert set(drawn.values()) == {"assisted", "withheld"}
    assert not any(found[item] for item, arm in drawn.items() if arm == "withheld")
    assert any(found[item] for item, arm in drawn.items() if arm == "assisted")


async def test_the_key_is_the_password(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        theirs, reviewer = await caller(server, "ours", "draft"), await caller(server, "ours", "review")
        key = theirs["Authorization"].removeprefix("Bearer ")
        basic = base64.b64encode(f"cvat:{key}".encode()).decode()
        assert (await replay(server, 0, Authorization=f"Basic {basic}")).status_code == 200
        assert (await replay(server, 2, Authorization=f"Basic {basic}")).json()
        assert (await replay(server, 0, Authorization=f"Bearer {key}")).status_code == 200
        for wrong in ("Basic", "Basic !", "Basic " + base64.b64encode(key.encode()).decode(), f"Digest {key}", f"Basic {key}"):
            is_problem(await replay(server, 0, Authorization=wrong), 401, "unauthenticated")
        is_problem(await replay(server, 2), 401, "unauthenticated")  # as it was recorded, with another server's key
        is_problem(await replay(server, 0, Authorization=reviewer["Authorization"]), 403, "forbidden")


async def test_a_frame_over_the_limit_is_refused(folder: Path) -> None:
    async with running(settings_in(folder, limits={"item_bytes": 64})) as server:
        is_problem(await invoke(server, "model-finder", b"x" * 80), 413, "media_too_large")


async def test_a_queue_that_stays_full_is_told_before_cvat_gives_up(folder: Path, gate: Gate) -> None:
    async with running(settings_in(folder, limits={"queued_items": 1})) as server:
        first = asyncio.create_task(server.drafts([image("first")]))
        await gate.waited_for()
        answer = await invoke(server, "model-finder", headers={"X-Nuclio-Invoke-Timeout": "0.5s"})
        is_problem(answer, 503, "overloaded")
        gate.opened.set()
        assert (await first)[0]["labels"] is not None


async def test_a_model_that_loads_is_waited_for(folder: Path) -> None:
    models = {**settings_in(folder).models, "finder": model("detection", options_load=0.25)}
    settings = settings_in(folder, models=models)
    install_all(settings)
    async with running(settings) as server:
        is_problem(await invoke(server, "model-finder", headers={"X-Nuclio-Invoke-Timeout": "0.1s"}), 503, "not_ready")
        answer = await invoke(server, "model-finder", headers={"X-Nuclio-Invoke-Timeout": "9s"})
        assert answer.status_code == 200, answer.text
