"""Who is behind the numbers of Label Studio's users."""

from __future__ import annotations

import time
from collections.abc import Callable

from candor.errors import MediaUnreachable, ToolError
from serving.protocols.label_studio.remote import Remotes
from store.connections import Connection

KNOWN_SECONDS = 3600.0
SILENT_SECONDS = 60.0  # that one which could not be reached is not asked again: what waits for it holds up the others
_GONE = (403, 404)  # of another organization, or that the token may not look up: that does not change by asking again
_NAME = 200  # characters


class People:
    """Names users for reviews, each looked up once an hour at most. `clock` counts seconds."""

    def __init__(self, remotes: Remotes, clock: Callable[[], float] = time.monotonic) -> None:
        self._remotes = remotes
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, str]] = {}
        self._silent: dict[str, tuple[float, str]] = {}

    async def name(self, connection: Connection, user: str) -> str:
        """Return a user's email address, else the user name, else `user <id>`.

        Raises:
            ToolError, MediaUnreachable: Label Studio can't say now. A name that is a guess would be another reviewer.
        """
        remote = self._remotes.with_token(connection)
        if remote is None:
            return f"user {user}"
        since, name = self._known.get((connection.id, user), (float("-inf"), ""))
        if self._clock() - since < KNOWN_SECONDS:
            return name
        until, detail = self._silent.get(connection.id, (float("-inf"), ""))
        if self._clock() < until:
            raise MediaUnreachable(detail)
        try:
            found = await remote.user(user)
        except MediaUnreachable as error:
            self._silent[connection.id] = (self._clock() + SILENT_SECONDS, error.detail)
            raise
        except ToolError as error:
            if error.answered not in _GONE:
                raise
            found = {}
        name = str(found.get("email") or found.get("username") or f"user {user}").strip()[:_NAME]
        self._known[connection.id, user] = (self._clock(), name)
        return name
