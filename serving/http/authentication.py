"""Every request is told by its API key before anything of it is read; health and documentation need none."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.access import credentials_in
from serving.api.access import caller
from serving.protocols.dialects import dialect_of

# All else needs a key, also what does not exist: whoever adds an address need not think of it.
_OPEN = frozenset({"/livez", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
_OPEN_UNDER = ("/problems/", "/static-offline-docs/")


def is_open(path: str) -> bool:
    """Whether an address is for everyone, or asks who calls by itself."""
    dialect = dialect_of(path)
    return path in _OPEN or path.startswith(_OPEN_UNDER) or (dialect is not None and dialect.own_key)


class Authentication:
    """Sets `request.state.principal`, or answers 401."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "websocket":
            raise RuntimeError("there are no websockets here, and so nothing tells who opens one")
        if scope["type"] == "http" and not is_open(scope["path"]):
            headers = Headers(scope=scope)
            credentials = credentials_in(headers.getlist("authorization"), headers.getlist("x-api-key"))
            scope.setdefault("state", {})["principal"] = await caller(scope["app"], headers, credentials)
        await self._app(scope, receive, send)
