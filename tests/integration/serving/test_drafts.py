"""Drafts end to end: real media, real models, real Ray Serve."""

from __future__ import annotations

import base64
import time
from typing import Any

import httpx
import pytest

from candor.predictions import TASKS
from tests.integration.serving.running import Server

PICTURES = ("coffee.png", "chelsea.png", "astronaut.png")


def files(*named: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("items", part) for part in named]


def answered(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    drafts: list[dict[str, Any]] = response.json()["drafts"]
    return drafts


def test_a_picture_is_detected(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    (draft,) = answered(client.post("/v1/detection/drafts", files=files(("coffee.png", samples_by_name["coffee.png"]))))
    assert draft["item"] == "coffee.png"
    assert draft["task"] == "detection"
    assert draft["image_size"] == [600, 400]
    assert "cup" in [label["label"] for label in draft["labels"]]
    left, top, right, bottom = draft["labels"][0]["xyxy"]
    assert 0 <= left < right <= 600
    assert 0 <= top < bottom <= 400


def test_a_picture_is_classified(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    (draft,) = answered(client.post("/v1/classification/drafts", files=files(("coffee.png", samples_by_name["coffee.png"]))))
    assert draft["labels"][0]["label"] == "espresso"
    assert len(draft["labels"]) == 5


def test_speech_is_transcribed_and_its_task_is_told_by_the_media(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    (draft,) = answered(client.post("/v1/drafts", files=files(("jfk.wav", samples_by_name["jfk.wav"]))))
    assert draft["task"] == "transcription"
    assert "ask not what your country can do for you" in draft["text"]
    words = [word for segment in draft["segments"] for word in segment["words"]]
    assert all(word["start"] <= word["end"] <= draft["duration"] + 0.02 for word in words)


def test_every_confidence_says_what_stands_behind_it(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    models = {model["task"]: model for model in client.get("/v1/models").json()["models"] if model["default"]}
    for task, name in (("detection", "coffee.png"), ("classification", "coffee.png"), ("transcription", "jfk.wav")):
        (draft,) = answered(client.post(f"/v1/{task}/drafts", files=files((name, samples_by_name[name]))))
        assert draft["model_version"] == models[task]["version"]
        assert draft["calibration"] == models[task]["calibration"]
        assert draft["confidence_status"] == models[task]["confidence_status"]
        assert draft["confidence_status"] in ("calibrated", "unverified"), "the built-in models come with a calibration"
        labels = draft.get("labels") or [word for segment in draft["segments"] for word in segment["words"]]
        assert all(0 < label["confidence"] < 1 for label in labels)
        assert "raw" not in labels[0]


def test_items_come_back_in_order_in_batches_and_as_one_by_one(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    """Batched, through the general address, or alone: the same scores."""
    fresh = {"Cache-Control": "no-cache"}
    batch = files(*((f"{name}-{i}", samples_by_name[name]) for i in range(4) for name in PICTURES))
    for task in ("detection", "classification"):
        together = answered(client.post(f"/v1/{task}/drafts?include=raw", files=batch, headers=fresh))
        assert [draft["item"] for draft in together] == [part[0] for _, part in batch]
        assert max(draft["timings"]["batch_size"] for draft in together) > 1
        general = answered(client.post("/v1/drafts", files=batch, data={"task": task, "include": "raw"}, headers=fresh))
        for name in PICTURES:
            (alone,) = answered(client.post(f"/v1/{task}/drafts?include=raw", files=files((name, samples_by_name[name])), headers=fresh))
            for other in (*together, *general):
                if other["item"].startswith(name):
                    assert_same(alone, other)


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert [label["label"] for label in one["labels"]] == [label["label"] for label in other["labels"]]
    for left, right in zip(one["labels"], other["labels"], strict=True):
        assert left["raw"]["logit"] == pytest.approx(right["raw"]["logit"], abs=2e-3)
        assert left.get("xyxy", []) == pytest.approx(right.get("xyxy", []), abs=0.05)


def test_the_same_bytes_are_answered_from_the_store(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    picture = samples_by_name["chelsea.png"]
    (first,) = answered(client.post("/v1/detection/drafts", files=files(("one", picture))))
    (again,) = answered(client.post("/v1/detection/drafts", files=files(("one", picture))))
    (other,) = answered(client.post("/v1/detection/drafts", files=files(("two", picture))))
    assert again["id"] == first["id"]
    assert again["timings"]["cached"]
    assert other["id"] != first["id"]
    assert other["timings"]["cached"]
    assert [label["confidence"] for label in other["labels"]] == [label["confidence"] for label in first["labels"]]
    assert client.get(f"/v1/drafts/{first['id']}").json()["labels"] == first["labels"]


def test_an_upload_is_drafted_by_its_id(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    uploaded = client.post("/v1/uploads", content=samples_by_name["coffee.png"])
    assert uploaded.status_code == 201
    item = {"id": "up", "image": {"upload": uploaded.json()["id"]}}
    (draft,) = answered(client.post("/v1/detection/drafts", json={"items": [item]}))
    assert draft["labels"][0]["label"] == "cup"


def test_a_model_is_named_by_alias_and_by_version(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    item = {"id": "a", "image": {"base64": base64.b64encode(samples_by_name["coffee.png"]).decode()}}
    version = next(model["version"] for model in client.get("/v1/models").json()["models"] if model["name"] == "yolov3-tiny")
    for reference in ("yolov3-tiny", "yolov3-tiny@production", version, version[:30]):
        answer = client.post("/v1/drafts", json={"model": reference, "items": [item]})
        assert answered(answer)
        assert answer.json()["model_version"] == version


def test_the_server_says_how_it_is(client: httpx.Client, server: Server) -> None:
    ready = client.get("/readyz").json()
    assert ready["ready"]
    assert {model["task"] for model in ready["models"]} == set(TASKS)
    assert client.get("/livez").status_code == 200
    assert 'candor_requests_total{method="GET",route="/readyz",status="200"}' in client.get("/metrics").text
    assert client.get("/docs").status_code == 200
    assert "listening" in server.log.read_text()


def test_metrics_of_all_processes_are_summed(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    answered(client.post("/v1/detection/drafts", files=files(("coffee.png", samples_by_name["coffee.png"]))))
    answered(client.post("/v1/classification/drafts", files=files(("coffee.png", samples_by_name["coffee.png"]))))
    told = client.get("/metrics").text
    for task in ("detection", "classification"):
        assert f'candor_batch_size_count{{task="{task}"}}' in told
        assert f'candor_item_step_seconds_count{{step="infer",task="{task}"}}' in told


def test_a_request_keeps_its_id(client: httpx.Client, server: Server) -> None:
    answer = client.post("/v1/detection/drafts", json={"items": []}, headers={"X-Request-Id": "trace-me-17"})
    assert answer.headers.get_list("x-request-id") == ["trace-me-17"]
    assert answer.json()["code"] == "no_items"
    until = time.monotonic() + 10  # the line is written once the answer is out
    while '"request_id": "trace-me-17"' not in server.log.read_text():
        assert time.monotonic() < until, server.log.read_text()
        time.sleep(0.05)
