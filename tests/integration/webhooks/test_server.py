"""The whole server tells a receiver of drafts: all of them, soon, and nothing that tells a honeypot or a withheld draft from others."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from serving.loading import install_all
from tests.integration.webhooks.receiving import receiving
from tests.unit.serving.arms.armed import BEASTS, OFTEN, ask, draws_of, make_gold, put
from tests.unit.serving.served import model, running, settings_in


async def test_drafts_are_told_soon_and_without_their_arms(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KNOWN_SECONDS", "MATERIAL_SECONDS"):
        monkeypatch.setattr(f"serving.arms.assigning.{name}", 0.0)
    own = settings_in(folder)
    models = {**own.models, "finder": model("detection", options_labels=["cat", "dog", "cow"])}
    own = settings_in(folder, models=models, media={"private_hosts": ("127.0.0.1",)})
    install_all(own)
    names = [f"gold {number}" for number in range(60)]
    async with running(own) as server, receiving() as receiver:
        wanted = {"url": receiver.url("/hook"), "events": ["drafts.ready"], "project": "p"}
        made = (await server.client.post("/v1/webhooks", json=wanted)).json()
        await put(server, "p", OFTEN, **BEASTS)
        await put(server, "plain", None, **BEASTS)
        shown = await ask(server, [f"first {number}" for number in range(60)], project="p")
        await make_gold(server, await ask(server, names, project="plain"))
        shown += await ask(server, names, project="p")
        async with asyncio.timeout(10):
            while len(receiver.got) < 2:
                await asyncio.sleep(0.05)
        rows = await draws_of(server)
    assert {row.arm for row in rows.values()} == {"assisted", "withheld", "honeypot"}
    assert all(one.signed_with(made["secret"]) for one in receiver.got)
    told = {draft["item"]: draft["id"] for one in receiver.got for draft in one.told["data"]["drafts"]}
    assert told == {one["item"]: one["id"] for one in shown}
    twins = {row.natural for row in rows.values() if row.arm == "honeypot"}
    assert not any(twin in json.dumps([one.told for one in receiver.got]) for twin in twins)
    for one in receiver.got:
        assert one.told.keys() == {"type", "timestamp", "data"}
        assert one.told["data"].keys() == {"project", "task", "model_version", "created_at", "drafts"}
        assert all(draft.keys() == {"id", "item"} for draft in one.told["data"]["drafts"])
