"""The Python client of a Candor server. HTTP only: it imports no model, no array library and nothing of the server.

with Client() as candor:
    for draft in candor.draft_paths([Path("photos")], DraftOptions(task="detection")):
        print(draft["item"], draft.get("labels", draft.get("error")))
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from client import bulk
from client.connection import DEFAULT_URL
from client.errors import UnclearTask
from client.files import MEDIA_OF, Found, MediaFile, MediaKind, Task, find_media
from client.registry import RegistryCalls
from client.responses import list_of, object_of

__all__ = ["DEFAULT_URL", "Client", "Draft", "DraftOptions", "Item"]

Draft: TypeAlias = dict[str, Any]
"""One entry of an answer, as the API gave it: a draft, or an item with its `error`."""


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


class Client(RegistryCalls):
    """A connection to one Candor server; may be used from many threads.

    A request that fails for a passing reason is tried again with the same Idempotency-Key, so that nothing is drafted twice.
    Registered models: `client.registry`; uploads: `client.uploads`.
    """

    def draft(self, items: Sequence[Item], options: DraftOptions = _ANY) -> list[Draft]:
        """Draft items in one request; one entry per item, in order.

        Raises:
            ClientError: the request as a whole failed.
        """
        body = {**options.as_json(), "items": [item.as_json() for item in items]}
        headers = _headers(options, uuid.uuid4().hex)
        response = self.send("POST", options.path, lambda: nullcontext({"json": body}), headers)
        return list_of(response, "drafts", len(items))

    def draft_files(self, files: Sequence[MediaFile], options: DraftOptions = _ANY) -> list[Draft]:
        """Draft files in one request, streamed from the disk; one entry per file, in order.

        Raises:
            ClientError: the request as a whole failed.
            OSError: a file can't be read.
        """
        headers = _headers(options, uuid.uuid4().hex)
        response = self.send("POST", options.path, lambda: _form(files, options), headers)
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
        pace = bulk.Pace(batch, jobs, self.retries, self.wait)
        return bulk.draft_in_batches(lambda some: self.draft_files(some, options), files, pace)

    def get_draft(self, draft_id: str) -> Draft:
        """Return a stored draft.

        Raises:
            ClientError: there is none of that id, or the server can't be asked.
        """
        return object_of(self.send("GET", f"/v1/drafts/{draft_id}"), "id")

    def models(self) -> list[dict[str, Any]]:
        """Return the models that the server knows.

        Raises:
            ClientError: the server can't be asked.
        """
        return list_of(self.send("GET", "/v1/models"), "models")

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


def _headers(options: DraftOptions, key: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **({"Cache-Control": "no-cache"} if options.fresh else {})}


@contextmanager
def _form(files: Sequence[MediaFile], options: DraftOptions) -> Iterator[Mapping[str, Any]]:
    with ExitStack() as stack:
        parts = [("items", (file.item, stack.enter_context(file.path.open("rb")))) for file in files]
        yield {"data": options.as_json(), "files": parts}
