"""Connecting over the wire, with a Label Studio that answers as a recorded one did: who may, what is shown, what a failure leaves."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from candor.errors import MediaUnreachable
from serving.media import Called, MediaFetcher
from serving.protocols.label_studio import connecting
from serving.protocols.label_studio.remote import LabelStudio
from serving.protocols.label_studio.wiring import Wiring
from store.audit import entries
from store.connections import Connections
from store.label_studio_tasks import Ended, Tasks
from tests.recorded import HERE
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.served import Server, is_problem, running

RECORDED = json.loads((HERE / "label_studio" / "connect.json").read_text())
WANTED = {"tool": "label-studio", "url": "http://labels.example", "token": "0" * 40, "remote_project": "1"}
PATH = "/v1/projects/ponds/connections"


class Installed(MediaFetcher):
    """Answers as the recorded one did, and remembers rows and webhooks. `refusing` names what it answers instead, by method and path."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[int, dict[str, Any]]] = {"ml": {}, "webhooks": {}}
        self.project = copy.deepcopy(RECORDED["project"]["body"])
        self.refusing: dict[str, str] = {}
        self.down = False
        self.half = False  # a row is kept though its webhook is refused

    async def call(self, method: str, url: str, headers: Any, body: bytes | None = None, *, most: int | None = None) -> Called:
        if self.down:
            raise MediaUnreachable("'labels.example' can't be reached")
        sent, parts = json.loads(body or b"null"), urlsplit(url).path.strip("/").split("/")[1:]
        refusal = RECORDED.get(self.refusing.get(f"{method} {'/'.join(parts[:2])}", ""))
        if refusal and self.half:
            self._made("ml", sent)
        answer = refusal or self._answer(method, parts, sent)
        return Called(answer["status"], json.dumps(answer["body"]).encode())

    def _answer(self, method: str, parts: list[str], sent: Any) -> Any:
        if parts[0] in self.kept and "predict" not in parts:
            return self._kept(method, parts, sent)
        if (method, parts) == ("PATCH", ["projects", "1"]):
            self.project |= sent
        answers = {
            "version": RECORDED["version"],
            "projects/1": {"status": 200, "body": self.project},
            "projects": {"status": 200, "body": {"results": [self.project]}},
            "ml/1/predict/test": RECORDED["predict"],
        }
        return answers.get("/".join(parts), RECORDED["no project"])

    def _kept(self, method: str, parts: list[str], sent: Any) -> dict[str, Any]:
        kind, number = parts[0], int(parts[1]) if len(parts) > 1 else 0
        if method == "GET":
            return {"status": 200, "body": list(self.kept[kind].values())}
        if method == "POST":
            if kind == "ml":  # as it does when it makes a row
                self._made("webhooks", {"url": sent["url"] + "/webhook"})
            return {"status": 201, "body": self._made(kind, sent)}
        if method == "DELETE":
            del self.kept[kind][number]
            return {"status": 204, "body": None}
        self.kept[kind][number] |= sent
        return {"status": 200, "body": self.kept[kind][number]}

    def _made(self, kind: str, sent: Any) -> dict[str, Any]:
        like = RECORDED["row"]["body"] if kind == "ml" else RECORDED["hooks"]["body"][0]
        number = max(self.kept[kind], default=0) + 1
        self.kept[kind][number] = {**copy.deepcopy(like), **sent, "id": number}
        return self.kept[kind][number]


def install(server: Server) -> Installed:
    made = Installed()
    server.app.state.label_studio = replace(server.app.state.label_studio, fetcher=made)
    return made


async def test_a_connection_is_its_teams_and_shows_neither_token_nor_secret_again(folder: Path) -> None:
    async with running(with_keys(folder)) as server:
        site = install(server)
        lead, worker = await caller(server, "red", "register"), await caller(server, "red", "draft", "review", "admin")
        other = await caller(server, "blue", "register")
        made = await server.client.post(PATH, json={**WANTED, "predict_seconds": 30, "candor_url": "http://candor.example/"}, headers=lead)
        assert (made.status_code, made.headers["cache-control"]) == (201, "no-store"), made.text
        told = made.json()
        secret = told["base_url"].removeprefix("http://candor.example/label-studio/ponds/")
        header = site.kept["webhooks"][1]["headers"]["X-Candor-Webhook"]
        assert [one["name"] for one in told["findings"] if one["ok"]] == ["label_studio", "labels", "backend", "webhook", "predict"]
        assert (site.kept["ml"][1]["url"], site.project["model_version"]) == (told["base_url"], "Candor")
        path = f"{PATH}/{told['id']}"
        elsewhere = await server.client.patch(path, json={"url": "http://elsewhere.example"}, headers=lead)
        assert "give the token" in is_problem(elsewhere, 422, "invalid_request")  # or it would be sent there
        changed = await server.client.patch(path, json={"token": "1" * 40, "settings": {"poll_seconds": 5}}, headers=lead)
        assert changed.json()["settings"] == {"poll_seconds": 5}
        kept = await Connections(server.services.store).get(told["id"])
        assert (kept.token, kept.settings["header"]["value"]) == ("1" * 40, header)
        seen = [await server.client.get(PATH, headers=lead), await server.client.get(path, headers=lead), changed]
        audited = await entries(server.services.store, "red")
        assert {"connection.created", "connection.changed", "project.created"} <= {one.action for one in audited}
        assert not any(hidden in f"{[one.text for one in seen]}{audited}" for hidden in (WANTED["token"], "1" * 40, secret, header))
        for method, tail in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/check"), ("POST", "/push"), ("GET", "/tasks")]:
            body: dict[str, Any] | None = {} if method == "PATCH" else None
            is_problem(await server.client.request(method, path + tail, headers=other, json=body), 404, "not_found")
            is_problem(await server.client.request(method, path + tail, headers=worker, json=body), 403, "forbidden")
        is_problem(await server.client.get(path.replace("ponds", "lakes"), headers=lead), 404, "not_found")
        taken = await server.client.post("/v1/projects/mine/connections", json=WANTED, headers=other)
        assert "a project of another team: end" in is_problem(taken, 409, "conflict")
        site.down = True
        ended = await server.client.delete(path, headers=lead)
        assert (ended.status_code, ended.json()["findings"][0]["ok"], ended.json()["ended_at"] is None) == (200, False, False)
        is_problem(await server.client.post(f"{path}/check", headers=lead), 404, "not_found")


