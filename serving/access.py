"""Who asks: a team, by one of its API keys, with what that key may do."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

from candor.errors import Unauthenticated
from store.audit import Actor
from store.moments import utc_now
from store.teams import PREFIX, Found, Teams, secret_hash

Scope: TypeAlias = Literal["draft", "review", "register", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OPERATOR_TEAM = "default"  # whose models every team may use: those of the configuration
KNOWN_SECONDS = 2.0  # how long a key that was looked up is believed; so a revocation holds everywhere by then
_KNOWN_KEYS = 4096

_KEY = re.compile(rf"{PREFIX}_([0-9A-Z]{{26}})_([A-Za-z0-9_-]{{43}})")
_NO_KEY = ("0" * 26, "0" * 43)  # stands in for what is no key, so that it is looked up and compared like one
_NOT_VALID = "send a valid API key as `Authorization: Bearer cdr_…`; `candor keys create`, or your team's admin, makes one"


@dataclass(frozen=True, slots=True)
class Principal:
    """One caller. `key` is the id of an API key, or `none` where the server asks for none. `limits` are those of its team alone."""

    team: str
    key: str
    scopes: frozenset[Scope]
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def operates(self) -> bool:
        """Whether it may manage teams, and what all teams share."""
        return self.team == OPERATOR_TEAM and "admin" in self.scopes

    def actor(self, request_id: str) -> Actor:
        """Return who the audit log is to name."""
        return Actor(self.team, self.key, request_id)


WITHOUT_KEYS = Principal(OPERATOR_TEAM, "none", frozenset(SCOPES))


class Access:
    """Tells callers by their keys, for one store. Belongs to the event loop that uses it first."""

    def __init__(self, teams: Teams, clock: Callable[[], datetime] = utc_now, ticks: Callable[[], float] = time.monotonic) -> None:
        self._teams = teams
        self._clock = clock
        self._ticks = ticks
        self._known: OrderedDict[str, tuple[float, Found | None]] = OrderedDict()
        self._asked: dict[str, asyncio.Task[Found | None]] = {}

    async def principal(self, credentials: Sequence[str]) -> Principal:
        """Return who sends these credentials: exactly one API key is right.

        Whatever is wrong is answered alike, after the same work: that a key has expired is nobody's business who does not have it.

        Raises:
            Unauthenticated: there is no key, or more than one, or it is malformed, unknown, revoked or expired.
            StorageUnavailable: the keys can't be read.
        """
        matched = _KEY.fullmatch(credentials[0]) if len(credentials) == 1 else None
        key_id, secret = matched.groups() if matched else _NO_KEY
        found = await self._found(f"key_{key_id}")
        kept = found.secret_sha256 if found else secret_hash(_NO_KEY[1])
        same = hmac.compare_digest(secret_hash(secret), kept)
        if found is None or not same or not found.key.valid(self._clock()):
            raise Unauthenticated(_NOT_VALID)
        scopes = frozenset(scope for scope in SCOPES if scope in found.key.scopes)
        return Principal(found.key.team, found.key.id, scopes, found.limits)

    def forget(self) -> None:
        """Believe nothing that was looked up: a key was made or revoked in this very process."""
        self._known.clear()
        self._asked.clear()

    async def _found(self, key_id: str) -> Found | None:
        """Look a key up, at most once in KNOWN_SECONDS; those who ask for the same one meanwhile wait for the same answer."""
        since, found = self._known.get(key_id, (float("-inf"), None))
        if self._ticks() - since < KNOWN_SECONDS:
            return found
        asking = self._asked.get(key_id)
        if asking is None:
            asking = self._asked[key_id] = asyncio.create_task(self._look_up(key_id))
            asking.add_done_callback(lambda done: self._answered(key_id, done))
        return await asyncio.shield(asking)  # who leaves does not take the answer from the others

    async def _look_up(self, key_id: str) -> Found | None:
        since = self._ticks()  # before the read: what changes while it runs counts as old
        found = await self._teams.find(key_id)
        if self._asked.get(key_id) is asyncio.current_task():  # not where all was forgotten meanwhile
            self._known[key_id] = (since, found)
            self._known.move_to_end(key_id)
            while len(self._known) > _KNOWN_KEYS:
                self._known.popitem(last=False)
        return found

    def _answered(self, key_id: str, done: asyncio.Task[Found | None]) -> None:
        if self._asked.get(key_id) is done:
            del self._asked[key_id]
        if not done.cancelled():
            done.exception()  # whoever waits raises it; where nobody does any more, it is not to be complained of


def credentials_in(authorization: Sequence[str], api_key: Sequence[str]) -> list[str]:
    """Return the keys in a request's headers, `Authorization: Bearer …` and `X-API-Key`; another scheme's is no key."""
    bearers = [rest.strip(" ") if scheme.lower() == "bearer" else "" for scheme, _, rest in (one.partition(" ") for one in authorization)]
    return [*bearers, *api_key]
