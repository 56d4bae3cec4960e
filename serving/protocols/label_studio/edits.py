"""Who spent how long on an annotation. Label Studio's `lead_time` adds up over all who edit, and only the last of them is named.

So each edit that Candor hears of is kept by its moment, and a person's seconds are what the sum grew by with that person's edits. The
order in which the edits are heard of does not matter, and one that is heard of twice counts once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from candor.errors import InvalidRequest

_AT_CREATION = timedelta(seconds=0.5)  # that Label Studio may take to write a new annotation

Edits = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Report:
    """An annotation as Label Studio tells it. `by` is the id of who left it so; `created`: nobody has edited it since it was made."""

    id: str
    task: str
    project: str
    at: datetime
    by: str
    created: bool
    lead: float | None
    result: tuple[Mapping[str, Any], ...]
    skipped: bool
    ground_truth: bool
    from_prediction: bool

    @property
    def moment(self) -> str:
        """When it was left so, written so that later moments compare greater."""
        return moment(self.at)

    @property
    def edit(self) -> dict[str, Any]:
        """What is kept of it among the edits."""
        said = json.dumps([self.result, self.skipped], sort_keys=True).encode()
        return {"by": self.by, "lead": self.lead, "of": hashlib.sha256(said).hexdigest()[:16], "created": self.created}


def read(told: Mapping[str, Any], project: str, *, created: bool | None = None) -> Report:
    """Return an annotation as Label Studio tells it in a webhook or an answer.

    Whoever made it is who it belongs to (`completed_by`), which somebody else may have stated for them; who edits it is who asked
    (`updated_by`). `created` says that it was just made; where nobody can say, its times do.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        at, made = _moment(told["updated_at"]), _moment(told.get("created_at") or told["updated_at"])
        new = at - made < _AT_CREATION if created is None else created
        owner, last = _id(told.get("completed_by")), _id(told.get("updated_by"))
        lead = told.get("lead_time")
        return Report(
            id=str(told["id"]),
            task=str(_id(told["task"])),
            project=project,
            at=at,
            by=(owner if new else last) or owner or last or "0",
            created=new or last in (None, owner),
            lead=None if lead is None else max(0.0, float(lead)),
            result=tuple(region for region in told.get("result") or [] if isinstance(region, Mapping)),
            skipped=bool(told.get("was_cancelled")),
            ground_truth=bool(told.get("ground_truth")),
            from_prediction=told.get("parent_prediction") is not None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"this is no annotation as Label Studio tells it: {error!r}") from error


def with_edit(edits: Edits, report: Report) -> dict[str, Mapping[str, Any]]:
    """Return edits with one more; without it where it left all as it was, as a star for the ground truth does."""
    before = max((at for at in edits if at < report.moment), default=None)
    new = report.edit
    if before is not None and edits[before]["of"] == new["of"] and (new["lead"] or 0.0) <= (edits[before]["lead"] or 0.0):
        return dict(edits)
    return {**edits, report.moment: new}


def people_of(edits: Edits) -> list[str]:
    """Return the ids of all who edited."""
    return sorted({str(edit["by"]) for edit in edits.values()})


def seconds_of(edits: Edits, person: str) -> float | None:
    """Return how long a person worked; None where that can't be told: no times, or earlier ones of somebody else that were missed."""
    spent, known = 0.0, 0.0
    told = False
    for place, at in enumerate(sorted(edits)):
        edit = edits[at]
        lead = edit["lead"]
        if edit["by"] == person:
            if lead is None or (place == 0 and not edit["created"]):
                return None
            spent, told = spent + max(0.0, lead - known), True
        known = max(known, lead or 0.0)
    return round(spent, 3) if told else None


def moment(at: datetime) -> str:
    """Return a moment in the form in which later ones compare greater."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(told: Any) -> datetime:
    found = datetime.fromisoformat(str(told))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _id(told: Any) -> str | None:
    """Return the id of a user or a task, which Label Studio writes out in some answers."""
    if isinstance(told, list):
        told = told[0] if told else None
    if isinstance(told, Mapping):
        told = told.get("id", told.get("user_id"))
    return None if told is None else str(told)
