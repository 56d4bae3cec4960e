"""A server behind httpx.MockTransport that takes uploads in parts and registers models, after the faults that a test lines up."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import httpx

from client.api import Client
from client.async_api import AsyncClient
from tests.unit.client.fake_server import Fault, problem

PART = 2**20
DIGEST = f"sha256:{'4b1c' * 16}"
REPORT: dict[str, Any] = {
    "passed": True,
    "checks": [{"name": "finite", "passed": True, "detail": "[all] figures are finite"}],
    "problem": None,
    "memory_bytes": 30 * 2**20,
    "speed": [{"batch": 1, "seconds": 0.05, "items_per_second": 20.0}, {"batch": 4, "seconds": 0.1, "items_per_second": 40.0}],
    "device": "cpu",
    "max_batch": 4,
    "samples": "6 made images",
    "seconds": 3.2,
}
FAILED = {
    **REPORT,
    "passed": False,
    "checks": [{"name": "finite", "passed": False, "detail": "NaN in 3 of 80 classes"}],
    "problem": {"code": "unsafe_artifact", "detail": "the file gives NaN: export it anew"},
}


class FakeRegistry:
    """Answers `faults` first, by `METHOD path`; the first that fits is taken. `report` is what a validation finds."""

    def __init__(
        self, faults: list[tuple[str, Fault]] | None = None, report: dict[str, Any] = REPORT, job: dict[str, Any] | None = None
    ) -> None:
        self.faults = faults or []
        self.asked: list[str] = []
        self.told: list[Any] = []
        self.form = b""
        self.received = b""
        self.announced: dict[str, Any] = {}
        self.polls = 0
        self.if_match = ""
        self.waits: list[float] = []
        self.aliases: dict[str, dict[str, Any]] = {}
        self._report = report
        self._job = job or {
            "state": "done",
            "result": {"calibration": "cal_1", "status": "unverified", "reason": "few rows", "promoted": False},
        }

    def client_class(self) -> Callable[..., Client]:
        return partial(Client, transport=httpx.MockTransport(self.handle), wait=self.waits.append)

    def client(self) -> Client:
        return self.client_class()()

    def async_client(self) -> AsyncClient:
        async def wait(seconds: float) -> None:
            self.waits.append(seconds)

        return AsyncClient(transport=httpx.MockTransport(self.handle), wait=wait)

    def handle(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        asked = f"{request.method} {request.url.raw_path.decode()}"
        self.asked.append(asked)
        self.if_match = request.headers.get("If-Match", "")
        for number, (pattern, fault) in enumerate(self.faults):
            if re.search(pattern, asked):
                del self.faults[number]
                if isinstance(fault, Exception):
                    raise fault
                return fault
        return self._answer(request, asked, body)

    def _answer(self, request: httpx.Request, asked: str, body: bytes) -> httpx.Response:
        if request.headers.get("Content-Type", "") == "application/json":
            self.told.append(json.loads(body))
        for pattern, answer in self._routes.items():
            if matched := re.fullmatch(pattern, asked):
                return answer(self, body, *matched.groups())
        return problem("not_found", 404)

    def _begin(self, _body: bytes) -> httpx.Response:
        self.announced = self.told[-1]
        return self._state(201)

    def _whole(self, body: bytes) -> httpx.Response:
        self.received = body
        return httpx.Response(201, json={"id": "upl_1"})

    def _state(self, status: int = 200) -> httpx.Response:
        complete = len(self.received) == self.announced["bytes"]
        if complete and hashlib.sha256(self.received).hexdigest() != self.announced["sha256"]:
            return problem("invalid_request", 422)
        told = {"id": "upl_1", "received": len(self.received), "complete": complete, "part_bytes": PART, **self.announced}
        return httpx.Response(status, json=told)

    def _part(self, body: bytes, offset: str) -> httpx.Response:
        if int(offset) < len(self.received) and self.received[int(offset) :].startswith(body):
            return self._state()
        if int(offset) != len(self.received):
            return problem("conflict", 409)
        self.received += body
        return self._state()

    def _version(self, state: str | None = None) -> dict[str, Any]:
        state = state or ("ready" if self._report["passed"] else "failed")
        settled = {"version": f"mine@{DIGEST}", "report": self._report} if state != "validating" else {"version": None, "report": None}
        return {"id": "ver_1", "model": "mine", "task": "detection", "state": state, "job": "job_1", "aliases": ["production"], **settled}

    def _register(self, body: bytes) -> httpx.Response:
        self.form = body
        return httpx.Response(202, json=self._version("validating"))

    def _poll(self, _body: bytes) -> httpx.Response:
        self.polls += 1
        job = (
            {"state": "running", "step": f"ran {self.polls} of 9 checks", "progress": 0.5}
            if self.polls < 3
            else {"step": "done", "progress": 1, **self._job}
        )
        return httpx.Response(200, json={"job": {"id": "job_1", **job}})

    def _set_alias(self, _body: bytes, name: str) -> httpx.Response:
        self.aliases[name] = {"alias": name, "revision": 1, "moved_at": "2026-01-01T00:00:00Z", **self.told[-1]}
        return httpx.Response(200, json=self.aliases[name])

    def _roll_back(self, _body: bytes, name: str) -> httpx.Response:
        if self.if_match != f'"{self.aliases[name]["revision"]}"':
            return problem("conflict", 409)
        self.aliases[name]["revision"] += 1
        return httpx.Response(200, json=self.aliases[name])

    def _fit(self, _body: bytes) -> httpx.Response:
        return httpx.Response(202, json={"job": {"id": "job_1"}})

    _routes: ClassVar[dict[str, Callable[..., httpx.Response]]] = {
        r"POST /v1/uploads/resumable": _begin,
        r"POST /v1/uploads": _whole,
        r"GET /v1/uploads/upl_1": lambda self, _body: self._state(),
        r"PUT /v1/uploads/upl_1/parts\?offset=(\d+)": _part,
        r"POST /v1/models/mine/versions": _register,
        r"GET /v1/models/mine/versions/[^/]+": lambda self, _body: httpx.Response(200, json=self._version()),
        r"GET /v1/models/mine/versions": lambda self, _body: httpx.Response(200, json={"versions": [self._version()]}),
        r"GET /v1/jobs/job_1": _poll,
        r"PUT /v1/models/mine/aliases/(\w+)": _set_alias,
        r"POST /v1/models/mine/aliases/(\w+)/rollback": _roll_back,
        r"GET /v1/models/mine/aliases": lambda self, _body: httpx.Response(200, json={"aliases": list(self.aliases.values())}),
        r"POST /v1/calibrations/fits": _fit,
        r"POST /v1/calibrations/cal_1/promote": lambda _self, _body: httpx.Response(200, json={"model_version": "mine@x"}),
    }
