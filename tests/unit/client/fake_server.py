"""A server behind httpx.MockTransport: it drafts whatever it is sent, after the answers and faults that a test lines up."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import httpx

from client.api import Client
from client.async_api import AsyncClient

Fault: TypeAlias = httpx.Response | Exception

_FILENAME = re.compile(rb'name="items"; filename="([^"]*)"')
MODELS = [
    {
        "name": name,
        "version": f"{name}@sha256:{'4b1c' * 16}",
        "task": task,
        "family": "fake",
        "aliases": ["production"],
        "confidence_status": "uncalibrated",
        "calibration": None,
        "state": "ready",
        "detail": "",
        "default": True,
        "licence": "unknown",
        "labels": 2,
    }
    for name, task in (("boxes", "detection"), ("names", "classification"), ("words", "transcription"))
]


def problem(code: str, status: int, *, retryable: bool = False, retry_after: str | None = None) -> httpx.Response:
    body = {"type": f"/problems/{code}", "title": code, "status": status, "code": code, "detail": f"told: {code}", "retryable": retryable}
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    return httpx.Response(status, json=body, headers={"X-Request-Id": "req-1", **headers})


def item_error(item: str, code: str, *, retryable: bool = False) -> dict[str, Any]:
    return {"item": item, "task": "detection", "error": {**json.loads(problem(code, 422, retryable=retryable).content)}}


class FakeServer:
    """Answers `faults` first, one a request. `entry` makes the answer of one item; `too_many` items in a request are refused."""

    def __init__(
        self,
        *faults: Fault,
        entry: Callable[[str, int], dict[str, Any]] = lambda item, tries: {"item": item, "id": f"drf_{item}", "labels": []},
        too_many: int = 1000,
    ) -> None:
        self.faults = list(faults)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []
        self.tries: dict[str, int] = {}
        self.waits: list[float] = []
        self._entry = entry
        self._too_many = too_many
        self._lock = threading.Lock()

    def client(self, **settings: Any) -> Client:
        return Client(transport=httpx.MockTransport(self.handle), wait=self.waits.append, **settings)

    def async_client(self, **settings: Any) -> AsyncClient:
        async def wait(seconds: float) -> None:
            self.waits.append(seconds)

        return AsyncClient(transport=httpx.MockTransport(self.handle), wait=wait, **settings)

    def client_class(self) -> Callable[..., Client]:
        """Stand in for the class, as commands use it."""
        return partial(Client, transport=httpx.MockTransport(self.handle), wait=self.waits.append)

    def handle(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        with self._lock:
            self.requests.append(request)
            self.bodies.append(body)
            if self.faults:
                fault = self.faults.pop(0)
                if isinstance(fault, Exception):
                    raise fault
                return fault
            if request.method == "GET":
                return httpx.Response(200, json={"models": MODELS})
            return self._drafted(request, body)

    def _drafted(self, request: httpx.Request, body: bytes) -> httpx.Response:
        if request.headers["Content-Type"].startswith("application/json"):
            items = [item["id"] for item in json.loads(body)["items"]]
        else:
            items = [name.decode() for name in _FILENAME.findall(body)]
        if len(items) > self._too_many:
            return problem("body_too_large", 413)
        for item in items:
            self.tries[item] = self.tries.get(item, 0) + 1
        return httpx.Response(200, json={"model_version": "m", "drafts": [self._entry(item, self.tries[item]) for item in items]})
