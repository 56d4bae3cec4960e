"""Other tools' protocols through the real front and over real models: each is one hop from the task's deployment, and gives its drafts."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import httpx

from tests.integration.serving.running import Server
from tests.integration.serving.test_drafts import answered, files


def _native(client: httpx.Client, name: str, data: bytes) -> dict[str, Any]:
    (draft,) = answered(client.post("/v1/detection/drafts", files=files((name, data))))
    return draft


def test_roboflow_and_the_open_protocol_give_the_native_drafts(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    name = next(name for name in sorted(samples_by_name) if name.endswith((".jpg", ".png")))
    data = samples_by_name[name]
    native = _native(client, name, data)
    confidences = sorted((label["confidence"] for label in native["labels"]), reverse=True)
    encoded = base64.b64encode(data).decode()
    model = native["model_version"].partition("@")[0]
    asked = {"model_id": f"{model}/1", "image": {"type": "base64", "value": encoded}}
    found = client.post("/roboflow/infer/object_detection", json=asked)
    assert found.status_code == 200, found.text
    assert sorted((one["confidence"] for one in found.json()["predictions"]), reverse=True) == confidences
    inputs = [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [encoded]}]
    found = client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
    assert found.status_code == 200, found.text
    tensors = {one["name"]: one["data"] for one in found.json()["outputs"]}
    assert sorted(tensors["confidences"], reverse=True) == confidences


def test_a_recording_is_transcribed_for_clients_of_openai(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    speech = {"file": ("jfk.wav", samples_by_name["jfk.wav"])}
    found = client.post("/openai/v1/audio/transcriptions", files=speech, data={"model": "whisper-1", "response_format": "verbose_json"})
    assert found.status_code == 200, found.text
    assert "country" in found.json()["text"].lower()
    assert found.json()["segments"]


def test_a_secret_in_an_address_stands_in_no_log(server: Server, client: httpx.Client) -> None:
    answer = client.get("/label-studio/photos/a-secret-of-forty-characters-or-so-12345/health")
    assert answer.status_code == 401, answer.text
    until = time.monotonic() + 10  # a request is logged after its answer
    while (shown := json.dumps("/label-studio/photos/…/health")) not in server.log.read_text():
        assert time.monotonic() < until, shown
        time.sleep(0.1)
    assert "a-secret-of-forty" not in server.log.read_text()
