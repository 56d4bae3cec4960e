"""Keys, teams and the audit log over the wire, and what belongs to another team."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.engine import Engine
from serving.http.authentication import is_open
from store.audit import Actor
from store.registry import Registry
from tests.unit.serving.calibrations.drafted import manifest_of
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.served import PROBLEM, Gate, Server, calibration_of, image, is_problem, running

SCOPES = ("draft", "review", "register", "admin")


@pytest.fixture
async def locked(folder: Path) -> AsyncIterator[Server]:
    async with running(with_keys(folder)) as server:
        yield server


def refused(answer: httpx.Response) -> str:
    assert answer.headers["www-authenticate"].startswith("Bearer")
    return is_problem(answer, 401, "unauthenticated")


async def test_every_address_but_health_and_documentation_needs_a_key(locked: Server) -> None:
    document = (await locked.client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answer = await locked.client.request(method, path.replace("{", "").replace("}", ""))
            if is_open(path):
                assert answer.status_code != 401
                assert "security" not in operation
            else:
                refused(answer)
                assert operation["security"] == [{"key": []}, {"header": []}]
                assert {"401", "403"} <= set(operation["responses"])
    for path in ("/v1/no-such", "/", "/v1/detection/drafts/", "/docs/../v1/models", "/problems"):
        refused(await locked.client.get(path))
    for path in ("/docs", "/redoc", "/livez", "/metrics", "/problems/unauthenticated"):
        assert (await locked.client.get(path)).status_code == 200


async def test_a_key_is_shown_once_and_opens_until_it_is_revoked(locked: Server) -> None:
    admin = await caller(locked, "default", *SCOPES)
    made = await locked.client.post("/v1/keys", headers=admin, json={"name": "bot", "scopes": ["draft"], "expires_in_seconds": 60})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    key = made.json()
    own = {"X-API-Key": key["key"]}
    assert (await locked.client.get("/v1/models", headers=own)).status_code == 200
    assert "register" in is_problem(await locked.client.post("/v1/calibrations", headers=own, content=b"{}"), 403, "forbidden")
    assert is_problem(await locked.client.get("/v1/keys", headers=own), 403, "forbidden")
    listed = (await locked.client.get("/v1/keys", headers=admin)).json()["keys"]
    assert (len(listed), listed[0]["id"]) == (2, key["id"])
    assert key["key"].split("_", 2)[2] not in str(listed)
    for path, code in ((f"/v1/keys/{key['id']}", 200), ("/v1/keys/key_none", 404)):
        assert (await locked.client.delete(path, headers=admin)).status_code == code
    refused(await locked.client.get("/v1/models", headers=own))
    last = listed[1]["id"]
    is_problem(await locked.client.delete(f"/v1/keys/{last}", headers=admin), 409, "in_use")
    found = (await locked.client.get("/v1/audit?action=key.revoked", headers=admin)).json()["entries"]
    assert [(one["target"], one["key"]) for one in found] == [(key["id"], last)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": []},
        {"scopes": ["root"]},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "9999-12-31T23:59:59-10:00"},
        {"expires_at": "2099-01-01T00:00:00"},
        {"expires_in_seconds": 60, "expires_at": "2099-01-01T00:00:00Z"},
        {"expires_in_seconds": 10**12},
        {"name": ""},
        {"team": "other"},
    ],
)
async def test_a_wrong_wish_makes_no_key(server: Server, wrong: dict[str, Any]) -> None:
    is_problem(await server.client.post("/v1/keys", json={"name": "bot", "scopes": ["draft"], **wrong}), 422, "invalid_request")
    assert (await server.client.get("/v1/keys")).json() == {"keys": []}


async def test_the_operator_manages_teams_and_a_team_itself(locked: Server) -> None:
    operator, admin = await caller(locked, "default", "admin"), await caller(locked, "streets", "admin")
    made = await locked.client.post("/v1/teams", headers=operator, json={"name": "cells", "limits": {"items_per_minute": 2}})
    assert made.json()["limits"] == {"items_per_minute": 2, "storage_bytes": None}
    is_problem(await locked.client.post("/v1/teams", headers=operator, json={"name": "cells"}), 409, "conflict")
    for name in ("Cells", "a/b", "..", "", "a" * 64, "a\n"):
        is_problem(await locked.client.post("/v1/teams", headers=operator, json={"name": name}), 422, "invalid_request")
    wanted = {"name": "first", "scopes": ["draft"]}
    key = (await locked.client.post("/v1/teams/cells/keys", headers=operator, json=wanted)).json()
    assert key["team"] == "cells"
    drafter = {"Authorization": f"Bearer {key['key']}"}
    assert (await locked.draft([image("a"), image("b")], headers=drafter, task="detection")).status_code == 200
    limited = await locked.draft([image("c")], headers=drafter, task="detection")
    assert "2 items" in is_problem(limited, 429, "rate_limited")
    assert limited.headers["retry-after"] == "30"
    changed = await locked.client.put("/v1/teams/cells/limits", headers=operator, json={})
    assert changed.json()["limits"]["items_per_minute"] is None
    assert (await locked.draft([image("c")], headers=drafter, task="detection")).status_code == 200
    is_problem(await locked.client.delete("/v1/teams/cells", headers=operator), 409, "in_use")
    is_problem(await locked.client.delete("/v1/teams/default", headers=operator), 409, "in_use")
    # another team's admin sees itself alone
    assert [one["name"] for one in (await locked.client.get("/v1/teams", headers=admin)).json()["teams"]] == ["streets"]
    assert (await locked.client.get("/v1/teams/streets", headers=admin)).json()["stored_bytes"] == 0
    for method, path in (("GET", "cells"), ("GET", "cells/keys"), ("DELETE", f"cells/keys/{key['id']}"), ("DELETE", "cells")):
        one = is_problem(await locked.client.request(method, f"/v1/teams/{path}", headers=admin), 404, "unknown_team")
        none = await locked.client.request(method, f"/v1/teams/{path.replace('cells', 'none')}", headers=admin)
        assert one.replace("cells", "none") == is_problem(none, 404, "unknown_team")
    for answer in (
        await locked.client.post("/v1/teams", headers=admin, json={"name": "new"}),
        await locked.client.put("/v1/teams/streets/limits", headers=admin, json={}),
        await locked.client.delete("/v1/teams/streets", headers=admin),
    ):
        is_problem(answer, 403, "forbidden")
    is_problem(await locked.client.get("/v1/audit?team=cells", headers=admin), 404, "unknown_team")
    assert (await locked.client.delete("/v1/teams/streets", headers=operator)).status_code == 204
    refused(await locked.client.get("/v1/teams", headers=admin))


def same(one: httpx.Response, other: httpx.Response, names: tuple[str, str]) -> None:
    """What is another team's is answered as what does not exist."""
    assert one.status_code == other.status_code == 404
    assert one.headers["content-type"] == PROBLEM
    assert one.text.replace(names[0], names[1]) == other.text


