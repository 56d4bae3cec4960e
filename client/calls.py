"""What a client does, written once for both clients: a generator that yields its steps and is sent what came of each.

The plain client takes a step by blocking, the other by awaiting; neither knows what the steps are for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast
from urllib.parse import quote

import httpx

from client.responses import list_of, object_of

T = TypeVar("T")

Body: TypeAlias = Callable[[], AbstractContextManager[Mapping[str, Any]]]
"""Makes the body of one try afresh, as arguments of `httpx.Client.request`: a file that was sent half is read from its start again."""


def no_body() -> AbstractContextManager[Mapping[str, Any]]:
    """Return the body of a request that has none."""
    return nullcontext({})


def bytes_body(data: bytes) -> Body:
    """Return a body of bytes, as they are."""
    return lambda: nullcontext({"content": data})


def json_body(value: Mapping[str, Any]) -> Body:
    """Return a body of JSON."""
    return lambda: nullcontext({"json": value})


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    `once`: where the connection breaks it is not sent again, as nobody could tell whether it was done.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    body: Body = no_body
    headers: Mapping[str, str] | None = None
    once: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """So many seconds of waiting."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """Something that takes a while on this machine, like hashing a file. The client that awaits does it in a thread."""

    do: Callable[[], T]


Step: TypeAlias = Call[Any] | Pause | Work[Any]
Flow: TypeAlias = Generator[Step, Any, T]


def ask(call: Call[T]) -> Flow[T]:
    """Send a request, and return what its answer says."""
    return cast(T, (yield call))


def pause(seconds: float) -> Flow[None]:
    """Wait."""
    yield Pause(seconds)


def work(do: Callable[[], T]) -> Flow[T]:
    """Do what takes a while on this machine, and return what it returned."""
    return cast(T, (yield Work(do)))


def told(kind: type[T], key: str) -> Callable[[httpx.Response], T]:
    """Return the reader of an answer that is an object and must have `key`."""
    del kind  # only says of which type the object is
    return lambda response: cast(T, object_of(response, key))


def told_in(kind: type[T], outer: str) -> Callable[[httpx.Response], T]:
    """Return the reader of an answer that has the object under `outer`."""
    del kind
    return lambda response: cast(T, object_of(response, outer)[outer])


def told_list(kind: type[T], key: str, length: int | None = None) -> Callable[[httpx.Response], list[T]]:
    """Return the reader of an answer that has a list under `key`, of that length where one is given."""
    del kind
    return lambda response: cast(list[T], list_of(response, key, length))


def nothing(_response: httpx.Response) -> None:
    """Read nothing from an answer."""


def address(*parts: str) -> str:
    """Return a path of the API; what names something is quoted."""
    return "/v1/" + "/".join(quote(part, safe="@:") for part in parts)
