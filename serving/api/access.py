"""Who sends a request, and what it may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import FastAPI, Request

from candor.errors import Forbidden
from serving.access import Access, Principal, Scope
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
