"""Bad input through the real server: a clear problem for that item, the others drafted, nothing lost."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.integration.serving import bad_media
from tests.integration.serving.conftest import LIMITS, QUEUED
from tests.integration.serving.hostile_site import hostile_site
from tests.integration.serving.running import Server


def encoded(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}


@pytest.fixture(scope="module")
def picture(samples_by_name: dict[str, bytes]) -> bytes:
    return samples_by_name["coffee.png"]


@pytest.fixture(scope="module")
def site(picture: bytes) -> Iterator[str]:
    with hostile_site(picture) as base:
        yield base


def draft_between_good_ones(client: httpx.Client, bad: dict[str, Any], good: dict[str, Any], task: str) -> dict[str, Any]:
    """Send a bad item between two good ones; return its error after checking that the others were drafted."""
    kind = "audio" if task == "transcription" else "image"
    items = [{"id": "before", kind: good}, {"id": "bad", kind: bad}, {"id": "after", kind: good}]
    answer = client.post(f"/v1/{task}/drafts", json={"items": items})
    assert answer.status_code == 200, answer.text
    before, wrong, after = answer.json()["drafts"]
    for draft, name in ((before, "before"), (after, "after")):
        assert "error" not in draft, draft
        assert draft["item"] == name
        assert client.get(f"/v1/drafts/{draft['id']}").status_code == 200, "a draft that was answered is stored"
    assert wrong["item"] == "bad"
    error: dict[str, Any] = wrong["error"]
    assert error["detail"]
    return error


@pytest.mark.parametrize(
    ("bad", "code", "said"),
    [
        (b"", "undecodable_image", "empty"),
        (b"no image at all", "undecodable_image", ""),
        (bad_media.truncated_jpeg(), "undecodable_image", ""),
        (bad_media.huge_png(), "media_too_large", "20"),
        (bad_media.animated_gif(), "undecodable_image", "animated"),
    ],
    ids=["empty", "text", "truncated", "huge", "animated"],
)
@pytest.mark.parametrize("task", ["detection", "classification"])
def test_a_bad_image(client: httpx.Client, picture: bytes, task: str, bad: bytes, code: str, said: str) -> None:
    error = draft_between_good_ones(client, encoded(bad), encoded(picture), task)
    assert error["code"] == code
    assert said in error["detail"]


def test_bad_recordings(client: httpx.Client, samples_by_name: dict[str, bytes]) -> None:
    good = encoded(samples_by_name["jfk.wav"])
    bad = {
        "empty": (b"", "undecodable_audio"),
        "text.wav": (b"this is a text, whatever its name says", "undecodable_audio"),
        "cut": (samples_by_name["jfk.wav"][:100_000], "undecodable_audio"),
        "three hours": (bad_media.long_recording(), "media_too_large"),
    }
    for name, (data, code) in bad.items():
        error = draft_between_good_ones(client, encoded(data), good, "transcription")
        assert error["code"] == code, (name, error)


def test_silence_is_an_empty_draft(client: httpx.Client) -> None:
    answer = client.post("/v1/transcription/drafts", json={"items": [{"id": "silence", "audio": encoded(bad_media.silence())}]})
    (draft,) = answer.json()["drafts"]
    assert draft["no_speech"] is True
    assert draft["text"] == ""
    assert draft["segments"] == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"items": [{"id": "a", "image": {"base64": NaN}}]}', "invalid_request"),
        (b'{"items": "none"}', "invalid_request"),
        (b'{"items": []}', "no_items"),
        (b"not json", "invalid_request"),
        (
            json.dumps({"items": [{"id": str(i), "image": {"base64": "QQ=="}} for i in range(LIMITS["items"] + 1)]}).encode(),
            "too_many_items",
        ),
        (b'{"model": "yolov3-tin", "items": [{"id": "a", "image": {"base64": "QQ=="}}]}', "unknown_model"),
        (b'{"model": "yolov3-tiny@never", "items": [{"id": "a", "image": {"base64": "QQ=="}}]}', "unknown_alias"),
        (b'{"model": "whisper-tiny.en", "items": [{"id": "a", "image": {"base64": "QQ=="}}]}', "wrong_task"),
    ],
    ids=["nan", "types", "no items", "no json", "too many", "model", "alias", "task"],
)
def test_a_request_that_is_wrong_as_a_whole(client: httpx.Client, body: bytes, code: str) -> None:
    answer = client.post("/v1/detection/drafts", content=body, headers={"Content-Type": "application/json"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.json()["status"] == answer.status_code


def test_a_wrong_type_fails_its_item_alone(client: httpx.Client, picture: bytes) -> None:
    error = draft_between_good_ones(client, {"base64": 17}, encoded(picture), "detection")
    assert error["code"] == "invalid_request"


def test_a_body_over_the_limit(client: httpx.Client) -> None:
    answer = client.post("/v1/detection/drafts", content=bytes(LIMITS["body_bytes"] + 1), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


def test_a_picture_is_fetched_from_its_address(client: httpx.Client, site: str) -> None:
    answer = client.post("/v1/detection/drafts", json={"items": [{"id": "far", "image": {"url": f"{site}/picture"}}]})
    (draft,) = answer.json()["drafts"]
    assert draft["labels"][0]["label"] == "cup"
    assert draft["timings"]["fetch"] > 0 or draft["timings"]["cached"]


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://localhost:8000/livez", "media_forbidden"),
        ("http://127.0.0.2/", "media_forbidden"),
        ("http://10.0.0.1/picture.jpg", "media_forbidden"),
        ("http://169.254.169.254/latest/meta-data", "media_forbidden"),
        ("http://[::1]/", "media_forbidden"),
        ("file:///etc/passwd", "media_forbidden"),
        ("{site}/inside", "media_forbidden"),
        ("{site}/endless", "media_unreachable"),
        ("{site}/missing", "media_unreachable"),
    ],
)
def test_a_hostile_address(client: httpx.Client, site: str, picture: bytes, address: str, code: str) -> None:
    error = draft_between_good_ones(client, {"url": address.format(site=site)}, encoded(picture), "detection")
    assert error["code"] == code


def test_a_model_file_with_a_wrong_hash_is_refused(server: Server, client: httpx.Client, picture: bytes) -> None:
    """One byte of an installed model changes: it is not loaded, and says why."""
    models = Path(yaml.safe_load((server.log.parent / "config.yaml").read_text())["storage"]["models"])
    version = next(model["version"] for model in client.get("/v1/models").json()["models"] if model["name"] == "broken")
    (folder,) = (models / "broken").glob(f"{version.partition('sha256:')[2][:16]}*")
    file = folder / "model.json"
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-1] + b" ")
        answer = client.post("/v1/classification/drafts", json={"model": "broken", "items": [{"id": "a", "image": encoded(picture)}]})
    finally:
        file.write_bytes(content)
    error = answer.json()["drafts"][0]["error"]
    assert error["code"] == "unsafe_artifact"
    assert "SHA-256" in error["detail"]


def test_a_full_queue_says_when_to_come_back(client: httpx.Client) -> None:
    """More than the replica holds: some are refused at once, with Retry-After; every other one is drafted."""

    def send(first: int) -> httpx.Response:
        items = [{"id": str(i), "image": encoded(f"item {i}".encode())} for i in range(first, first + LIMITS["items"])]
        return client.post("/v1/classification/drafts", json={"model": "slow", "items": items})

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(send, range(0, 4 * LIMITS["items"], LIMITS["items"])))
    refused = [answer for answer in answers if answer.status_code == 503]
    drafted = [answer for answer in answers if answer.status_code == 200]
    assert refused, f"{QUEUED} items fit, 160 were sent"
    assert drafted
    for answer in refused:
        assert answer.json()["code"] == "overloaded"
        assert int(answer.headers["retry-after"]) >= 1
    for answer in drafted:
        assert all("error" not in draft for draft in answer.json()["drafts"])


def test_a_killed_replica_costs_a_retry_or_a_clear_error(server: Server, client: httpx.Client) -> None:
    """Kill the replica while it drafts: a small request is drafted by the next one; the general address retries too; a big one is told."""

    def send(path: str, size: int) -> httpx.Response:
        item = {"id": "a", "image": encoded(bytes(size))}
        return client.post(path, json={"model": "slow", "items": [item]}, headers={"Cache-Control": "no-cache"})

    with ThreadPoolExecutor(3) as threads:
        sent = [
            threads.submit(send, path, size)
            for path, size in (("/v1/classification/drafts", 10), ("/v1/drafts", 11), ("/v1/classification/drafts", 3_000_000))
        ]
        _wait_until_held(client, 3)
        server.replica("classification").kill()
        small, general, big = (future.result() for future in sent)
    assert small.status_code == 200, small.text
    assert "error" not in small.json()["drafts"][0]
    assert general.status_code == 200, general.text
    assert big.status_code == 503
    assert big.json()["code"] == "worker_lost"
    assert big.json()["retryable"] is True


def _wait_until_held(client: httpx.Client, items: int) -> None:
    for _ in range(100):
        for line in client.get("/metrics").text.splitlines():
            if line.startswith('candor_held_items{task="classification"}') and float(line.rpartition(" ")[2]) >= items:
                return
    raise AssertionError("the requests did not arrive")
