"""Who sends a request, and what it may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fastapi import FastAPI, Request
from starlette.datastructures import Headers

from candor.errors import Forbidden, Unauthenticated
from serving import metrics
from serving.access import WITHOUT_KEYS, Access, Principal, Scope
from serving.api.services import Services
from serving.limits import Rates
from store.audit import Actor
from store.teams import Teams

T = TypeVar("T")


def principal_of(request: Request) -> Principal:
    """Return who sends a request. On an address that asks for no key there is nobody to return."""
    found: Principal = request.state.principal
    return found


def actor_of(request: Request) -> Actor:
    """Return who the audit log is to name for a request."""
    return principal_of(request).actor(request.state.request_id)


def needs(*scopes: Scope) -> Callable[[Request], Awaitable[Principal]]:
    """Return a dependency that lets a caller pass who has one of the scopes; without any, every caller with a valid key."""

    async def check(request: Request) -> Principal:  # async: another function would be called in a thread, for each request
        principal = principal_of(request)
        if scopes and not principal.scopes & set(scopes):
            raise Forbidden(
                f"this takes a key with the scope {' or '.join(scopes)}; this key has {', '.join(sorted(principal.scopes)) or 'none'}"
            )
        return principal

    return check


async def caller(app: FastAPI, headers: Headers, credentials: Sequence[str]) -> Principal:
    """Return who calls with these keys; where the server asks for none, the operator.

    Raises:
        Unauthenticated: it is not exactly one key, or not a valid one.
        Forbidden: the server asks for none, and a page of another site sends this.
    """
    services: Services = app.state.services
    if services.settings.server.auth == "none":
        _not_from_elsewhere(headers)
        return WITHOUT_KEYS
    try:
        return await access_of(app).principal(credentials)
    except Unauthenticated:
        metrics.refused("", "unauthenticated")
        raise


async def authenticated(request: Request, credentials: Sequence[str], *scopes: Scope) -> Principal:
    """Tell who calls an address of a dialect that has a place of its own for keys, and that it may; see `caller` and `needs`."""
    request.state.principal = await caller(request.app, request.headers, credentials)
    return await needs(*scopes)(request)


def _not_from_elsewhere(headers: Headers) -> None:
    """Where nobody needs a key, a page of any site in a browser on this machine could send requests."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise Forbidden(f"a page of {origin[:200]!r} sends this, and this server asks for no keys: start it without --no-auth")


def access_of(app: FastAPI) -> Access:
    """Return what tells the callers of an application by their keys."""
    return kept(app, "access", lambda services: Access(Teams(services.store)))


def rates_of(app: FastAPI) -> Rates:
    """Return the rates of an application's teams."""
    return kept(app, "rates", lambda services: Rates(services.settings.teams))


def kept(app: FastAPI, name: str, make: Callable[[Services], T]) -> T:
    """Return a part of an application that is made when it is first needed, and anew where it was started again with other services."""
    services: Services = app.state.services
    found: tuple[Services, T] | None = getattr(app.state, name, None)
    if found is None or found[0] is not services:
        found = (services, make(services))
        setattr(app.state, name, found)
    return found[1]
