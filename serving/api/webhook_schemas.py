"""The wire of webhooks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.api.projects import PROJECT_NAME
from store.deliveries import Delivery, State
from store.webhooks import Event, Webhook


class NewWebhookBody(BaseModel):
    """The webhook that is wanted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: str = Field(min_length=1, max_length=2048, description="Gets a signed POST for each event.")
    events: list[Event] = Field(min_length=1, max_length=16, description="What it is told of.")
    project: str | None = Field(
        None,
        pattern=PROJECT_NAME,
        description="Only of this one. Then `drafts.ready`, `alarm.raised` and `alarm.cleared` can be asked for.",
    )


class WebhookBody(BaseModel):
    """One webhook, without its secret."""

    id: str
    url: str
    events: list[Event]
    project: str | None
    created_by: str = Field(description="Id of the key that made it.")
    created_at: str
    rotated_at: str | None = Field(description="When its secret was replaced last.")


class NewWebhookAnswer(WebhookBody):
    """A webhook whose secret was made just now."""

    secret: str = Field(description="What bodies are signed with, `whsec_…`: it is shown this once.")


class WebhooksAnswer(BaseModel):
    """A team's webhooks, the newest first."""

    webhooks: list[WebhookBody]


class DeliveryBody(BaseModel):
    """What a webhook is told once, and how far that has got."""

    id: str = Field(description="It is the header `webhook-id`, the same at each attempt.")
    event: Event | Literal["ping"]
    about: str = Field(description="Id of what it tells of.")
    state: State = Field(description="`waiting`: is sent at `next_at`. `delivered`: was taken. `dead`: given up; it may be replayed.")
    attempts: int
    status: int | None = Field(description="HTTP status of the last answer.")
    error: str | None = Field(description="What was wrong with the last attempt.")
    created_at: str
    next_at: str | None
    ended_at: str | None


class DeliveryAnswer(DeliveryBody):
    """One delivery with what is sent."""

    body: dict[str, Any]


class DeliveriesAnswer(BaseModel):
    """A page of deliveries, the newest first."""

    deliveries: list[DeliveryBody]
    next: str | None = Field(description="For `after`, where there are more.")


class ReplayAnswer(BaseModel):
    """How many deliveries are sent again."""

    replayed: int


def webhook_as_json(webhook: Webhook) -> dict[str, Any]:
    """Return a webhook as JSON values, without its secret."""
    told = {name: getattr(webhook, name) for name in ("id", "url", "project", "created_by")}
    rotated = webhook.rotated_at and webhook.rotated_at.isoformat()
    return {**told, "events": list(webhook.events), "created_at": webhook.created_at.isoformat(), "rotated_at": rotated}


def delivery_as_json(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery as JSON values, without its body."""
    told = {name: getattr(delivery, name) for name in ("id", "event", "about", "state", "attempts", "status", "error")}
    moments = {
        "created_at": delivery.created_at.isoformat(),
        "next_at": delivery.next_at.isoformat() if delivery.ended_at is None else None,
        "ended_at": delivery.ended_at and delivery.ended_at.isoformat(),
    }
    return {**told, **moments}
