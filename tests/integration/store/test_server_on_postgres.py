"""The whole server, with fake models, on PostgreSQL: several of them over one database, and one that goes and comes back."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.config import Settings, StorageSettings
from tests.postgres import remove, start, stop
from tests.unit.serving.served import Server, image, is_problem, running, settings_in


def settings_on(url: str, folder: Path) -> Settings:
    own = settings_in(folder)
    storage = StorageSettings(**{**own.storage.model_dump(), "database_url": url})
    return own.model_copy(update={"storage": storage})


async def drafted(server: Server, item_id: str, key: str | None = None) -> Any:
    headers = None if key is None else {"Idempotency-Key": key}
    return await server.draft([image(item_id)], "/v1/detection/drafts", headers=headers)


async def test_two_servers_share_what_they_know(postgres_empty_url: str, tmp_path: Path) -> None:
    settings = settings_on(postgres_empty_url, tmp_path)  # they make the tables too
    async with running(settings) as first, running(settings) as second:
        made = (await drafted(first, "a", key="k1")).json()["drafts"][0]
        assert (await second.client.get(f"/v1/drafts/{made['id']}")).json()["id"] == made["id"]
        again = await drafted(second, "a", key="k1")
        assert again.json()["drafts"][0]["id"] == made["id"]
        uploaded = await first.client.post("/v1/uploads", content=b"pixels")
        assert uploaded.status_code == 201, uploaded.text
        item = {"id": "b", "image": {"upload": uploaded.json()["id"]}}
        assert "error" not in (await second.drafts([item]))[0]
        answers = await asyncio.gather(*(drafted(server, f"x{n}", key=f"x{n}") for n in range(20) for server in (first, second)))
        assert {answer.status_code for answer in answers} <= {200, 409}
        ids = [answer.json()["drafts"][0]["id"] for answer in answers if answer.status_code == 200]
        assert len(set(ids)) == 20
        if any(answer.status_code == 409 for answer in answers):
            assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 409)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="candor-postgres-"))
    yield made
    remove(made)


async def test_a_database_that_goes_is_503_until_it_comes_back(folder: Path, tmp_path: Path) -> None:
    url = await asyncio.to_thread(start, folder)
    async with running(settings_on(url, tmp_path)) as server:
        assert (await drafted(server, "a")).status_code == 200
        await asyncio.to_thread(stop, folder)
        gone = await drafted(server, "b", key="k")
        is_problem(gone, 503, "storage_unavailable")
        assert gone.headers["retry-after"]
        assert await asyncio.to_thread(start, folder) == url
        back = await drafted(server, "b", key="k")
        assert back.status_code == 200, back.text
