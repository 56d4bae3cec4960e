"""Who asks: a team, by one of its API keys, with what that key may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from store.audit import Actor

Scope: TypeAlias = Literal["draft", "review", "register", "admin"]
SCOPES: tuple[Scope, ...] = ("draft", "review", "register", "admin")
OPERATOR_TEAM = "default"  # whose models every team may use: those of the configuration


@dataclass(frozen=True, slots=True)
class Principal:
    """One caller. `key` is the id of an API key, or `none` where the server asks for none."""

    team: str
    key: str
    scopes: frozenset[Scope]

    @property
    def operates(self) -> bool:
        """Whether it may manage teams, and what all teams share."""
        return self.team == OPERATOR_TEAM and "admin" in self.scopes

    def actor(self, request_id: str) -> Actor:
        """Return who the audit log is to name."""
        return Actor(self.team, self.key, request_id)


WITHOUT_KEYS = Principal(OPERATOR_TEAM, "none", frozenset(SCOPES))