async def test_what_belongs_to_another_team_does_not_exist(locked: Server) -> None:
    ours, theirs = await caller(locked, "ours", *SCOPES), await caller(locked, "theirs", *SCOPES)
    upload = (await locked.client.post("/v1/uploads", headers=ours, content=b"a")).json()["id"]
    draft = (await locked.drafts([{"id": "a", "image": {"upload": upload}}], headers=ours))[0]["id"]
    assert (await locked.client.get(f"/v1/drafts/{draft}", headers=ours)).status_code == 200
    same(
        await locked.client.get(f"/v1/drafts/{draft}", headers=theirs),
        await locked.client.get("/v1/drafts/drf_none", headers=theirs),
        (draft, "drf_none"),
    )
    entries = await locked.drafts([{"id": "a", "image": {"upload": one}} for one in (upload, "upl_none")], headers=theirs)
    assert str(entries[0]["error"]).replace(upload, "upl_none") == str(entries[1]["error"])
    truth = {"stream": "gold", "source": "s", "truth": {"boxes": []}}
    told = {"outcomes": [{"draft": one, **truth} for one in (draft, "drf_none")]}
    wrong = (await locked.client.post("/v1/outcomes", headers=theirs, json=told)).json()["outcomes"]
    assert str(wrong[0]).replace(draft, "drf_none") == str(wrong[1])
    right = (await locked.client.post("/v1/outcomes", headers=ours, json={"outcomes": [{"draft": draft, **truth}]})).json()
    assert right["outcomes"][0]["status"] == "stored"
    # the same bytes are drafted anew, and the same Idempotency-Key is another one
    key = {"Idempotency-Key": "k"}
    first = await locked.draft([image("b", b"x")], headers={**ours, **key}, task="detection")
    second = await locked.draft([image("b", b"x")], headers={**theirs, **key}, task="detection")
    assert "idempotency-replayed" not in second.headers
    assert first.json()["drafts"][0]["id"] != second.json()["drafts"][0]["id"]
    assert not second.json()["drafts"][0]["timings"]["cached"]


