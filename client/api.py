"""The Python client of a Candor server. HTTP only: it imports no model, no array library and nothing of the server.

with Client() as candor:
    for draft in candor.draft_paths([Path("photos")], DraftOptions(task="detection")):
        print(draft["item"], draft.get("labels", draft.get("error")))
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import httpx

from client import bulk
from client.errors import BadKey, Refused, UnclearTask, Unreachable
from client.files import MEDIA_OF, Found, MediaFile, MediaKind, Task, find_media
from client.responses import list_of, object_of, refusal
from client.retries import Retries

DEFAULT_URL = "http://127.0.0.1:8000"

Draft: TypeAlias = dict[str, Any]
"""One entry of an answer, as the API gave it: a draft, or an item with its `error`."""

_Body: TypeAlias = Callable[[], AbstractContextManager[Mapping[str, Any]]]
"""Makes the body of one try afresh, as arguments of `httpx.Client.request`: a file that was sent half is read from its start again."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item that is not a file here: bytes in memory, an address that the server fetches, or an earlier upload. Exactly one is set."""

    id: str
    kind: MediaKind
    data: bytes | None = None
    url: str | None = None
    upload: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the item as the API takes it."""
        if self.data is not None:
            media = {"base64": base64.b64encode(self.data).decode()}
        else:
            media = {"url": self.url} if self.url is not None else {"upload": self.upload or ""}
        return {"id": self.id, self.kind: media}


@dataclass(frozen=True, slots=True)
class DraftOptions:
    """What is asked of all items of a request.

    `model` is `name`, `name@alias` or `name@version`; without it the task's default model drafts. `raw` asks for raw scores too,
    `fresh` for the model itself even where a stored draft would answer.
    """

    task: Task | None = None
    model: str | None = None
    project: str | None = None
    raw: bool = False
    fresh: bool = False

    @property
    def path(self) -> str:
        """Where the request goes: straight to the task's deployment where the task is known."""
        return f"/v1/{self.task}/drafts" if self.task else "/v1/drafts"

    def as_json(self) -> dict[str, Any]:
        """Return the fields of the request, without its items."""
        named = {"project": self.project, "model": self.model, "include": ["raw"] if self.raw else None}
        return {key: value for key, value in named.items() if value is not None}


_ANY = DraftOptions()


