"""What is decided in the control deployment reaches every replica of a task, without a restart."""

from __future__ import annotations

import time
from typing import Any

import httpx

from serving.calibrations.book import FRESH_SECONDS
from tests.integration.serving.running import Server
from tests.unit.serving.served import calibration_of, image

VERSION = "/v1/models/fake-classifier/versions/production/calibration"


def drafted(client: httpx.Client, number: int) -> tuple[str | None, str, str | None]:
    answer = client.post("/v1/classification/drafts", json={"items": [image(f"item-{number}")]})
    assert answer.status_code == 200, answer.text
    (draft,) = answer.json()["drafts"]
    return draft["calibration"], draft["confidence_status"], draft["unverified_since"]


def test_a_promotion_and_a_rollback_reach_all_replicas_within_two_seconds(locked: Server, first: str) -> None:
    with locked.client() as client:
        client.headers["Authorization"] = f"Bearer {first}"
        told: dict[str, Any] = client.get(VERSION).json()
        assert (told["calibration"], told["confidence_status"]) == (None, "uncalibrated")
        assert {drafted(client, n) for n in range(8)} == {(None, "uncalibrated", None)}
        record = calibration_of(told["model_version"])
        assert client.post("/v1/calibrations", json=record.as_json()).status_code == 201
        for path, shown in (
            (f"/v1/calibrations/{record.id}/promote", (record.id, "calibrated", None)),
            (f"{VERSION}/rollback", (None, "uncalibrated", None)),
        ):
            assert client.post(path).json()["calibration"] == shown[0]
            time.sleep(FRESH_SECONDS)
            assert {drafted(client, n) for n in range(8)} == {shown}  # whichever replica answers
            (model,) = [one for one in client.get("/v1/models").json()["models"] if one["name"] == "fake-classifier"]
            assert (model["calibration"], model["confidence_status"]) == shown[:2]
