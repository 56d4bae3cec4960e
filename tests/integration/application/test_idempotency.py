"""`Idempotency-Key`: the work of one request is done once, however often it is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from candor.errors import CandorError, Overloaded, StorageUnavailable, UnreadableItem
from serving.api.idempotency import fingerprint
from serving.config import Settings
from serving.requests import Drafter, DraftRequest, DraftResult, Item, ItemResult, Media, ModelStatus
from tests.unit.serving.served import Gate, Server, cancelled, image, is_problem, running, settings_in

DETECTION = "/v1/detection/drafts"


async def send(server: Server, key: str, *items: Any, path: str = DETECTION, **more: Any) -> httpx.Response:
    return await server.draft(items or [image("a")], path, headers={"idempotency-key": key}, **more)


class Scripted:
    """A drafter whose answers are written down; it counts how often it is asked."""

    def __init__(self, *answers: BaseException | CandorError | None) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def draft(self, request: DraftRequest) -> DraftResult:
        """Raise the next answer, or give it to each item; None: a lasting error of the item."""
        self.asked += 1
        answer = self._answers.pop(0)
        if answer is not None and not isinstance(answer, UnreadableItem | Overloaded):
            raise answer
        return DraftResult("m@1", tuple(ItemResult(item.id, error=answer or UnreadableItem("bad")) for item in request.items))

    async def models(self, team: str = "default") -> list[ModelStatus]:
        return []


def scripted(settings: Settings, *answers: BaseException | None) -> tuple[Any, Scripted]:
    drafter = Scripted(*answers)
    made: Drafter = drafter
    return running(settings, lambda _: made), drafter


async def test_the_same_request_again_gets_the_same_answer(server: Server) -> None:
    fresh = {"idempotency-key": "k", "cache-control": "no-cache"}
    first = await server.draft([image("a"), image("b", b"")], DETECTION, headers=fresh)
    again = await server.draft([image("a"), image("b", b"")], DETECTION, headers=fresh)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["content-type"] == "application/json"
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert server.inferred() == 1


async def test_json_and_a_form_may_be_one_request(server: Server) -> None:
    await send(server, "k", image("a", b"x"))
    form = await server.client.post(DETECTION, files=[("items", ("a", b"x"))], headers={"idempotency-key": "k"})
    assert form.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("change", "items"),
    [
        ({"project": "p"}, [image("a")]),
        ({"model": "finder"}, [image("a")]),
        ({"include": ["raw"]}, [image("a")]),
        ({"path": "/v1/classification/drafts"}, [image("a")]),
        ({"path": "/v1/drafts", "task": "detection"}, [image("a")]),
        ({}, [image("a", b"other")]),
        ({}, [image("b", b"a")]),
        ({}, [image("a"), image("b")]),
        ({}, [{"id": "a", "image": {"upload": "upl_1"}}]),
        ({}, [{"id": "a", "image": {"url": "http://127.0.0.1/"}}]),
        ({}, [{"id": "a"}]),
    ],
)
async def test_the_key_of_another_request_conflicts(server: Server, change: Any, items: Any) -> None:
    await send(server, "k", image("a"))
    assert "another request" in is_problem(await send(server, "k", *items, **change), 409, "conflict")


async def test_asking_anew_is_another_request(server: Server) -> None:
    await send(server, "k")
    answer = await server.draft([image("a")], DETECTION, headers={"idempotency-key": "k", "cache-control": "no-cache"})
    is_problem(answer, 409, "conflict")


async def test_a_second_request_waits_for_the_first(server: Server, gate: Gate) -> None:
    first = asyncio.create_task(send(server, "k"))
    await gate.waited_for()
    answer = await send(server, "k")
    assert "still running" in is_problem(answer, 409, "conflict")
    assert answer.headers["retry-after"] == "1"
    gate.opened.set()
    done = await first
    assert (await send(server, "k")).content == done.content


@pytest.mark.parametrize("error", [Overloaded("full"), StorageUnavailable(), RuntimeError("crash")], ids=lambda error: type(error).__name__)
async def test_a_request_that_failed_may_be_sent_again(settings: Settings, error: Exception) -> None:
    made, drafter = scripted(settings, StorageUnavailable() if isinstance(error, Overloaded) else error, None, None)
    async with made as server:
        assert (await send(server, "k", path="/v1/drafts")).status_code >= 500
        again = await send(server, "k", path="/v1/drafts")
        assert again.status_code == 200
        assert "idempotency-replayed" not in again.headers
        assert (await send(server, "k", path="/v1/drafts")).headers["idempotency-replayed"] == "true"
        assert drafter.asked == 2


async def test_an_answer_with_an_item_that_may_yet_be_drafted_is_not_kept(settings: Settings) -> None:
    made, drafter = scripted(settings, Overloaded("full"), None, None)
    async with made as server:
        first = await send(server, "k", path="/v1/drafts")
        assert first.json()["drafts"][0]["error"]["retryable"] is True
        again = await send(server, "k", path="/v1/drafts")
        assert again.json()["drafts"][0]["error"]["code"] == "unreadable_item"
        assert drafter.asked == 2
        await send(server, "k", path="/v1/drafts")
        assert drafter.asked == 2


async def test_a_refused_request_keeps_no_key(server: Server) -> None:
    is_problem(await send(server, "k", model="nobody"), 404, "unknown_model")
    assert (await send(server, "k")).status_code == 200


async def test_a_client_that_went_away_may_come_back(server: Server, gate: Gate) -> None:
    left = asyncio.create_task(send(server, "k"))
    await gate.waited_for()
    await cancelled(left)
    gate.opened.set()
    assert (await send(server, "k")).status_code == 200


async def test_a_key_that_can_not_be_freed_does_not_hide_what_went_wrong(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = scripted(settings, RuntimeError("crash"))
    async with made as server:

        async def refused(_: str) -> None:
            raise StorageUnavailable("gone")

        monkeypatch.setattr(server.services.store, "release", refused)
        is_problem(await send(server, "k", path="/v1/drafts"), 500, "internal")


async def test_keys_outlive_the_server(folder: Path) -> None:
    async with running(settings_in(folder)) as server:
        first = await send(server, "k")
    async with running(settings_in(folder)) as server:
        assert (await send(server, "k")).content == first.content


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_has_a_length(server: Server, key: str) -> None:
    assert "255" in is_problem(await send(server, key), 422, "invalid_request")
    assert (await send(server, "x" * 255)).status_code == 200


async def test_a_wrong_request_is_told_before_its_key_is_claimed(server: Server) -> None:
    is_problem(await server.draft([], DETECTION, headers={"idempotency-key": "k"}), 422, "no_items")
    assert (await send(server, "k")).status_code == 200


def test_fingerprints_hold_what_is_asked_for_alone() -> None:
    item = Item("a", "image", Media(b"x"))
    one = DraftRequest((item,), request_id="1", fairness_key="1", timeout=1.0)
    assert fingerprint("/p", one, False) == fingerprint("/p", DraftRequest((item,), request_id="2", timeout=2.0), False)
    kinds = {fingerprint("/p", DraftRequest((Item("a", kind, Media(b"x")),)), False) for kind in ("image", "audio")}
    assert len(kinds) == 2
    assert fingerprint("/p", one, True) != fingerprint("/p", one, False) != fingerprint("/q", one, False)
