"""A Label Studio that never was: its configs, what it sends, and what Candor asks it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from candor.errors import MediaUnreachable, ToolError
from store.audit import Actor
from store.connections import Connection, Connections
from tests.unit.serving.served import Server

URL = "http://ls.example"
BOXES = """<View><Image name="img" value="$image"/>
<RectangleLabels name="box" toName="img"><Label value="cat"/><Label value="Bird"/><Label value="Hund" predicted_values="dog,puppy"/>
</RectangleLabels></View>"""
ONE = """<View><Image name="img" value="$image"/>
<Choices name="kind" toName="img" choice="single"><Choice value="cat"/><Choice value="dog"/><Choice value="bird"/></Choices></View>"""
SEVERAL = ONE.replace('choice="single"', 'choice="multiple"')
WHOLE = '<View><Audio name="sound" value="$audio"/><TextArea name="said" toName="sound"/></View>'
SEGMENTS = """<View><Labels name="who" toName="sound"><Label value="Noise"/><Label value="Speech"/></Labels>
<Audio name="sound" value="$audio"/><TextArea name="said" toName="sound" perRegion="true"/></View>"""


def task(number: int, value: str | bytes | None = None, key: str = "image") -> dict[str, Any]:
    """One task of a request; its bytes follow from its number where none are given."""
    if not isinstance(value, str):
        data = f"item {number}".encode() if value is None else value
        value = "data:image/png;base64," + base64.b64encode(data).decode()
    return {"id": number, "data": {key: value}, "project": 7, "annotations": [], "predictions": []}


class Pasted:
    """A connection of a server, and the address that Label Studio has of it."""

    def __init__(self, server: Server, connection: Connection, secret: str) -> None:
        self.server, self.connection = server, connection
        self.base = f"/label-studio/{connection.project}/{secret}"

    async def setup(self, config: str = BOXES, project: str = "7.1795473587") -> str:
        """Return the model version that Label Studio is told."""
        body = {"project": project, "schema": config, "hostname": URL, "access_token": "x", "extra_params": None}
        answer = await self.server.client.post(f"{self.base}/setup", json=body)
        assert answer.status_code == 200, answer.text
        version: str = answer.json()["model_version"]
        return version

    async def predict(self, tasks: Sequence[Mapping[str, Any]], config: str = BOXES, context: Any = None) -> list[Any]:
        """Return the entries of the answer."""
        params = {"login": None, "password": None, "context": context}
        body = {"tasks": tasks, "project": "7.1795473587", "label_config": config, "params": params}
        answer = await self.server.client.post(f"{self.base}/predict", json=body)
        assert answer.status_code == 200, answer.text
        results: list[Any] = answer.json()["results"]
        assert len(results) == len(tasks)
        return results

    async def now(self) -> Connection:
        """Return the connection as it is stored."""
        return await Connections(self.server.services.store).get(self.connection.id)


async def paste(server: Server, *, url: str | None = None, project: str = "birds", **settings: Any) -> Pasted:
    """Connect a project."""
    token = "t" * 40 if url else None
    remote = "7" if url else None
    connections = Connections(server.services.store)
    made = await connections.add(
        Actor("default", "none"), project, "label-studio", url=url, token=token, remote_project=remote, settings=settings
    )
    return Pasted(server, *made)


class Remote:
    """Stands for `LabelStudio`. `media` are its files by address; `taken` the predictions that it was given."""

    def __init__(self, config: str = BOXES) -> None:
        self.config = config
        self.media: dict[str, bytes] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.taken: list[dict[str, Any]] = []
        self.refuses: set[int] = set()
        self.down = False
        self.fetched: list[str] = []

    def __call__(self, *_: Any) -> Remote:
        return self

    async def bytes_of(self, url: str, task: str | None = None) -> bytes:
        self.fetched.append(url)
        if url not in self.media:
            raise MediaUnreachable(f"'ls.example' answered 404 for {task}")
        return self.media[url]

    async def project(self, id_: str) -> Mapping[str, Any]:
        self._up()
        return {"id": int(id_), "label_config": self.config}

    async def json(self, method: str, path: str, body: Any = None, params: Any = None) -> Any:
        self._up()
        return self.tasks[path.strip("/").rpartition("/")[2]]

    async def import_predictions(self, project: str, predictions: Sequence[Mapping[str, Any]]) -> int:
        self._up()
        if any(one["task"] in self.refuses for one in predictions):
            error = ToolError("Label Studio answered 400: no such task")
            error.answered = 400
            raise error
        self.taken += [dict(one) for one in predictions]
        return len(predictions)

    def _up(self) -> None:
        if self.down:
            raise MediaUnreachable("'ls.example' can't be reached")
