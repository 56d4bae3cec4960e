"""`/v1/webhooks`: addresses that a team wants told of what happens, and what became of what they were told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from serving.api.access import actor_of, kept, needs, principal_of
from serving.api.drafts import problems
from serving.api.services import services_of
from serving.api.webhook_schemas import (
    DeliveriesAnswer,
    DeliveryAnswer,
    NewWebhookAnswer,
    NewWebhookBody,
    ReplayAnswer,
    WebhookBody,
    WebhooksAnswer,
    delivery_as_json,
    webhook_as_json,
)
from serving.webhooks.asked import require_events, require_url
from serving.webhooks.sender import Sender
from serving.webhooks.signing import new_secret
from store.deliveries import Deliveries, State
from store.webhooks import Webhook, Webhooks

_Id = Annotated[str, Path(max_length=64)]


def webhooks_router() -> APIRouter:
    """Return the routes of webhooks."""
    router = APIRouter(tags=["webhooks"], lifespan=_sending, dependencies=[Depends(needs("register", "admin"))])
    _add_webhooks(router)
    _add_changes(router)
    _add_deliveries(router)
    _add_sending(router)
    return router


@asynccontextmanager
async def _sending(app: FastAPI) -> AsyncIterator[None]:
    """Send what waits while the application runs."""
    sender = _sender(app)
    sender.keep_tending()
    yield
    await sender.close()


def _add_webhooks(router: APIRouter) -> None:
    @router.get("/v1/webhooks", summary="List your team's webhooks", response_model=WebhooksAnswer, responses=problems(503))
    async def webhooks(request: Request) -> JSONResponse:
        found = await Webhooks(services_of(request).store).of_team(principal_of(request).team)
        return JSONResponse({"webhooks": [webhook_as_json(one) for one in found]})

    @router.post(
        "/v1/webhooks",
        summary="Make a webhook",
        description="The answer shows the secret that bodies are signed with, once. Signatures are those of Standard Webhooks 1.0. Within "
        "two seconds everything that happens is told; where the address leads is looked at with each attempt, as with items' URLs.",
        status_code=201,
        response_model=NewWebhookAnswer,
        responses=problems(422, 503),
    )
    async def make(request: Request, wanted: NewWebhookBody) -> JSONResponse:
        services = services_of(request)
        require_url(wanted.url, services.settings.media.schemes)
        events = list(dict.fromkeys(wanted.events))
        require_events(events, wanted.project)
        made = await Webhooks(services.store).add(actor_of(request), wanted.url, events, wanted.project, new_secret())
        return _with_secret(made, 201)

    @router.get("/v1/webhooks/{webhook_id}", summary="Read a webhook", response_model=WebhookBody, responses=problems(404, 422, 503))
    async def webhook(request: Request, webhook_id: _Id) -> JSONResponse:
        return JSONResponse(webhook_as_json(await _own(request, webhook_id)))


def _add_changes(router: APIRouter) -> None:
    @router.delete(
        "/v1/webhooks/{webhook_id}",
        summary="Delete a webhook",
        description="What waits for it is not sent any more.",
        status_code=204,
        responses=problems(404, 422, 503),
    )
    async def delete(request: Request, webhook_id: _Id) -> Response:
        await Webhooks(services_of(request).store).delete(actor_of(request), webhook_id)
        return Response(status_code=204)

    @router.post(
        "/v1/webhooks/{webhook_id}/rotate",
        summary="Give a webhook another secret",
        description="For 24 hours bodies are signed with the one before too, so that the receiver can be changed in between.",
        response_model=NewWebhookAnswer,
        responses=problems(404, 422, 503),
    )
    async def rotate(request: Request, webhook_id: _Id) -> JSONResponse:
        return _with_secret(await Webhooks(services_of(request).store).rotate(actor_of(request), webhook_id, new_secret()), 200)


def _add_deliveries(router: APIRouter) -> None:
    @router.get(
        "/v1/webhooks/{webhook_id}/deliveries",
        summary="What a webhook was told",
        description="The newest first, with what became of it.",
        response_model=DeliveriesAnswer,
        responses=problems(404, 422, 503),
    )
    async def deliveries(
        request: Request,
        webhook_id: _Id,
        state: Annotated[State | None, Query(description="`dead`: what was given up.")] = None,
        after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> JSONResponse:
        own = await _own(request, webhook_id)
        found = await Deliveries(services_of(request).store).of_webhook(own.id, state=state, after=after, limit=limit + 1)
        page = found[:limit]
        more = page[-1].id if len(found) > limit else None
        return JSONResponse({"deliveries": [delivery_as_json(one) for one in page], "next": more})

    @router.get(
        "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}",
        summary="Read a delivery",
        response_model=DeliveryAnswer,
        responses=problems(404, 422, 503),
    )
    async def delivery(request: Request, webhook_id: _Id, delivery_id: _Id) -> JSONResponse:
        return await _told(request, await _own(request, webhook_id), delivery_id)


def _add_sending(router: APIRouter) -> None:
    @router.post(
        "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
        summary="Send a delivery now",
        description="Whatever became of it; its attempts begin anew, and its `webhook-id` stays.",
        status_code=202,
        response_model=DeliveryAnswer,
        responses=problems(404, 422, 503),
    )
    async def replay(request: Request, webhook_id: _Id, delivery_id: _Id) -> JSONResponse:
        own = await _own(request, webhook_id)
        await Deliveries(services_of(request).store).replay(actor_of(request), own.id, delivery_id)
        answer = await _told(request, own, delivery_id, 202)
        _sender(request.app).wake()
        return answer

    @router.post(
        "/v1/webhooks/{webhook_id}/replay",
        summary="Send all dead deliveries again",
        status_code=202,
        response_model=ReplayAnswer,
        responses=problems(404, 422, 503),
    )
    async def replay_all(request: Request, webhook_id: _Id) -> JSONResponse:
        own = await _own(request, webhook_id)
        replayed = await Deliveries(services_of(request).store).replay(actor_of(request), own.id)
        _sender(request.app).wake()
        return JSONResponse({"replayed": replayed}, 202)

    @router.post(
        "/v1/webhooks/{webhook_id}/test",
        summary="Send a ping",
        description="A delivery of the event `ping`, whatever the webhook hears; ask for it to see what became of it.",
        status_code=202,
        response_model=DeliveryAnswer,
        responses=problems(404, 422, 503),
    )
    async def ping(request: Request, webhook_id: _Id) -> JSONResponse:
        own = await _own(request, webhook_id)
        made = await Deliveries(services_of(request).store).ping(own)
        answer = await _told(request, own, made.id, 202)
        _sender(request.app).wake()
        return answer


async def _own(request: Request, webhook_id: str) -> Webhook:
    return await Webhooks(services_of(request).store).get(principal_of(request).team, webhook_id)


async def _told(request: Request, webhook: Webhook, delivery_id: str, status: int = 200) -> JSONResponse:
    found = await Deliveries(services_of(request).store).get(webhook.id, delivery_id)
    return JSONResponse({**delivery_as_json(found), "body": dict(found.body)}, status)


def _with_secret(webhook: Webhook, status: int) -> JSONResponse:
    return JSONResponse({**webhook_as_json(webhook), "secret": webhook.secret}, status, {"Cache-Control": "no-store"})


def _sender(app: FastAPI) -> Sender:
    return kept(app, "webhook_sender", lambda services: Sender(services.store, services.settings.media))
