"""Makes one description a method of both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar, overload

from client.async_connection import AsyncConnection
from client.calls import Flow
from client.connection import Connection
from client.pages import Pages

P = ParamSpec("P")
T = TypeVar("T")


class Method(Generic[P, T]):
    """A flow as a method: of `Client` it returns what the flow ends with, of `AsyncClient` a coroutine that does."""

    def __init__(self, flow: Callable[P, Flow[T]]) -> None:
        self._flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Flow[T]]: ...
    @overload
    def __get__(self, client: Connection, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncConnection, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Connection | AsyncConnection | None, owner: type) -> Callable[P, Any]:
        if client is None:
            return self._flow

        @wraps(self._flow)
        def method(*given: P.args, **named: P.kwargs) -> Any:
            return client.run(self._flow(*given, **named))

        return method


class Listing(Generic[P, T]):
    """A list as a method: of `Client` it returns an iterator of the entries, of `AsyncClient` an asynchronous one."""

    def __init__(self, pages: Callable[P, Pages[T]]) -> None:
        self._pages = pages
        self.__doc__ = pages.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Pages[T]]: ...
    @overload
    def __get__(self, client: Connection, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: AsyncConnection, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: Connection | AsyncConnection | None, owner: type) -> Callable[P, Any]:
        if client is None:
            return self._pages

        @wraps(self._pages)
        def method(*given: P.args, **named: P.kwargs) -> Any:
            return client.each(self._pages(*given, **named))

        return method
