"""Who sends a request, and what it may do."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request

from candor.errors import Forbidden
from serving.access import WITHOUT_KEYS, Principal, Scope


def principal_of(request: Request) -> Principal:
    """Return who sends a request."""
    found: Principal = getattr(request.state, "principal", WITHOUT_KEYS)
    return found


def needs(*scopes: Scope) -> Callable[[Request], Principal]:
    """Return a dependency that lets a caller pass who has one of the scopes; without any, every caller with a valid key."""

    def check(request: Request) -> Principal:
        principal = principal_of(request)
        if scopes and not principal.scopes & set(scopes):
            raise Forbidden(
                f"this takes a key with the scope {' or '.join(scopes)}; this key has {', '.join(sorted(principal.scopes)) or 'none'}"
            )
        return principal

    return check
