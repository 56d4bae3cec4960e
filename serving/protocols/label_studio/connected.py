"""Which connection a request of Label Studio belongs to, by the secret in its address, and what was chosen for it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import Request

from candor.errors import Unauthenticated
from candor.predictions import Task
from serving import metrics
from serving.api.access import kept
from store.connections import Connection, Connections
from store.teams import secret_hash

TOOL = "label-studio"
KNOWN_SECONDS = 2.0  # how long a connection that was looked up is believed; so an end holds everywhere by then
HEALTH_SECONDS = 60.0  # where only this is asked, whether Candor is there: Label Studio waits one second, a busy database may take longer
_KNOWN = 4096
_NOT_VALID = "no connection of this project has this address: connect it again with `candor label-studio connect`"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user chose for a connection. `header` must come with what Label Studio reports; None: no header is asked for."""

    model: str | None = None
    task: Task | None = None
    predict_seconds: float = 60.0
    poll_seconds: float = 60.0
    gold_from_ground_truth: bool = False
    header: Mapping[str, str] | None = None

    @classmethod
    def of(cls, connection: Connection) -> Choices:
        """Return the choices of a connection; what it does not name has its default."""
        return cls(**{name: connection.settings[name] for name in cls.__slots__ if name in connection.settings})


async def connection_of(request: Request, project: str, secret: str, within: float = KNOWN_SECONDS) -> Connection:
    """Return the connection that Label Studio calls with this address; its `state` may be seconds old, `within` at the most.

    Raises:
        Unauthenticated: the secret is of no connection, of one that has ended, or of another project's.
        StorageUnavailable: the connections can't be read.
    """
    known = kept(request.app, "label_studio_connections", lambda services: Known(Connections(services.store)))
    found = await known.by_secret(secret, within)
    if found is None or found.tool != TOOL or found.project != project:
        metrics.refused("", "unauthenticated")
        raise Unauthenticated(_NOT_VALID)
    return found


class Known:
    """Connections by their secrets, not looked up for each request. `clock` counts seconds."""

    def __init__(self, connections: Connections, clock: Callable[[], float] = time.monotonic) -> None:
        self._connections = connections
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Connection | None]] = OrderedDict()

    async def by_secret(self, secret: str, within: float = KNOWN_SECONDS) -> Connection | None:
        """Return the connection of a secret as it was `within` so many seconds; None where there is none."""
        hashed = secret_hash(secret)  # no secret is kept in memory, and no look-up takes longer for one that is nearly right
        since, found = self._known.get(hashed, (float("-inf"), None))
        now = self._clock()
        if now - since < (within if found is not None else KNOWN_SECONDS):
            return found
        found = await self._connections.by_secret(secret)
        self._known[hashed] = (now, found)
        self._known.move_to_end(hashed)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return found
