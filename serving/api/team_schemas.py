"""The wire of teams, keys and the audit log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from candor.errors import InvalidRequest
from serving.access import Scope
from store.audit import Entry
from store.teams import ApiKey, Team

TEAM_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"  # it names folders too
_DECADE = 10 * 365 * 86_400


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NewKeyBody(_Body):
    """The key that is wanted."""

    name: str = Field(min_length=1, max_length=128, description="What it is for, in your own words.")
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=16,
        description="`draft`: drafts and uploads. `review`: outcomes. `register`: models, projects, calibrations. `admin`: keys and "
        "the audit log. Any key reads models, projects, calibrations and jobs.",
    )
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = Field(None, description="From then on it opens nothing.")
    expires_in_seconds: int | None = Field(None, ge=1, le=_DECADE, description="The same, counted from now. Neither: it does not expire.")

    def expiry(self, now: datetime) -> datetime | None:
        """Return the moment at which it expires.

        Raises:
            InvalidRequest: both are given, or the moment has passed.
        """
        if self.expires_at is not None and self.expires_in_seconds is not None:
            raise InvalidRequest("give expires_at or expires_in_seconds, and not both")
        if self.expires_in_seconds is not None:
            return now + timedelta(seconds=self.expires_in_seconds)
        if self.expires_at is None:
            return None
        try:
            at = self.expires_at.astimezone(UTC)
        except OverflowError as error:
            raise InvalidRequest("expires_at is beyond the year 9999") from error
        if at <= now:
            raise InvalidRequest(f"expires_at {at.isoformat()} has passed")
        return at


class KeyBody(BaseModel):
    """One key, without its secret."""

    id: str
    team: str
    name: str
    scopes: list[Scope]
    created_by: str = Field(description="Id of the key that made it; `operator`: made on the server's own machine.")
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class NewKeyAnswer(KeyBody):
    """A key that was made just now."""

    key: str = Field(description="The key itself: it is shown this once. Only its hash is kept.")


class KeysAnswer(BaseModel):
    """A team's keys, the newest first."""

    keys: list[KeyBody]


class LimitsBody(_Body):
    """A team's own limits; without a number it has the configured one."""

    items_per_minute: int | None = Field(None, ge=1, le=2**53, description="Most items that it may have drafted in a minute.")
    storage_bytes: int | None = Field(None, ge=1, le=2**53, description="Most bytes of its uploads and models.")

    def as_json(self) -> dict[str, int]:
        """Return the limits that are given."""
        return self.model_dump(exclude_none=True)


class NewTeamBody(_Body):
    """The team that is wanted."""

    name: str = Field(pattern=TEAM_NAME, description="Lower-case letters, digits and `-`. It can't be changed.")
    limits: LimitsBody = LimitsBody()  # type: ignore[call-arg]


class TeamBody(BaseModel):
    """One team."""

    name: str
    limits: LimitsBody
    created_at: str


class TeamAnswer(TeamBody):
    """One team with what it stores."""

    stored_bytes: int = Field(description="Bytes of its uploads and models, each upload counted in full.")


class TeamsAnswer(BaseModel):
    """All teams, by name."""

    teams: list[TeamBody]


class EntryBody(BaseModel):
    """One thing that was done."""

    id: str
    team: str
    key: str = Field(
        description="Id of the key, or of the job that one started; `operator`: the command line of the server; `none`: no keys."
    )
    action: str
    target: str
    detail: dict[str, Any]
    request_id: str
    at: str


class AuditAnswer(BaseModel):
    """A page of the log, the newest first."""

    entries: list[EntryBody]
    next: str | None = Field(description="`after` of the next page; null where this is the last.")


def key_as_json(key: ApiKey) -> dict[str, Any]:
    """Return a key as KeyBody."""
    moments = {name: _time(getattr(key, name)) for name in ("created_at", "expires_at", "revoked_at")}
    return {"id": key.id, "team": key.team, "name": key.name, "scopes": list(key.scopes), "created_by": key.created_by, **moments}


def team_as_json(team: Team) -> dict[str, Any]:
    """Return a team as TeamBody."""
    limits = {name: team.limits.get(name) for name in LimitsBody.model_fields}
    return {"name": team.name, "limits": limits, "created_at": _time(team.created_at)}


def entry_as_json(entry: Entry) -> dict[str, Any]:
    """Return a row of the audit log as EntryBody."""
    return {name: getattr(entry, name) for name in EntryBody.model_fields} | {"detail": dict(entry.detail), "at": _time(entry.at)}


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
