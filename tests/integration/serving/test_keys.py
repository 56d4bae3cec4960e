"""Keys on a real server: the first one is printed, every deployment asks for one, and a revoked one opens none of them for long."""

from __future__ import annotations

import base64
import re
import time
from typing import Any

import httpx
import pytest

from serving.config import load_settings
from serving.keys import first_key
from tests.integration.serving.running import Server

PATHS = ("/v1/detection/drafts", "/v1/classification/drafts", "/v1/drafts")


def draft(client: httpx.Client, path: str, key: str, item: str = "a") -> int:
    body: dict[str, Any] = {"items": [{"id": item, "image": {"base64": base64.b64encode(item.encode()).decode()}}]}
    body |= {"task": "detection"} if path == "/v1/drafts" else {}
    return client.post(path, json=body, headers={"Authorization": f"Bearer {key}"}).status_code


def test_every_deployment_asks_for_a_key_and_lets_a_revoked_one_go(locked: Server, first: str) -> None:
    assert len(re.findall(r"^    cdr_", locked.log.read_text(), flags=re.MULTILINE)) == 1
    admin = {"Authorization": f"Bearer {first}"}
    with locked.client() as client:
        for path in (*PATHS, "/v1/models", "/v1/jobs"):
            assert client.post(path, json={}).status_code == 401
        assert client.post("/v1/teams", headers=admin, json={"name": "streets"}).status_code == 201
        made = client.post("/v1/teams/streets/keys", headers=admin, json={"name": "bot", "scopes": ["draft"]}).json()
        assert [draft(client, path, made["key"]) for path in PATHS] == [200] * 3
        assert client.delete(f"/v1/teams/streets/keys/{made['id']}", headers=admin).status_code == 200
        start = time.monotonic()
        while 200 in [draft(client, path, made["key"]) for path in PATHS]:
            assert time.monotonic() - start < 4  # two seconds, and the machine's own
            time.sleep(0.1)
    log = locked.log.read_text()
    assert made["key"].split("_", 2)[2] not in log
    lines = [line for line in log.splitlines() if line.startswith("{")]
    assert not [line for line in lines if first.split("_", 2)[2] in line]  # the first key is on standard output alone


def test_the_rate_of_a_team_is_held_in_its_tasks_deployment(locked: Server, first: str) -> None:
    admin = {"Authorization": f"Bearer {first}"}
    with locked.client() as client:
        client.post("/v1/teams", headers=admin, json={"name": "slow", "limits": {"items_per_minute": 2}})
        wanted = {"name": "bot", "scopes": ["draft"]}
        key = client.post("/v1/teams/slow/keys", headers=admin, json=wanted).json()["key"]
        answers = [draft(client, "/v1/detection/drafts", key, str(n)) for n in range(3)]
        assert answers == [200, 200, 429]
        assert draft(client, "/v1/detection/drafts", first) == 200


@pytest.mark.usefixtures("first")
def test_a_second_start_makes_no_key(locked: Server) -> None:
    assert first_key(load_settings(locked.log.parent / "config.yaml")) is None