class Client:
    """A connection to one Candor server; may be used from many threads.

    A request that fails for a passing reason is tried again with the same Idempotency-Key, so that nothing is drafted twice.
    `key` is an API key; a server that was started with `--no-auth` needs none. `timeout` is the longest wait for an answer, in seconds.
    A server that never answered yet is not waited for.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout: float = 300.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._retries = retries or Retries()
        self._wait = wait
        self._answered = False
        headers = _authorization(key)
        try:
            local = httpx.URL(self.url).host in ("127.0.0.1", "localhost", "::1")
            # a proxy of the environment is for other machines
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=httpx.Timeout(timeout, connect=10.0), transport=transport, trust_env=not local
            )
        except httpx.InvalidURL as error:
            raise Unreachable(f"{url!r} is not an address: give one like {DEFAULT_URL}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def draft(self, items: Sequence[Item], options: DraftOptions = _ANY) -> list[Draft]:
        """Draft items in one request; one entry per item, in order.

        Raises:
            ClientError: the request as a whole failed.
        """
        body = {**options.as_json(), "items": [item.as_json() for item in items]}
        headers = _headers(options, uuid.uuid4().hex)
        response = self._send("POST", options.path, lambda: nullcontext({"json": body}), headers)
        return list_of(response, "drafts", len(items))

    def draft_files(self, files: Sequence[MediaFile], options: DraftOptions = _ANY) -> list[Draft]:
        """Draft files in one request, streamed from the disk; one entry per file, in order.

        Raises:
            ClientError: the request as a whole failed.
            OSError: a file can't be read.
        """
        headers = _headers(options, uuid.uuid4().hex)
        response = self._send("POST", options.path, lambda: _form(files, options), headers)
        return list_of(response, "drafts", len(files))

    def draft_paths(self, paths: Iterable[Path], options: DraftOptions = _ANY, *, batch: int = 16, jobs: int = 4) -> Iterator[Draft]:
        """Draft all images or recordings under files and folders: `settle`, then `draft_found`.

        Raises:
            ClientError: the task can't be told, or a request as a whole failed; what came before has been yielded.
            FileNotFoundError: one of the paths does not exist.
        """
        found = find_media(paths)
        options = self.settle(found, options)
        return self.draft_found(found.files, options, batch=batch, jobs=jobs)

    def settle(self, found: Found, options: DraftOptions) -> DraftOptions:
        """Return the options with the task: the one asked for, else the model's, else transcription for recordings alone.

        Files that the task does not take are skipped.

        Raises:
            ClientError: there are images, and nothing says what to draft for them.
        """
        task = options.task
        if task is None and options.model is not None:
            name = options.model.partition("@")[0]
            task = next((model["task"] for model in self.models() if model["name"] == name), None)
            if task is None:
                return options  # the server says what is wrong with the name
        if task is None and any(file.kind == "image" for file in found.files):
            raise UnclearTask("images can be drafted in several ways: say --task detection, --task classification, or which --model")
        task = task or "transcription"
        found.keep(MEDIA_OF[task])
        return replace(options, task=task)

    def draft_found(self, files: Sequence[MediaFile], options: DraftOptions, *, batch: int = 16, jobs: int = 4) -> Iterator[Draft]:
        """Draft many files; entries come in the files' order, as soon as they can.

        At most `jobs` requests of `batch` files run at once. An item that failed for a passing reason is sent again; a file that
        can't be read is answered with an error of its own, `unreadable_file`.

        Raises:
            ClientError: a request as a whole failed; what came before has been yielded.
        """
        pace = bulk.Pace(batch, jobs, self._retries, self._wait)
        return bulk.draft_in_batches(lambda some: self.draft_files(some, options), files, pace)

    def upload(self, path: Path) -> str:
        """Upload a file, streamed from the disk, and return the id by which items may name it.

        Raises:
            ClientError: the upload failed.
            OSError: the file can't be read.
        """

        @contextmanager
        def body() -> Iterator[Mapping[str, Any]]:
            with path.open("rb") as file:
                yield {"content": file}

        response = self._send("POST", "/v1/uploads", body, {"Content-Type": "application/octet-stream"})
        return str(object_of(response, "id")["id"])

    def get_draft(self, draft_id: str) -> Draft:
        """Return a stored draft.

        Raises:
            ClientError: there is none of that id, or the server can't be asked.
        """
        return object_of(self._send("GET", f"/v1/drafts/{draft_id}"), "id")

    def models(self) -> list[dict[str, Any]]:
        """Return the models that the server knows.

        Raises:
            ClientError: the server can't be asked.
        """
        return list_of(self._send("GET", "/v1/models"), "models")

    def ready(self) -> dict[str, Any]:
        """Return `{"ready": bool, "models": […]}` of this moment; asked once, ready or not.

        Raises:
            ClientError: nothing answers yet, or something that is not Candor.
        """
        try:
            response = self._http.get("/readyz", timeout=5.0)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        return object_of(response, "ready")

    def _send(
        self, method: str, path: str, body: _Body = lambda: nullcontext({}), headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        failures = 0
        while True:
            asked = None
            try:
                with body() as arguments:
                    response = self._http.request(method, path, headers=headers, **arguments)
            except httpx.TransportError as error:
                failures += 1
                if failures >= self._retries.attempts or not self._may_pass(error):
                    raise self._unreachable(error) from error
            else:
                self._answered = True
                refused = refusal(response)
                if refused is None:
                    return response
                failures += 1
                if failures >= self._retries.attempts or not _passing(refused, failures):
                    raise refused
                asked = refused.retry_after
            self._wait(self._retries.pause(failures, asked))

    def _may_pass(self, error: httpx.TransportError) -> bool:
        """Say whether a broken connection is worth another try: not where nothing ever listened, or the address itself is wrong."""
        if isinstance(error, httpx.UnsupportedProtocol):
            return False
        return self._answered or not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        if isinstance(error, httpx.UnsupportedProtocol):
            return Unreachable(f"{self.url!r} is not an address: give one like {DEFAULT_URL}")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreachable(f"no server answers at {self.url}: start one with `make serve`, or name another with --url")
        return Unreachable(f"the connection to {self.url} broke ({error or type(error).__name__}): is the server still running?")


def _passing(refused: Refused, failures: int) -> bool:
    # a key that is taken, on a later try: by the earlier try of this very request, which still runs
    return refused.retryable or (refused.code == "conflict" and failures > 1)


def _authorization(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:  # or httpx would complain of a header, and show it
        raise BadKey("the API key has characters that no key has: copy it again, it begins with cdr_")
    return {"Authorization": f"Bearer {key}"}


def _headers(options: DraftOptions, key: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **({"Cache-Control": "no-cache"} if options.fresh else {})}


@contextmanager
def _form(files: Sequence[MediaFile], options: DraftOptions) -> Iterator[Mapping[str, Any]]:
    with ExitStack() as stack:
        parts = [("items", (file.item, stack.enter_context(file.path.open("rb")))) for file in files]
        yield {"data": options.as_json(), "files": parts}
