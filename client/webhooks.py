"""What a client may do with webhooks: addresses that Candor tells of drafts, jobs and alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from client.answers import Delivery, NewWebhook, Webhook
from client.calls import Call, Flow, address, ask, json_body, nothing, told, told_in
from client.methods import Listing, Method
from client.pages import Pages

DeliveryState: TypeAlias = Literal["waiting", "delivered", "dead"]


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


def rotate_webhook(webhook_id: str) -> Flow[NewWebhook]:
    """Give a webhook another secret, which is told this once. For a day bodies are signed with the one before too.

    Raises:
        ClientError: there is none of that id, the connection broke, or the server can't be asked.
    """
    return ask(Call("POST", f"{address('webhooks', webhook_id)}/rotate", told(NewWebhook, "secret"), once=True))


def delete_webhook(webhook_id: str) -> Flow[None]:
    """Delete a webhook; what still waits is not delivered.

    Raises:
        ClientError: there is none of that id, or the server can't be asked.
    """
    return ask(Call("DELETE", address("webhooks", webhook_id), nothing))


def deliveries(webhook_id: str, state: DeliveryState | None = None) -> Pages[Delivery]:
    """Go through what a webhook was told, newest first; `dead` is what was given up.

    Raises:
        ClientError: there is no such webhook, or the server can't be asked.
    """
    return Pages(Delivery, f"{address('webhooks', webhook_id)}/deliveries", "deliveries", {"state": state})


def delivery(webhook_id: str, delivery_id: str) -> Flow[Delivery]:
    """Return a delivery with what is sent.

    Raises:
        ClientError: there is none of that id, or the server can't be asked.
    """
    return ask(Call("GET", address("webhooks", webhook_id, "deliveries", delivery_id), told(Delivery, "state")))


def replay(webhook_id: str, delivery_id: str) -> Flow[Delivery]:
    """Send a delivery once more, whatever became of it.

    Raises:
        ClientError: there is none of that id, or the server can't be asked.
    """
    return ask(Call("POST", f"{address('webhooks', webhook_id, 'deliveries', delivery_id)}/replay", told(Delivery, "state")))


def replay_dead(webhook_id: str) -> Flow[int]:
    """Send all dead deliveries again, and return how many they are.

    Raises:
        ClientError: there is no such webhook, or the server can't be asked.
    """
    return ask(Call("POST", f"{address('webhooks', webhook_id)}/replay", told_in(int, "replayed")))


def ping(webhook_id: str) -> Flow[Delivery]:
    """Send a webhook a ping; ask for the `delivery` later to see what became of it.

    Raises:
        ClientError: there is no such webhook, or the server can't be asked.
    """
    return ask(Call("POST", f"{address('webhooks', webhook_id)}/test", told(Delivery, "state")))


class WebhookCalls:
    """What a client may do with webhooks."""

    webhooks = Listing(webhooks)
    webhook = Method(webhook)
    create_webhook = Method(create_webhook)
    rotate_webhook = Method(rotate_webhook)
    delete_webhook = Method(delete_webhook)
    deliveries = Listing(deliveries)
    delivery = Method(delivery)
    replay = Method(replay)
    replay_dead = Method(replay_dead)
    ping = Method(ping)
