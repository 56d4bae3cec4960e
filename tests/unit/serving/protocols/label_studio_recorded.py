"""What a real Label Studio 1.23.2 sent and answered, and one that answers so: its stored tasks, filters and users."""

from __future__ import annotations

import copy
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from candor.drafts import Draft
from candor.errors import MediaUnreachable
from serving.media import Called, MediaFetcher
from store.audit import OPERATOR
from store.connections import Connection, Connections
from store.label_studio_tasks import Ended, Tasks
from store.store import Store
from tests.recorded import HERE as RECORDED
from tests.unit.store.drafts import draft, sha

HERE = RECORDED / "label_studio"
URL, TOKEN, INVITE = "https://labels.example", "0" * 40, "an-invite-token"
PEOPLE = {"1": "lead@example.org", "2": "second@example.org"}
SIZE = [200, 100]


def hook(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "webhooks.json").read_text())[name]
    return found


def tasks() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((HERE / "tasks.json").read_text())["tasks"]
    return found


class FakeLabelStudio(MediaFetcher):
    """Answers as the real one did, with at most `most` tasks. `down` makes it unreachable; `told` is what it was asked."""

    def __init__(self, stored: list[dict[str, Any]] | None = None) -> None:
        self.tasks = {task["id"]: copy.deepcopy(task) for task in stored or []}
        self.people = dict(PEOPLE)
        self.told: list[str] = []
        self.tokens: list[str | None] = []
        self.down = False
        self.most = 1000  # tasks in one answer

    async def call(self, method: str, url: str, headers: Any, body: bytes | None = None, *, most: int | None = None) -> Called:
        if self.down:
            raise MediaUnreachable("it can't be reached")
        parts = urlsplit(url)
        self.told.append(f"{method} {parts.path}")
        self.tokens.append(headers.get("Authorization"))
        status, answer = self._answer(parts.path.strip("/").split("/"), {name: one[0] for name, one in parse_qs(parts.query).items()})
        return Called(status, json.dumps(answer).encode())

    def touch(self, task: int, at: str) -> dict[str, Any]:
        """A task, which has changed at that moment."""
        self.tasks[task]["updated_at"] = at
        return self.tasks[task]

    def _answer(self, path: list[str], params: dict[str, str]) -> tuple[int, Any]:
        match path:
            case ["api", "tasks"]:
                found = self._found(json.loads(params["query"]))
                return 200, {"tasks": found[: min(self.most, int(params["page_size"]))], "total": len(found)}
            case ["api", "projects", number]:
                return 200, {"id": int(number), "label_config": hook("created")["project"]["label_config"], "token": INVITE}
            case ["api", "users", number] if number in self.people:
                return 200, {"id": int(number), "email": self.people[number], "username": f"u{number}"}
            case ["api", "annotations", number]:
                there = (one for task in self.tasks.values() for one in task["annotations"] if str(one["id"]) == number)
                one: Any = next(there, None)
                return (404, {"detail": "No Annotation matches the given query."}) if one is None else (200, one)
        return 404, {"detail": "Not found."}

    def _found(self, query: dict[str, Any]) -> list[Any]:
        found = sorted(self.tasks.values(), key=lambda task: int(task["id"]))
        for one in query.get("filters", {}).get("items", []):
            column, value = one["filter"].removeprefix("filter:tasks:"), one["value"]
            if one["operator"] == "greater":
                found = [task for task in found if task[column] > value]
            if one["operator"] == "greater_or_equal":
                found = [task for task in found if task[column] >= value]
        if query["ordering"] == ["-tasks:updated_at"]:
            found.sort(key=lambda task: str(task["updated_at"]), reverse=True)
        return [{**task, "annotations_ids": ",".join(str(one["id"]) for one in task["annotations"])} for task in found]


async def connected(store: Store, project: str, **changes: Any) -> Connection:
    """A connection of the project to the recorded Label Studio's second project."""
    values: dict[str, Any] = {"url": URL, "token": TOKEN, "remote_project": "2", "settings": {}, **changes}
    made, _ = await Connections(store).add(OPERATOR, project, "label-studio", **values)
    return made


def box(draft_id: str, place: int, label: str, xyxy: Any) -> dict[str, Any]:
    return {"id": f"{draft_id}.{place}", "label": label, "xyxy": xyxy, "confidence": 0.8, "raw": {"score": 0.8, "logit": 1.0}}


def drafted(project: str, number: int, task: int, *boxes: dict[str, Any], arm: str = "assisted") -> Draft:
    """The draft that task `task` of the recording was shown: `drf_01example0<number>`."""
    name = f"drf_01example0{number}"
    payload = {"image_size": SIZE, "labels": list(boxes)}
    return draft(id=name, item=f"2:{task}", project=project, payload=payload, media_sha256=sha(name), model_version="m@1", arm=arm)


async def shown(store: Store, connection: Connection, *drafts: Draft) -> None:
    """Let Label Studio have been answered with drafts that are stored."""
    rows = [Ended(one.item.partition(":")[2], one.item, "v1", draft=one.id) for one in drafts]
    await Tasks(store).shown(connection.id, rows)
