"""The wire of connected labeling tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from candor.predictions import Task
from serving.protocols.label_studio.connected import Choices
from serving.protocols.label_studio.connecting import is_address
from serving.protocols.label_studio.findings import Finding
from store.connections import Connection
from store.label_studio_tasks import TaskRow

TaskState = Literal["queued", "processing", "done", "failed"]
_HIDDEN = ("header",)  # settings that hold a secret
_LONG = ("config",)  # what of the state is the tool's own, and long


def _address(value: str) -> str:
    if not is_address(value):
        raise ValueError("give an http(s) address like http://labels.example.org:8080, without user name and query")
    return value.rstrip("/")


_Address = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_address)]
_Token = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[\x21-\x7e]+$")]
_Model = Annotated[str, Field(min_length=1, max_length=256)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ChosenBody(_Body):
    """What may be chosen for a connection."""

    model: _Model | None = Field(None, description="Drafts its tasks: `name`, `name@alias` or `name@sha256:…`. Null: the project's model.")
    task: Task | None = Field(None, description="Null: the project's or the model's, else the first that the config has a place for.")
    predict_seconds: float = Field(60, ge=1, le=95, description="What takes longer is answered empty, and pushed when it is ready.")
    poll_seconds: float = Field(60, ge=5, le=86_400, description="How often reviews are asked for, in case that a webhook was lost.")
    gold_from_ground_truth: bool = Field(False, description="Annotations that are marked as ground truth become gold items.")

    def choices(self, **more: Any) -> Choices:
        """Return them as the connection keeps them."""
        return Choices(**{name: getattr(self, name) for name in ChosenBody.model_fields}, **more)


class NewConnectionBody(ChosenBody):
    """The connection that is wanted."""

    tool: Literal["label-studio"] = Field(description="The kind of tool.")
    url: _Address | None = Field(None, description="Address of the tool as this server reaches it. Null: it is never called.")
    token: _Token | None = Field(None, description="Its personal access token or legacy token. It is never shown again.")
    remote_project: str | None = Field(None, min_length=1, max_length=256, description="The project in the tool: its id, or its title.")
    candor_url: _Address | None = Field(None, description="Address of this server as the tool reaches it. Null: as you reach it.")

    @model_validator(mode="after")
    def _whole(self) -> NewConnectionBody:
        if (self.url is None) != (self.token is None) or (self.url is None) != (self.remote_project is None):
            raise ValueError("give url, token and remote_project together; or none of them, and paste the answer's base_url into the tool")
        return self


class ChangedConnectionBody(_Body):
    """What is to be changed; what is left out stays."""

    url: _Address | None = Field(None, description="Another address of the same tool.")
    token: _Token | None = Field(None, description="Another token of it.")
    settings: ChosenBody | None = Field(None, description="All choices anew; what is left out has its default.")


class FindingBody(BaseModel):
    """What was found of one part of a connection."""

    name: str = Field(description="`label_studio`, `labels`, `model`, `backend`, `webhook`, `shown` or `predict`.")
    ok: bool
    told: str = Field(description="What is so; where it is not ok, what to do.")


class ConnectionBody(BaseModel):
    """One connection, without token and secret."""

    id: str
    project: str
    tool: str
    url: str | None
    remote_project: str | None
    settings: dict[str, Any]
    state: dict[str, Any] = Field(description="What Candor keeps of it, such as its last `problem`.")
    created_by: str = Field(description="Id of the key that made it.")
    created_at: str
    changed_at: str
    ended_at: str | None


class ConnectionAnswer(ConnectionBody):
    """One connection, with what was just looked at."""

    base_url: str | None = Field(None, description="What the tool calls, with the secret in it: shown this once, when it is made.")
    findings: list[FindingBody] = []


class ConnectionsAnswer(BaseModel):
    """A project's connections that have not ended, the oldest first."""

    connections: list[ConnectionBody]


class TaskBody(BaseModel):
    """One task of the tool."""

    task: str
    item: str
    state: TaskState
    attempts: int
    error: str | None
    changed_at: str


class TasksAnswer(BaseModel):
    """How far the tasks are, and a page of them."""

    counts: dict[str, int] = Field(description="Of all tasks of the connection, by state.")
    tasks: list[TaskBody]
    next: str | None = Field(description="`after` of the next page; null where this is the last.")


class PushAnswer(BaseModel):
    """What was queued."""

    queued: int = Field(description="Tasks without annotation that wait for their drafts now.")
    counts: dict[str, int]


def connection_as_json(connection: Connection) -> dict[str, Any]:
    """Return a connection as ConnectionBody."""
    named = {name: getattr(connection, name) for name in ConnectionBody.model_fields}
    named["settings"] = {name: value for name, value in connection.settings.items() if name not in _HIDDEN}
    named["state"] = {name: value for name, value in connection.state.items() if name not in _LONG}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in named.items()}


def answer_as_json(connection: Connection, findings: Sequence[Finding], base_url: str | None = None) -> dict[str, Any]:
    """Return a connection as ConnectionAnswer."""
    told = [{"name": one.name, "ok": one.ok, "told": one.told} for one in findings]
    return {**connection_as_json(connection), "base_url": base_url, "findings": told}


def task_as_json(row: TaskRow) -> dict[str, Any]:
    """Return a task as TaskBody; not with its draft, which would tell its arm."""
    return {name: getattr(row, name) for name in TaskBody.model_fields} | {"changed_at": row.changed_at.isoformat()}


def settings_of(chosen: ChosenBody, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return a connection's settings after a change; what is not the user's stays."""
    return {**chosen.model_dump(exclude_defaults=True), **{name: before[name] for name in _HIDDEN if name in before}}
