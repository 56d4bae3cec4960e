"""Every request is told by its API key before anything of it is read; health and documentation need none."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from candor.errors import Forbidden, Unauthenticated
from serving import metrics
from serving.access import WITHOUT_KEYS, credentials_in
from serving.api.access import access_of
from serving.api.services import Services

# All else needs a key, also what does not exist: whoever adds an address need not think of it.
_OPEN = frozenset({"/livez", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
_OPEN_UNDER = ("/problems/", "/static-offline-docs/")


def is_open(path: str) -> bool:
    """Whether an address is for everyone."""
    return path in _OPEN or path.startswith(_OPEN_UNDER)


def _not_from_elsewhere(headers: Headers) -> None:
    """Where nobody needs a key, a page of any site in a browser on this machine could send requests."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise Forbidden(f"a page of {origin[:200]!r} sends this, and this server asks for no keys: start it without --no-auth")


class Authentication:
    """Sets `request.state.principal`, or answers 401."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "websocket":
            raise RuntimeError("there are no websockets here, and so nothing tells who opens one")
        if scope["type"] == "http" and not is_open(scope["path"]):
            services: Services = scope["app"].state.services
            state = scope.setdefault("state", {})
            headers = Headers(scope=scope)
            if services.settings.server.auth == "none":
                _not_from_elsewhere(headers)
                state["principal"] = WITHOUT_KEYS
            else:
                credentials = credentials_in(headers.getlist("authorization"), headers.getlist("x-api-key"))
                try:
                    state["principal"] = await access_of(scope["app"]).principal(credentials)
                except Unauthenticated:
                    metrics.refused("", "unauthenticated")
                    raise
        await self._app(scope, receive, send)
