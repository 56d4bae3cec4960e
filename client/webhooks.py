"""What a client may do with webhooks: addresses that Candor tells of drafts, jobs and alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from client.answers import Delivery, NewWebhook, Webhook
from client.calls import Call, Flow, address, ask, json_body, nothing, told
from client.methods import Listing, Method
from client.pages import Pages
from client.responses import whole


def webhooks() -> Pages[Webhook]:
    """Go through the team's webhooks.

    Raises:
        ClientError: the server can't be asked.
    """
    return Pages(Webhook, address("webhooks"), "webhooks")


def webhook(webhook_id: str) -> Flow[Webhook]:
    """Return a webhook.

    Raises:
        ClientError: there is none of that id, or the server can't be asked.
    """
    return ask(Call("GET", address("webhooks", webhook_id), told(Webhook, "id")))


def create_webhook(url: str, events: Sequence[str], *, project: str | None = None) -> Flow[NewWebhook]:
    """Make a webhook, and return it with the secret that signs its deliveries. The secret is told this once.

    Where the connection breaks it is not tried again, which could leave one that nobody knows of.

    Raises:
        ClientError: an event is unknown, the connection broke, or the server can't be asked.
    """
    wanted = {"url": url, "events": list(events), **({} if project is None else {"project": project})}
    return ask(Call("POST", address("webhooks"), told(NewWebhook, "secret"), json_body(wanted), once=True))


def delete_webhook(webhook_id: str) -> Flow[None]:
    """Delete a webhook; what still waits is not delivered.

    Raises:
        ClientError: there is none of that id, or the server can't be asked.
    """
    return ask(Call("DELETE", address("webhooks", webhook_id), nothing))


def deliveries(webhook_id: str, state: str | None = None) -> Pages[Delivery]:
    """Go through the deliveries of a webhook, newest first; those that wait, are delivered or `dead`, where that is asked for.

    Raises:
        ClientError: there is no such webhook, or the server can't be asked.
    """
    return Pages(Delivery, f"{address('webhooks', webhook_id)}/deliveries", "deliveries", {"state": state})


def replay(webhook_id: str, delivery_id: str | None = None) -> Flow[dict[str, Any]]:
    """Deliver something once more: one delivery, or all dead ones.

    Raises:
        ClientError: there is none, or the server can't be asked.
    """
    where = ("deliveries", delivery_id) if delivery_id else ()
    return ask(Call("POST", f"{address('webhooks', webhook_id, *where)}/replay", whole))


def ping(webhook_id: str) -> Flow[dict[str, Any]]:
    """Have a webhook called, to see whether it listens.

    Raises:
        ClientError: there is no such webhook, or the server can't be asked.
    """
    return ask(Call("POST", f"{address('webhooks', webhook_id)}/test", whole))


class WebhookCalls:
    """What a client may do with webhooks."""

    webhooks = Listing(webhooks)
    webhook = Method(webhook)
    create_webhook = Method(create_webhook)
    delete_webhook = Method(delete_webhook)
    deliveries = Listing(deliveries)
    replay = Method(replay)
    ping = Method(ping)