@pytest.mark.parametrize(
    ("refused", "half", "says"),
    [
        ({"POST ml": "unreachable"}, False, "can't reach Candor at http://candor: name, as `candor_url`"),
        ({"POST ml": "blocked"}, False, "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"),
        ({"POST ml": "blocked"}, True, "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"),
        ({"PATCH webhooks/1": "blocked"}, False, "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"),
    ],
)
async def test_where_wiring_fails_nothing_is_left(server: Server, refused: dict[str, str], half: bool, says: str) -> None:
    site = install(server)
    site.refusing, site.half = refused, half
    detail = is_problem(await server.client.post(PATH, json=WANTED), 422, "invalid_request")
    assert says in detail
    assert "s" * 43 not in detail
    assert (site.kept, (await server.client.get(PATH)).json()) == ({"ml": {}, "webhooks": {}}, {"connections": []})


async def test_an_address_that_no_webhook_takes_is_a_finding_and_reviews_are_asked_for(server: Server) -> None:
    site = install(server)
    site.refusing = {"PATCH webhooks/1": "no webhook url"}
    made = (await server.client.post(PATH, json=WANTED)).json()
    (told,) = [one["told"] for one in made["findings"] if one["name"] == "webhook" and "dot" in one["told"]]
    assert "found by asking" in told
    assert "header" not in (await Connections(server.services.store).get(made["id"])).settings
    site.refusing, site.project["show_collab_predictions"] = {}, False
    again = await server.client.post(PATH, json=WANTED)
    assert (again.status_code, again.json()["id"], again.json()["base_url"]) == (200, made["id"], None)
    assert [one["name"] for one in again.json()["findings"] if not one["ok"]] == ["shown"]


async def test_what_does_not_fit_is_refused_before_anything_is_made(server: Server) -> None:
    site = install(server)
    for changed, status, says in (
        ({"remote_project": "9"}, 422, "no project 9 that this token may see; its projects: 1 'recorded'"),
        ({"task": "transcription"}, 422, "It needs a <TextArea> of an <Audio>"),
        ({"model": "nobody"}, 422, "model: there is no model 'nobody'"),
        ({"token": None}, 422, "give url, token and remote_project together"),
        ({"url": "http://user:pass@labels.example"}, 422, "without user name and query"),
    ):
        answer = await server.client.post(PATH, json={**WANTED, **changed})
        assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
    site.kept["ml"][1] = {**RECORDED["row"]["body"], "id": 1, "url": "http://other.example", "title": "other"}
    assert "'other' already" in is_problem(await server.client.post(PATH, json=WANTED), 409, "conflict")
    site.refusing = {"GET projects/1": "wrong token"}
    answer = await server.client.post(PATH, json=WANTED)
    assert (answer.status_code, "personal access token" in answer.json()["detail"]) == (424, True)
    assert await Connections(server.services.store).active("label-studio") == []


async def test_tasks_are_counted_and_listed_by_state(server: Server) -> None:
    made = await server.client.post(PATH, json={"tool": "label-studio"})
    assert (made.status_code, connecting.HEADER in made.text) == (201, False)
    path = f"{PATH}/{made.json()['id']}"
    ended = [Ended(str(n), f"1:{n}", "v", error="broken" if n % 2 else None) for n in range(5)]
    await Tasks(server.services.store).shown(made.json()["id"], ended)
    told = (await server.client.get(f"{path}/tasks?state=failed&limit=1")).json()
    assert (told["counts"], told["tasks"][0]["error"], told["next"]) == ({"done": 3, "failed": 2}, "broken", "1")
    rest = (await server.client.get(f"{path}/tasks?state=failed&after=1")).json()
    assert ([one["task"] for one in rest["tasks"]], rest["next"]) == (["3"], None)
    assert "address and token" in is_problem(await server.client.post(f"{path}/push"), 422, "invalid_request")


async def test_webhooks_that_are_not_of_candor_are_never_removed() -> None:
    installed = Installed()
    installed.kept["webhooks"][7] = {"id": 7, "url": "https://chat.example/hook", "project": 1}
    wiring = Wiring(LabelStudio(installed, "http://labels.example", "0" * 40), "1")
    await wiring.remove(None)
    await wiring.remove("another")
    assert list(installed.kept["webhooks"]) == [7]
