"""What is asked when items are drafted, and the requests that ask it."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from client.answers import Draft, Model
from client.calls import Call, Flow, address, ask, json_body, told, told_list
from client.errors import UnclearTask
from client.files import MEDIA_OF, Found, MediaFile, MediaKind, Task
from client.methods import Method


@dataclass(frozen=True, slots=True)
class Item:
    """One item that is not a file here: bytes in memory, an address that the server fetches, or an earlier upload. Exactly one is set."""

    id: str
    kind: MediaKind
    data: bytes | None = None
    url: str | None = None
    upload: str | None = None

    @property
    def item(self) -> str:
        """Its name in an answer."""
        return self.id

    @property
    def size(self) -> int:
        """Bytes that it adds to a request."""
        return len(self.data or b"") * 4 // 3

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
    `fresh` for the model itself even where a stored draft would answer. `reviewer` is your name for the person who is to review them.
    """

    task: Task | None = None
    model: str | None = None
    project: str | None = None
    raw: bool = False
    fresh: bool = False
    reviewer: str | None = None

    @property
    def path(self) -> str:
        """Where the request goes: straight to the task's deployment where the task is known."""
        return f"/v1/{self.task}/drafts" if self.task else "/v1/drafts"

    def as_json(self) -> dict[str, Any]:
        """Return the fields of the request, without its items."""
        named = {"project": self.project, "reviewer": self.reviewer, "model": self.model, "include": ["raw"] if self.raw else None}
        return {key: value for key, value in named.items() if value is not None}


ANY = DraftOptions()


def draft(items: Sequence[Item], options: DraftOptions = ANY) -> Flow[list[Draft]]:
    """Draft items in one request; one entry per item, in order.

    Raises:
        ClientError: the request as a whole failed.
    """
    body = {**options.as_json(), "items": [item.as_json() for item in items]}
    return ask(Call("POST", options.path, told_list(Draft, "drafts", len(items)), json_body(body), _headers(options)))


def draft_files(files: Sequence[MediaFile], options: DraftOptions = ANY) -> Flow[list[Draft]]:
    """Draft files in one request, streamed from the disk; one entry per file, in order.

    Raises:
        ClientError: the request as a whole failed.
        OSError: a file can't be read.
    """

    @contextmanager
    def form() -> Iterator[Mapping[str, Any]]:
        with ExitStack() as stack:
            parts = [("items", (file.item, stack.enter_context(file.path.open("rb")))) for file in files]
            yield {"data": options.as_json(), "files": parts}

    return ask(Call("POST", options.path, told_list(Draft, "drafts", len(files)), form, _headers(options)))


def get_draft(draft_id: str) -> Flow[Draft]:
    """Return a stored draft.

    Raises:
        ClientError: there is none of that id, or the server can't be asked.
    """
    return ask(Call("GET", address("drafts", draft_id), told(Draft, "id")))


def models() -> Flow[list[Model]]:
    """Return the models that the server knows.

    Raises:
        ClientError: the server can't be asked.
    """
    return ask(Call("GET", address("models"), told_list(Model, "models")))


def settle(found: Found, options: DraftOptions) -> Flow[DraftOptions]:
    """Return the options with the task: the one asked for, else the model's, else transcription for recordings alone.

    Files that the task does not take are skipped.

    Raises:
        ClientError: there are images, and nothing says what to draft for them.
    """
    task = options.task
    if task is None and options.model is not None:
        name, known = options.model.partition("@")[0], (yield from models())
        task = next((model["task"] for model in known if model["name"] == name), None)
        if task is None:
            return options  # the server says what is wrong with the name
    if task is None and any(file.kind == "image" for file in found.files):
        raise UnclearTask("images can be drafted in several ways: say --task detection, --task classification, or which --model")
    task = task or "transcription"
    found.keep(MEDIA_OF[task])
    return replace(options, task=task)


def _headers(options: DraftOptions) -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex, **({"Cache-Control": "no-cache"} if options.fresh else {})}


class DraftCalls:
    """What a client may do with drafts and the models that make them, one request at a time."""

    draft = Method(draft)
    draft_files = Method(draft_files)
    get_draft = Method(get_draft)
    models = Method(models)
    settle = Method(settle)
