"""What a project says, as it comes by the API and as it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from candor.errors import InvalidRequest
from candor.mapping import LabelMap
from candor.policy import Policy
from candor.predictions import TASKS, Task
from review import arms
from serving.projects.views import ProjectView

Label = Annotated[str, Field(min_length=1, max_length=256)]
_MOST_LABELS = 20_000
_MOST_STEPS = 100  # of a scale: agreement on it takes time and memory by their square


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


class Notify(_Part):
    """Who is told of alarms about reviewers."""

    url: str = Field(min_length=1, max_length=2048, pattern="^https?://", description="Gets a signed POST.")
    form: Literal["candor", "slack"] = Field("candor", description="Of the body: all that is known, or a text as Slack takes it.")


class ReviewPolicy(_Part):
    """How items are shared out over the arms, and what is done about reviewers who let errors pass."""

    control: float = Field(0.10, description="The share of items whose draft is withheld, 0.05 to 0.5. High stakes: 0.2 at least.")
    honeypot: float = Field(0.02, description="The share of items whose draft has a planted error. They are taken from the gold items.")
    raised: float = Field(0.20, description="That share, for somebody who seems to agree too quickly,")
    raised_items: int = Field(150, ge=1, le=1_000_000, description="for so many items.")
    badge_budget: float = Field(0.30, description="How much of `control` goes to items whose draft has the badge, however few they are.")
    stakes: Literal["normal", "high"] = Field(
        "normal", description="`high`: no badge, more control, and a draft is shown only where its confidence is known and high."
    )
    strict_confidence: float = Field(0.9, description="How high, at high stakes.")
    price_of_second: float | None = Field(None, ge=0, le=1e9, description="What a second of a reviewer costs, in any currency,")
    price_of_error: float | None = Field(None, ge=0, le=1e12, description="and what an error in a final label costs, in the same.")
    window_days: int = Field(30, ge=1, le=3660, description="After which reviewers see their own honeypots.")
    on_alarm: Literal["notify", "withhold", "second_review"] = Field(
        "notify", description="What becomes of a reviewer's items while an alarm about them is open; somebody is told in any case."
    )
    notify: list[Notify] = Field([], max_length=8)

    @model_validator(mode="after")
    def _drawable(self) -> ReviewPolicy:
        try:
            arms_of(self.model_dump())
        except InvalidRequest as error:
            raise ValueError(error.detail) from error
        return self


class ProjectBody(_Part):
    """A project's label set, guideline, model and policy."""

    labels: list[Label] | None = Field(
        None,
        max_length=_MOST_LABELS,
        description="All labels of the project. Without a `label_map`, other classes are not drafted.",
    )
    ordered: bool = Field(
        False,
        description="The labels are a scale in the order in which they stand, as grades are. Agreement of people who classify is then "
        "told weighted, too: labels that stand far apart count as more of a disagreement.",
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
    review: ReviewPolicy | None = Field(None, description="Null: every item is shown its draft, and nothing is known of how it is used.")

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
        if self.ordered:
            self._on_a_scale()
        return self

    def _on_a_scale(self) -> None:
        if len(self.labels or ()) < 2:
            raise ValueError("ordered: list two labels or more in `labels`, from one end of the scale to the other")
        if len(self.labels or ()) > _MOST_STEPS:
            raise ValueError(f"ordered: a scale has at most {_MOST_STEPS} labels, not {len(self.labels or ()):,}")
        if self.task not in (None, "classification"):
            raise ValueError(f"ordered: labels are a scale in classification alone, and `task` is {self.task}; leave it out")

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
    review = arms_of(body["review"]) if body.get("review") else None
    if review is not None and review.stakes == "high":
        policy = _strict(policy, review.strict_confidence)
    return ProjectView(policy, LabelMap(to, tuple(labels or ())) if to else None, body.get("model"), review)


def arms_of(review: Mapping[str, Any]) -> arms.Policy:
    """Return how the section `review` of a body shares items out.

    Raises:
        InvalidRequest: it holds a rate outside its range.
    """
    return arms.policy_of({one.name: review[one.name] for one in fields(arms.Policy) if one.name in review})


def _strict(policy: Policy, least: float) -> Policy:
    """Where much is at stake nothing invites people not to look, and only drafts that are likely to be right are shown."""
    below: dict[Task, float] = {task: max(least, policy.from_scratch_below.get(task, 0.0)) for task in TASKS}
    return Policy(badge=False, from_scratch_below=below, needs_confidence=True)


def _alike(field: str, labels: Iterable[str]) -> None:
    """Refuse labels that differ in nothing but case: truths are compared without it."""
    seen: dict[str, str] = {}
    for label in labels:
        before = seen.setdefault(label.strip().casefold(), label)
        if before is not label:
            raise ValueError(f"{field}: {before[:80]!r} and {label[:80]!r} are one label")
