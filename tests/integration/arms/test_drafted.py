"""A project's drafts for data sets, and every format of them: nothing of the arms by which people are measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json

from candor.drafts import Draft
from client.exports.forms import FORMS
from client.output import Format, Wanted, opened
from tests.unit.serving.arms.armed import put
from tests.unit.serving.served import Server, is_problem
from tests.unit.store.drafts import draft

pytestmark = pytest.mark.asyncio(loop_scope="module")


def of_item(item: str, arm: str = "assisted", label: str = "cat", **changes: Any) -> Draft:
    box = {"id": f"{label}.0", "label": label, "xyxy": [1.0, 2.0, 30.0, 40.0], "confidence": 0.5}
    payload = {"image_size": [64, 48], "route": "review", "priority": 0.5, "labels": [box]}
    return draft(**{"item": item, "arm": arm, "project": "set", "payload": payload, "confidence": None, **changes})


async def listed(server: Server, **query: Any) -> list[dict[str, Any]]:
    """All pages, of two drafts each."""
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        answer = await server.client.get("/v1/projects/set/drafts", params={"limit": 2, **query, **after})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["drafts"]
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


@pytest.fixture
async def server(steady: Server) -> Server:
    return steady


async def test_no_list_and_no_format_has_what_measures_people(server: Server, tmp_path: Path) -> None:
    await put(server, "set", None)
    plain = [of_item(name) for name in ("a", "b", "c", "\u00e9/\u00fc.jpg", "z")]
    older, newer = of_item("again", label="secret-older"), of_item("again", label="dog")
    # an item that was withheld from one person, or is a honeypot, is left out whole, whatever else was drafted of it, and when
    hidden = [
        of_item("secret-1", "withheld"),
        *(of_item("secret-2", arm) for arm in ("withheld", "assisted")),
        *(of_item("secret-3", arm) for arm in ("assisted", "withheld")),
        *(of_item("secret-4", arm) for arm in ("honeypot", "twin")),
        *(of_item("secret-5", arm) for arm in ("assisted", "honeypot", "twin")),
        of_item("secret-6", team="others"),
        *(of_item("secret-7", project=project) for project in ("other", None)),
    ]
    await server.services.store.save([*plain, older, newer, *hidden])
    found = await listed(server)
    shown = sorted([*plain, newer], key=lambda one: one.item)
    assert found == [json.loads(to_json(one.as_wire())) for one in shown]
    assert await listed(server, limit=1000) == found
    for how in (Format.json, Format.jsonl, *(Format(name) for name, form in FORMS.items() if "detection" in form.tasks)):
        with opened(tmp_path / how, how, Wanted(keep=False)) as output:
            for one in found:
                output.write(one)
        files = [path for path in (tmp_path / how, *(tmp_path / how).rglob("*")) if path.is_file()]
        text = " ".join(f"{path} {path.read_text()}" for path in files)
        assert "again" in text
        assert not re.search(r"secret|withheld|honeypot|twin|assisted|\barm\b", text)


async def test_the_list_is_for_who_leads_and_a_wrong_name_is_told(server: Server) -> None:
    is_problem(await server.client.get("/v1/projects/none/drafts"), 404, "unknown_project")
    await put(server, "empty", None)
    assert (await server.client.get("/v1/projects/empty/drafts")).json() == {"drafts": [], "next": None}
    is_problem(await server.client.get("/v1/projects/empty/drafts", params={"limit": 0}), 422, "invalid_request")
