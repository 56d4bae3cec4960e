"""API keys from the server's own machine, straight from its database: the first one, and one for whoever has lost the last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from candor.errors import InvalidRequest
from serving.access import OPERATOR_TEAM, SCOPES
from serving.composition import opened_store
from serving.config import Settings, absolute, load_settings
from store.audit import OPERATOR
from store.teams import Teams


def first_key(settings: Settings) -> str | None:
    """Make a key that may do everything, where the server asks for keys and nobody has one that may make others; return its text.

    Raises:
        StorageUnavailable: the database can't be used.
    """
    if settings.server.auth != "keys":
        return None

    async def make() -> str | None:
        async with opened_store(settings) as (store, _):
            teams = Teams(store)
            if await teams.administered(OPERATOR_TEAM):
                return None
            return (await teams.add_key(OPERATOR, OPERATOR_TEAM, "first start", SCOPES, None))[1]

    return asyncio.run(make())


def create_key(config: Path, team: str, name: str, scopes: Sequence[str], days: int | None) -> str:
    """Make a key for a team in the database that a configuration names, and return its text. The server need not run.

    Raises:
        InvalidRequest: the configuration is wrong, or there is no such scope.
        UnknownTeam: there is no such team.
        StorageUnavailable: the database can't be used.
    """
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise InvalidRequest(f"{unknown[0]!r} is no scope: the scopes are {', '.join(SCOPES)}")
    settings = absolute(load_settings(config), Path.cwd())
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)

    async def make() -> str:
        async with opened_store(settings) as (store, _):
            return (await Teams(store).add_key(OPERATOR, team, name, list(dict.fromkeys(scopes)), expires_at))[1]

    return asyncio.run(make())


def framed(url: str, key: str) -> str:
    """Return what tells the first key on a terminal. No sign stands beside the lines, so that they can be copied."""
    line = "─" * 100
    return f"""
{line}
This server asks for API keys, and there was none. This one may do everything, and is shown only now:

    {key}

Let the command line and your programs send it:

    export CANDOR_API_KEY={key}
    candor models list --url {url}
    curl -H "Authorization: Bearer $CANDOR_API_KEY" {url}/v1/models

Make keys for others with `candor keys create`, and teams with `candor teams create`.
{line}
"""
