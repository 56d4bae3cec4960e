"""A project with a review policy, on the server of the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.access import WITHOUT_KEYS
from store.draws import DrawRow, Draws
from store.gold import Gold
from tests.unit.serving.served import Server, image

BEASTS = {"label_map": {"cat": "beast", "cow": "ox"}}  # dogs are not drafted: some drafts are empty
OFTEN = {"control": 0.3, "honeypot": 0.3, "raised": 0.3}


async def put(server: Server, project: str, review: dict[str, Any] | None, **body: Any) -> None:
    answer = await server.client.put(f"/v1/projects/{project}", json={**body, "review": review})
    assert answer.status_code == 200, answer.text


async def ask(server: Server, names: Sequence[str], path: str = "/v1/detection/drafts", **more: Any) -> list[dict[str, Any]]:
    """Draft items, 64 at a time."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(names), 64):
        found += await server.drafts([image(name) for name in names[start : start + 64]], path, **more)
    return found


async def draws_of(server: Server, project: str = "p") -> dict[str, DrawRow]:
    rows = await Draws(server.services.store).page("default", project, None, 10_000)
    return {row.item: row for row in rows}


def truth_of(draft: dict[str, Any]) -> dict[str, Any]:
    """The truth that makes a draft right."""
    if draft["task"] == "classification":
        return {"label": draft["labels"][0]["label"]}
    return {"boxes": [{"label": one["label"], "xyxy": one["xyxy"]} for one in draft["labels"]]}


async def make_gold(server: Server, drafts: Sequence[dict[str, Any]], project: str = "p") -> None:
    """Let the labels of drafts be what is right for their items in a project."""
    await Gold(server.services.store).put(WITHOUT_KEYS.actor(""), project, {one["item"]: truth_of(one) for one in drafts})


def shape(value: Any) -> Any:
    """The fields of an answer in their order, and the types of their values; of lists the different shapes."""
    if isinstance(value, dict):
        return tuple((key, shape(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return frozenset(shape(inner) for inner in value)
    return type(value).__name__
