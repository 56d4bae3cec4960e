"""What a project says, as it comes by the API and as it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from candor.mapping import LabelMap
from candor.policy import Policy
from candor.predictions import Task
from serving.projects.views import ProjectView

Label = Annotated[str, Field(min_length=1, max_length=256)]
_MOST_LABELS = 20_000


class _Part(BaseModel):
    """An unknown field is an error that names the nearest known one, so that a typo never goes unnoticed."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        for name in value if isinstance(value, Mapping) else ():
            if name not in cls.model_fields:
                raise ValueError(f"there is no field {str(name)[:80]!r}{nearest(str(name), cls.model_fields)}")
        return value


class Guideline(_Part):
    """What people are told."""

    version: str = Field(min_length=1, max_length=64)
    text: str = Field("", max_length=200_000)


class ProjectPolicy(_Part):
    """What differs from the server's policy; drafts that are made from now on are under it."""

    badge: bool | None = Field(None, description="Mark labels as `high` where the calibration has certified a threshold for it.")
    from_scratch_below: dict[Task, Annotated[float, Field(ge=0, le=1)] | None] | None = Field(
        None,
        description="By task: the confidence below which a draft is withheld; null: none. A task that is not named keeps the server's.",
    )
    stakes: str | None = Field(None, max_length=256, description="What a wrong label costs, in your words.")


class ProjectBody(_Part):
    """A project's label set, guideline, model and policy."""

    labels: list[Label] | None = Field(
        None,
        max_length=_MOST_LABELS,
        description="All labels of the project. Without a `label_map`, other classes are not drafted.",
    )
    label_map: dict[Label, Label] | None = Field(
        None,
        max_length=_MOST_LABELS,
        description="A model's class to the project's label, many to one; one that it does not name is not drafted. Null: the same names.",
    )
    guideline: Guideline | None = None
    model: str | None = Field(
        None, min_length=1, max_length=256, description="Drafts where a request names none: `name`, `name@alias` or `name@sha256:…`."
    )
    task: Task | None = None
    policy: ProjectPolicy = ProjectPolicy()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _consistent(self) -> ProjectBody:
        if self.labels is not None and not self.labels:
            raise ValueError("labels: name at least one, or leave them out: then the model's classes are the labels")
        if self.label_map is not None and not self.label_map:
            raise ValueError("label_map: name at least one class, or leave it out: then classes keep their names")
        _alike("labels", self.labels or ())
        targets = sorted(set((self.label_map or {}).values()))
        _alike("label_map", targets)
        if self.labels is not None and (other := [label for label in targets if label not in self.labels]):
            raise ValueError(f"label_map: {other[0][:80]!r} is none of the project's labels{nearest(other[0], self.labels)}")
        return self

    def as_json(self) -> dict[str, Any]:
        """Return the body as it is stored: every field, so that two revisions can be compared."""
        return self.model_dump(mode="json")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `: did you mean …?`, or nothing where no known name is near."""
    found = get_close_matches(name[:80], list(known), n=1)
    return f": did you mean {found[0]!r}?" if found else ""


def view_of(body: Mapping[str, Any], server: Policy) -> ProjectView:
    """Return what drafting needs of a stored body; `server` is the policy that the project's own lies on."""
    own = body.get("policy") or {}
    badge = own.get("badge")
    below = {**server.from_scratch_below, **(own.get("from_scratch_below") or {})}
    policy = Policy(server.badge if badge is None else badge, {task: least for task, least in below.items() if least is not None})
    labels, label_map = body.get("labels"), body.get("label_map")
    to = label_map if label_map is not None else {label: label for label in labels or ()}
    return ProjectView(policy, LabelMap(to, tuple(labels or ())) if to else None, body.get("model"))


def _alike(field: str, labels: Iterable[str]) -> None:
    """Refuse labels that differ in nothing but case: truths are compared without it."""
    seen: dict[str, str] = {}
    for label in labels:
        before = seen.setdefault(label.strip().casefold(), label)
        if before is not label:
            raise ValueError(f"{field}: {before[:80]!r} and {label[:80]!r} are one label")
