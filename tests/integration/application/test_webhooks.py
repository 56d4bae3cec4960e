"""Webhooks over the wire: whose they are, what they show, and that drafts are told of without their arms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving.webhooks.sender import Sender
from tests.unit.serving.arms.armed import OFTEN, ask, draws_of, put
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.served import Server, is_problem, running

NOWHERE = "http://127.0.0.1:9/hook"  # a private address: nothing is sent


async def _made(server: Server, headers: Any = None, **body: Any) -> dict[str, Any]:
    answer = await server.client.post("/v1/webhooks", json={"url": NOWHERE, "events": ["drafts.ready"], **body}, headers=headers)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store"), answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_webhook_is_its_teams_and_shows_its_secret_once(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        lead, worker = await caller(server, "red", "register"), await caller(server, "red", "draft", "review")
        other = await caller(server, "blue", "register", "admin")
        made = await _made(server, lead, events=["job.done", "job.done"])
        assert made["secret"].startswith("whsec_")
        assert made["events"] == ["job.done"]
        path = f"/v1/webhooks/{made['id']}"
        listed = await server.client.get("/v1/webhooks", headers=lead)
        assert listed.json()["webhooks"] == [{name: value for name, value in made.items() if name != "secret"}]
        assert (await server.client.get("/v1/webhooks", headers=other)).json() == {"webhooks": []}
        rotated = (await server.client.post(f"{path}/rotate", headers=lead)).json()
        assert rotated["secret"] not in (made["secret"], None)
        ping = (await server.client.post(f"{path}/test", headers=lead)).json()
        assert (ping["event"], ping["state"], ping["body"]["type"]) == ("ping", "waiting", "ping")
        sender: Sender = server.app.state.webhook_sender[1]
        await sender.tend()
        await sender.settled()
        (told,) = (await server.client.get(f"{path}/deliveries?state=waiting", headers=lead)).json()["deliveries"]
        assert (told["attempts"], told["status"]) == (1, None)
        assert "not public" in told["error"]
        again = await server.client.post(f"{path}/deliveries/{ping['id']}/replay", headers=lead)
        assert (again.status_code, again.json()["attempts"]) == (202, 0)
        assert (await server.client.post(f"{path}/replay", headers=lead)).json() == {"replayed": 0}
        for method, tail in [("GET", ""), ("DELETE", ""), ("GET", "/deliveries"), ("GET", f"/deliveries/{ping['id']}")] + [
            ("POST", one) for one in ("/rotate", "/test", "/replay", f"/deliveries/{ping['id']}/replay")
        ]:
            is_problem(await server.client.request(method, path + tail, headers=other), 404, "not_found")
            is_problem(await server.client.request(method, path + tail, headers=worker), 403, "forbidden")
        assert (await server.client.delete(path, headers=lead)).status_code == 204
        is_problem(await server.client.get(path, headers=lead), 404, "not_found")
        wrongs: list[dict[str, Any]] = [
            {"url": "nowhere"},
            {"events": []},
            {"events": ["ping"]},
            {"project": "street", "events": ["job.done"]},
            {"x": 1},
        ]
        for wrong in wrongs:
            body = {"url": NOWHERE, "events": ["drafts.ready"], **wrong}
            is_problem(await server.client.post("/v1/webhooks", json=body, headers=lead), 422, "invalid_request")


async def test_drafts_are_told_of_without_their_arms(server: Server) -> None:
    made = await _made(server, project="p")
    await put(server, "p", OFTEN)
    names = [f"item-{number}" for number in range(24)]
    await ask(server, names)  # of no project: nobody is told
    shown = await ask(server, names, project="p")
    await ask(server, names[1:], project="p")  # shown again, not made again
    for drafter in server.drafters.values():
        await drafter._announcer.close()
    path = f"/v1/webhooks/{made['id']}/deliveries"
    (listed,) = (await server.client.get(path)).json()["deliveries"]
    told = (await server.client.get(f"{path}/{listed['id']}")).json()["body"]
    assert {row.arm for row in (await draws_of(server)).values()} == {"assisted", "withheld"}
    assert listed["about"] == shown[0]["id"]
    assert told["data"].pop("created_at") == max(one["created_at"] for one in shown)
    drafts = [{"id": one["id"], "item": one["item"]} for one in shown]
    assert told["data"] == {"project": "p", "task": "detection", "model_version": shown[0]["model_version"], "drafts": drafts}