async def test_shared_models_are_the_operators_to_calibrate(locked: Server) -> None:
    operator, other = await caller(locked, "default", "register"), await caller(locked, "ours", *SCOPES)
    version = manifest_of(locked.services.settings, "namer").version
    record = calibration_of(version)
    body: dict[str, Any] = dict(record.as_json())
    name, _, digest = version.partition("@")
    is_problem(await locked.client.post("/v1/calibrations", headers=other, json=body), 403, "forbidden")
    assert (await locked.client.post("/v1/calibrations", headers=operator, json=body)).status_code == 201
    assert (await locked.client.get(f"/v1/calibrations/{record.id}", headers=other)).status_code == 200
    assert len((await locked.client.get("/v1/calibrations", headers=other)).json()["calibrations"]) == 1
    is_problem(await locked.client.post(f"/v1/calibrations/{record.id}/promote", headers=other), 403, "forbidden")
    assert (await locked.client.post(f"/v1/calibrations/{record.id}/promote", headers=operator)).status_code == 200
    path = f"/v1/models/{name}/versions/{digest}/calibration"
    assert (await locked.client.get(path, headers=other)).json()["calibration"] == record.id
    is_problem(await locked.client.post(f"{path}/rollback", headers=other), 403, "forbidden")
    assert (await locked.client.post(f"{path}/rollback", headers=operator)).status_code == 200
    is_problem(
        await locked.client.post("/v1/calibrations/fits", headers=other, json={"model": name, "from": {"outcomes": {}}}), 403, "forbidden"
    )
    # of a version that is not here nobody can tell whose it is
    gone = calibration_of(f"{name}@sha256:{'0' * 64}")
    is_problem(await locked.client.post("/v1/calibrations", headers=other, json=dict(gone.as_json())), 404, "unknown_model")
    await locked.client.post("/v1/calibrations", headers=operator, json=dict(gone.as_json()))
    same(
        await locked.client.get(f"/v1/calibrations/{gone.id}", headers=other),
        await locked.client.get("/v1/calibrations/cal_none", headers=other),
        (gone.id, "cal_none"),
    )
    assert [one["id"] for one in (await locked.client.get("/v1/calibrations?limit=1", headers=other)).json()["calibrations"]] == [record.id]
    admin = await caller(locked, "default", "admin")
    actions = [one["action"] for one in (await locked.client.get("/v1/audit?limit=4", headers=admin)).json()["entries"]]
    assert set(actions) == {"key.created", "calibration.added", "calibration.rolled_back", "calibration.promoted"}


async def test_teams_share_the_queue_and_take_turns_in_it(folder: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    predict = Engine.predict

    def spied(self: Engine, version: str, data: bytes, *, key: str = "") -> Any:
        turns.append(key)
        return predict(self, version, data, key=key)

    monkeypatch.setattr(Engine, "predict", spied)
    async with running(with_keys(folder, limits={"queued_items": 4}, teams={"queue_share": 0.5})) as server:
        ours, theirs = await caller(server, "ours", "draft"), await caller(server, "theirs", "draft")
        first = asyncio.create_task(server.draft([image("a"), image("b")], headers={**ours, "X-Request-Id": "r1"}, task="detection"))
        await gate.waited_for()
        second = asyncio.create_task(server.draft([image("c")], headers={**theirs, "X-Request-Id": "r2"}, task="detection"))
        while len(turns) < 3:
            await asyncio.sleep(0)
        refused_one = await server.draft([image("d")], headers=ours, task="detection")
        assert "other teams" in is_problem(refused_one, 503, "overloaded")
        third = asyncio.create_task(server.draft([image("e")], headers={**theirs, "X-Request-Id": "r3"}, task="detection"))
        while len(turns) < 4:
            await asyncio.sleep(0)
        gate.opened.set()
        assert [(await one).status_code for one in (first, second, third)] == [200] * 3
    assert turns == ["ours/r1", "ours/r1", "theirs/r2", "theirs/r3"]


async def test_a_registered_models_calibrations_are_its_teams_alone(locked: Server) -> None:
    ours, theirs, operator = [await caller(locked, team, *SCOPES) for team in ("ours", "theirs", "default")]
    registry, actor = Registry(locked.services.store), Actor("ours", "key_1")
    manifest = replace(manifest_of(locked.services.settings, "namer"), name="mine", owner="ours")
    added = await registry.add(actor, "mine", "classification", {})
    await registry.settle(added.id, manifest, {}, 1)
    record = calibration_of(manifest.version)
    body, digest = dict(record.as_json()), manifest.version.partition("@")[2]
    path, version = f"/v1/calibrations/{record.id}", f"/v1/models/mine/versions/{digest}/calibration"
    for other in (theirs, operator):  # the model is no more there for the operator than for anyone
        is_problem(await locked.client.get(version, headers=other), 404, "unknown_model")
        is_problem(
            await locked.client.post("/v1/calibrations/fits", headers=other, json={"model": "mine", "from": {"outcomes": {}}}),
            404,
            "unknown_model",
        )
    is_problem(await locked.client.post("/v1/calibrations", headers=theirs, json=body), 404, "unknown_model")
    assert (await locked.client.post("/v1/calibrations", headers=ours, json=body)).status_code == 201
    assert (await locked.client.post(f"{path}/promote", headers=ours)).status_code == 200
    assert (await locked.client.get(version, headers=ours)).json()["calibration"] == record.id
    names = (record.id, "cal_none")
    for method, suffix in (("GET", ""), ("GET", "/report?format=json"), ("GET", "/shadow"), ("POST", "/promote")):
        one = await locked.client.request(method, path + suffix, headers=theirs)
        same(one, await locked.client.request(method, path.replace(*names) + suffix, headers=theirs), names)
    assert (await locked.client.get("/v1/calibrations", headers=theirs)).json()["calibrations"] == []
    is_problem(await locked.client.post(f"{version}/rollback", headers=theirs), 404, "unknown_model")
    assert (await locked.client.post(f"{version}/rollback", headers=ours)).status_code == 200
    log = (await locked.client.get("/v1/audit", headers=ours)).json()["entries"]
    assert {"calibration.added", "calibration.promoted", "calibration.rolled_back"} <= {one["action"] for one in log}
