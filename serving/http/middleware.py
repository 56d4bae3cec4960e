"""What happens to every request: an id, a bound on its body, a line in the log, a count."""

from __future__ import annotations

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from candor.errors import BodyTooLarge, CandorError
from candor.ids import new_id
from serving import metrics
from serving.http.problems import answer_of, as_error
from serving.protocols.dialects import told_path

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_log = structlog.get_logger("access")


class RequestScope:
    """Outermost: answers everything, also what goes wrong in the layers within, with a request id."""

    def __init__(self, app: ASGIApp, body_bytes: int, echo_id: bool) -> None:
        self._app = app
        self._body_bytes = body_bytes
        self._echo_id = echo_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Ray Serve mounts an application under its prefix. Ours know their whole paths, so that all topologies share them.
        scope["root_path"] = ""
        request_id = _request_id(Headers(scope=scope).get("x-request-id", ""))
        scope.setdefault("state", {})["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await _Exchange(scope, receive, send, request_id if self._echo_id else None, self._body_bytes).run(self._app)


def _request_id(given: str) -> str:
    return given if _ID.fullmatch(given) else new_id("req")


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, echoed_id: str | None, limit: int) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._echoed_id, self._limit = echoed_id, limit
        self._start = time.perf_counter()
        self._received = 0
        self._status = 0

    async def run(self, app: ASGIApp) -> None:
        try:
            declared = Headers(scope=self._scope).get("content-length", "0")
            if declared.isdecimal() and (len(declared) > 20 or int(declared) > self._limit):  # int refuses thousands of digits
                raise self._too_large()
            await app(self._scope, self.receive, self.send)
        except Exception as raised:
            if self._status:  # half an answer is out: the connection must break
                raise
            await answer_of(as_error(raised), self._scope["path"])(self._scope, self.receive, self.send)
        finally:
            self._record()

    async def receive(self) -> Message:
        """Pass the body on, counted: a client that declares no length is bounded too."""
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on, with its id."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if self._echoed_id is not None:
                MutableHeaders(scope=message)["X-Request-Id"] = self._echoed_id
        await self._send(message)

    def _too_large(self) -> CandorError:
        return BodyTooLarge(f"the request body may have {self._limit:,} bytes: send fewer items at once, or upload them first")

    def _record(self) -> None:
        seconds = time.perf_counter() - self._start
        route = getattr(self._scope.get("route"), "path", "other")  # the pattern, not the path: ids must not make new series
        method = self._scope["method"] if self._scope["method"] in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS") else "other"
        metrics.REQUESTS.labels(route, method, str(self._status or 499)).inc()
        metrics.REQUEST_SECONDS.labels(route).observe(seconds)
        quiet = route in ("/livez", "/readyz", "/metrics")
        log = _log.debug if quiet else _log.info
        log("request", method=method, path=told_path(self._scope["path"]), status=self._status or 499, seconds=round(seconds, 4))
