from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import ClientDisconnect

from tests.unit.serving.served import Server, is_problem, running, settings_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
BEGIN = "/v1/uploads/resumable"


def announced(content: bytes) -> dict[str, object]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def stored_parts(server: Server, upload: str) -> list[Path]:
    return list(Path(server.services.settings.storage.blobs, "parts", upload).glob("*"))


async def send(server: Server, upload: str, offset: int, content: bytes, **headers: str) -> httpx.Response:
    headers["Content-Type"] = "application/octet-stream"
    return await server.client.put(f"/v1/uploads/{upload}/parts?offset={offset}", content=content, headers=headers)


async def test_a_file_in_parts_is_an_item_like_any_other(steady: Server) -> None:
    content = b"in two parts" * 100_000
    begun = await steady.client.post(BEGIN, json=announced(content))
    assert begun.status_code == 201
    upload, told = begun.json()["id"], begun.json()
    assert begun.headers["location"] == f"/v1/uploads/{upload}"
    assert (told["received"], told["complete"], told["part_bytes"]) == (0, False, 8 * 2**20)
    assert (await send(steady, upload, 0, content[: 2**20])).json()["received"] == 2**20
    assert (await steady.client.post(BEGIN, json=announced(content))).json()["received"] == 2**20  # begun again, it goes on
    item = {"id": "a", "image": {"upload": upload}}
    assert (await steady.drafts([item]))[0]["error"]["code"] == "unknown_upload"  # not yet
    last = await send(steady, upload, 2**20, content[2**20 :])
    assert (last.status_code, last.json()["complete"], last.json()["expires_at"]) == (200, True, None)
    assert (await steady.client.get(f"/v1/uploads/{upload}")).json() == last.json()
    assert "error" not in (await steady.drafts([item]))[0]


async def test_what_does_not_fit_is_a_problem(steady: Server) -> None:
    content = b"x" * 2**21
    upload = (await steady.client.post(BEGIN, json=announced(content))).json()["id"]
    assert "offset=0" in is_problem(await send(steady, upload, 2**20, content[2**20 :]), 409, "conflict")
    assert "X-Part-SHA256" in is_problem(await send(steady, upload, 0, content, **{"X-Part-SHA256": "0" * 64}), 422, "invalid_request")
    is_problem(await send(steady, upload, 0, b"y" * (8 * 2**20 + 1)), 413, "media_too_large")
    is_problem(await send(steady, upload, -1, content), 422, "invalid_request")
    is_problem(await send(steady, "upl_none", 0, content), 404, "unknown_upload")
    is_problem(await steady.client.get("/v1/uploads/upl_none"), 404, "unknown_upload")
    assert (await steady.client.delete(f"/v1/uploads/{upload}")).status_code == 204
    is_problem(await steady.client.get(f"/v1/uploads/{upload}"), 404, "unknown_upload")


@pytest.mark.parametrize(
    "told", [{}, {"bytes": 0, "sha256": "0" * 64}, {"bytes": 3, "sha256": "short"}, {"bytes": 2**60, "sha256": "0" * 64}]
)
async def test_announcements_are_checked(steady: Server, told: dict[str, object]) -> None:
    is_problem(await steady.client.post(BEGIN, json=told), 422, "invalid_request")


async def test_a_part_that_breaks_off_leaves_nothing(steady: Server) -> None:
    content = b"z" * 2**21
    upload = (await steady.client.post(BEGIN, json=announced(content))).json()["id"]

    async def broken() -> AsyncIterator[bytes]:
        yield content[: 2**20]
        raise ClientDisconnect

    is_problem(await steady.client.put(f"/v1/uploads/{upload}/parts?offset=0", content=broken()), 422, "invalid_request")
    assert (await steady.client.get(f"/v1/uploads/{upload}")).json()["received"] == 0
    assert stored_parts(steady, upload) == []


@pytest.mark.asyncio(loop_scope="function")
async def test_a_team_stores_no_more_than_its_room(folder: Path) -> None:
    content = b"1234567890"
    async with running(settings_in(folder, teams={"storage_bytes": 15})) as server:
        upload = (await server.client.post(BEGIN, json=announced(content))).json()["id"]
        told = is_problem(await server.client.post(BEGIN, json=announced(b"another one")), 403, "quota_exceeded")
        assert "5 more bytes" in told  # what is announced counts
        assert (await server.client.post(BEGIN, json=announced(content))).json()["id"] == upload
        assert (await send(server, upload, 0, content)).json()["complete"]
