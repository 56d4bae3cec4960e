"""Servers that ask for keys, and callers who have some."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from serving.config import Settings
from store.audit import OPERATOR
from store.teams import Teams
from tests.unit.serving.served import Server, settings_in


def with_keys(folder: Path, **changes: object) -> Settings:
    """Settings of a server that asks for keys."""
    return settings_in(folder, **{**changes, "server": {"auth": "keys"}})


async def caller(server: Server, team: str, *scopes: str) -> Mapping[str, str]:
    """Return the header of a new key of a team, which is made where there is none."""
    teams = Teams(server.services.store)
    if team not in [one.name for one in await teams.all()]:
        await teams.add(OPERATOR, team, {})
    _, text = await teams.add_key(OPERATOR, team, "test", scopes, None)
    return {"Authorization": f"Bearer {text}"}
