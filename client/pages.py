"""Lists that the API gives page by page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast
from urllib.parse import urlencode

import httpx

from client.calls import Call, Flow, ask
from client.responses import list_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page. `next` is what the next one is asked with; None where this is the last."""

    entries: list[T]
    next: str | None


@dataclass(frozen=True, slots=True)
class Pages(Generic[T]):
    """A list of the API: where it is, under which key an answer has the entries, and what is asked for."""

    kind: type[T]
    path: str
    key: str
    query: Mapping[str, str | None] = field(default_factory=dict)

    def page(self, after: str | None) -> Call[Page[T]]:
        """Return the request of the page behind `after`."""
        asked = {name: value for name, value in {**self.query, "after": after}.items() if value is not None}
        return Call("GET", f"{self.path}?{urlencode(asked)}" if asked else self.path, self._read)

    def _read(self, response: httpx.Response) -> Page[T]:
        entries = cast(list[T], list_of(response, self.key))
        following = response.json().get("next")
        return Page(entries, None if following is None else str(following))


def all_of(pages: Pages[T]) -> Flow[list[T]]:
    """Return all entries at once."""
    found: list[T] = []
    after: str | None = None
    while True:
        page = yield from ask(pages.page(after))
        found += page.entries
        after = page.next
        if after is None:
            return found
