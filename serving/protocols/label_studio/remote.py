"""A client of Label Studio's REST API, over the one way by which the server calls out.

The token of a connection goes to its own Label Studio alone, wherever a task's data or a redirect points. A legacy token is sent as it
is; a personal access token is a refresh token, for which Label Studio gives access of five minutes.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from candor.errors import InvalidRequest, MediaForbidden, ToolError
from serving.media import Called, MediaFetcher
from store.connections import Connection

ACCESS_SECONDS = 240.0  # an access token lasts 300
PAGE = 50  # tasks in one answer, with all that belongs to them
_IDS_PAGE = 500  # tasks of which only ids are wanted
MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"  # the one form of moments that Label Studio's filters take

_WORDS = 300  # characters of what Label Studio answered that are passed on
CLOUD = ("s3", "s3s", "gs", "azure-blob", "redis", "databricks")


class LabelStudio:
    """One Label Studio, and the token with which it is called. `clock` counts seconds."""

    def __init__(self, fetcher: MediaFetcher, url: str, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetcher = fetcher
        self._base = url.rstrip("/")
        self._origin = origin_of(self._base)
        self._token = token
        self._clock = clock
        self._access: tuple[str, float] | None = None

    async def json(self, method: str, path: str, body: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """Call an address of the API, such as `/api/projects/1`, and return what it answers.

        Raises:
            ToolError: Label Studio refuses; the detail has its own words.
            MediaForbidden, MediaUnreachable, MediaTooLarge: it may not or can't be reached, or answers without end.
        """
        sent = None if body is None else json.dumps(body).encode()
        target = self._base + path + (f"?{urlencode(params)}" if params else "")
        called = await self._call(method, target, sent, await self._authorization())
        if called.status == 401 and self._personal:  # the access ran out before its time
            self._access = None
            called = await self._call(method, target, sent, await self._authorization())
        if not 200 <= called.status < 300:
            raise self._refusal(called, f"{method} {path}")
        return _read(called, f"{method} {path}")

    async def bytes_of(self, url: str, task: str | None = None) -> bytes:
        """Return what a value of a task's data points to: an upload, a local file, an address, or a cloud URI, which takes the task's id.

        Raises:
            InvalidRequest: the value points nowhere that Candor knows.
            ToolError: Label Studio gives no access.
            MediaForbidden, MediaUnreachable, MediaTooLarge: as `MediaFetcher.fetch`.
        """
        target = self._address(url, task)
        own = await self._authorization() if origin_of(target) == self._origin else {}
        return await self._fetcher.fetch(target, own)

    async def project(self, id_: str) -> Mapping[str, Any]:
        """Return a project; its invite token stays here."""
        found = _mapping(await self.json("GET", f"/api/projects/{quote(id_, safe='')}/"))
        return {name: value for name, value in found.items() if name != "token"}

    async def user(self, id_: str) -> Mapping[str, Any]:
        """Return a user of the token's organization."""
        return _mapping(await self.json("GET", f"/api/users/{quote(id_, safe='')}/"))

    async def import_predictions(self, project: str, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Give a project predictions, each with its `task`; return how many Label Studio made. Where one is wrong, it makes none."""
        answer = await self.json("POST", f"/api/projects/{quote(project, safe='')}/import/predictions", list(predictions))
        return int(_mapping(answer).get("created", 0))

    async def newest(self, project: str) -> str | None:
        """Return when the task that changed last did so, by Label Studio's clock; None: there is no task.

        A task changes with each of its annotations that is made, changed or deleted by itself, and with its predictions.
        """
        query = {"ordering": ["-tasks:updated_at"]}
        tasks, _ = await self._tasks(project, query, "task_only", 1)
        return str(tasks[0]["updated_at"]) if tasks else None

    async def tasks_changed(self, project: str, since: str | None) -> AsyncIterator[list[Mapping[str, Any]]]:
        """Yield the tasks that changed since a moment, with their annotations, by their ids, some at a time.

        Each page begins after the last id of the one before: pages by number would skip tasks when others go in between.
        """
        filters = [] if since is None else [_filter("updated_at", "Datetime", "greater_or_equal", since)]
        async for tasks in self._pages(project, filters, "all", PAGE):
            yield tasks

    async def annotations(self, project: str) -> AsyncIterator[dict[str, list[str]]]:
        """Yield the ids of the annotations of all tasks, by task, some at a time."""
        # A column is part of the answer where a filter is about it: this one holds always.
        every = [_filter("annotations_ids", "List", "not_contains", "0")]
        async for tasks in self._pages(project, every, "task_only", _IDS_PAGE):
            yield {str(task["id"]): _ids(task.get("annotations_ids")) for task in tasks}

    async def _pages(
        self, project: str, filters: Sequence[Mapping[str, Any]], fields: str, size: int
    ) -> AsyncIterator[list[Mapping[str, Any]]]:
        last, left = 0, 1
        while left > 0:
            items = [*filters, _filter("id", "Number", "greater", last)]
            query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}
            tasks, total = await self._tasks(project, query, fields, size)
            if not tasks:
                return
            yield tasks
            # Label Studio may be set up to answer with fewer than are asked for: what it counts says whether there are more.
            last, left = int(tasks[-1]["id"]), total - len(tasks)

    async def _tasks(self, project: str, query: Mapping[str, Any], fields: str, size: int) -> tuple[list[Any], int]:
        """Return tasks that a query finds, and how many it finds in all."""
        params = {"project": project, "fields": fields, "resolve_uri": "false", "page_size": size, "query": json.dumps(query)}
        answer = _mapping(await self.json("GET", "/api/tasks", params=params))
        return list(answer.get("tasks") or []), int(answer.get("total") or 0)

    @property
    def _personal(self) -> bool:
        """Whether the token is a personal access token, which is a signed document of three parts; a legacy token has none."""
        return self._token is not None and self._token.count(".") == 2

    async def _authorization(self) -> dict[str, str]:
        if self._token is None:
            return {}
        if not self._personal:
            return {"Authorization": f"Token {self._token}"}
        if self._access is None or self._access[1] <= self._clock():
            called = await self._call("POST", self._base + "/api/token/refresh/", json.dumps({"refresh": self._token}).encode(), {})
            if called.status != 200:
                raise self._refusal(called, "POST /api/token/refresh/")
            access = _mapping(_read(called, "POST /api/token/refresh/")).get("access")
            self._access = (str(access), self._clock() + ACCESS_SECONDS)
        return {"Authorization": f"Bearer {self._access[0]}"}

    async def _call(self, method: str, target: str, body: bytes | None, authorization: Mapping[str, str]) -> Called:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "candor", **authorization}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            return await self._fetcher.call(method, target, headers, body)
        except MediaForbidden as error:
            host = httpx.URL(self._base).host
            raise MediaForbidden(f"{error.detail}; if Label Studio is there, add {host!r} to `media.private_hosts`") from error

    def _refusal(self, called: Called, what: str) -> ToolError:
        words = _words(called.body)
        if called.status in (301, 302, 303, 307, 308):
            words = f"it redirects to {called.location!r}: connect with the address that it has in the browser"
        elif called.status == 401:
            words = f"{words}: {self._advice()}"
        error = ToolError(f"Label Studio answered {called.status} to {what}: {words}")
        error.answered = called.status
        return error

    def _advice(self) -> str:
        if self._token is None:
            return "the connection has no token"
        if self._personal:
            return "this personal access token is not valid (any more): make another one under Account & Settings"
        return (
            "this legacy token is not valid, or the organization has legacy tokens disabled: make a personal access token under "
            "Account & Settings"
        )

    def _address(self, url: str, task: str | None) -> str:
        scheme = url.partition("://")[0].lower() if "://" in url else ""
        if scheme in ("http", "https"):
            return url
        if scheme in CLOUD:
            if task is None:
                raise InvalidRequest(f"a {scheme}:// address is looked up by its task, and none is named")
            coded = base64.urlsafe_b64encode(url.encode()).decode()
            return f"{self._base}/tasks/{quote(task, safe='')}/presign/?{urlencode({'fileuri': coded})}"
        if url.startswith("/") and not url.startswith("//"):
            path = httpx.URL(self._base).path.rstrip("/")  # an install under a path writes the path into some of its addresses
            return self._base.removesuffix(path) + url if path and url.startswith(path + "/") else self._base + url
        raise InvalidRequest(f"{url[:80]!r} is neither an upload of Label Studio nor an http(s) or cloud address")


class Remotes:
    """The Label Studios of connections; each keeps its access for as long as address and token stay."""

    def __init__(self, fetcher: MediaFetcher) -> None:
        self._fetcher = fetcher
        self._known: dict[str, tuple[str, str | None, LabelStudio]] = {}

    def of(self, connection: Connection) -> LabelStudio | None:
        """Return a connection's Label Studio; None where Candor is only called by it."""
        url, token = connection.url, connection.token
        if not url:
            return None
        known = self._known.get(connection.id)
        if known is None or known[:2] != (url, token):
            known = self._known[connection.id] = (url, token, LabelStudio(self._fetcher, url, token))
        return known[2]

    def with_token(self, connection: Connection) -> LabelStudio | None:
        """Return a connection's Label Studio; None where nothing of it may be asked."""
        return self.of(connection) if connection.token else None


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of an address: what a token is for.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidRequest(f"{url[:80]!r} is not a valid http(s) address") from error
    return parsed.scheme, parsed.host, parsed.port


def _filter(column: str, kind: str, operator: str, value: Any) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{column}", "type": kind, "operator": operator, "value": value}


def _read(called: Called, what: str) -> Any:
    if not called.body.strip():
        return None
    try:
        return json.loads(called.body)
    except ValueError as error:
        raise ToolError(f"what answers {what} is no Label Studio: it answered {called.status} without JSON") from error


def _mapping(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise ToolError("Label Studio answered in a form that Candor does not know: is its version supported?")
    return answer


def _words(body: bytes) -> str:
    """Return what Label Studio says of a refusal."""
    try:
        told = json.loads(body)
    except ValueError:
        return "(no words)"
    if isinstance(told, Mapping):
        parts = [told.get("detail"), told.get("validation_errors"), told.get("error")]
        told = "; ".join(part if isinstance(part, str) else json.dumps(part) for part in parts if part) or told
    return (told if isinstance(told, str) else json.dumps(told))[:_WORDS]


def _ids(told: Any) -> list[str]:
    """Return ids of a column; over SQLite Label Studio writes it as text with commas."""
    if isinstance(told, str):
        told = told.split(",")
    return [str(one).strip() for one in told or [] if one is not None and str(one).strip()]
