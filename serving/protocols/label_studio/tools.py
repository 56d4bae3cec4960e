"""What the routes of Label Studio stand on: one set for each process, made when the application starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI, Request

from serving.api.access import rates_of
from serving.api.services import Services
from serving.media import MediaFetcher
from serving.protocols.label_studio.drafting import Drafting
from serving.protocols.label_studio.predicting import Predicting
from serving.protocols.label_studio.pushing import Pusher
from serving.protocols.label_studio.remote import Remotes
from serving.protocols.label_studio.tending import ReviewTender


@dataclass(frozen=True)
class Tools:
    """The use cases, and what works in the background."""

    services: Services
    fetcher: MediaFetcher
    predicting: Predicting
    pusher: Pusher
    tender: ReviewTender


@asynccontextmanager
async def tools(app: FastAPI) -> AsyncIterator[None]:
    """Give an application its tools, and let them work in the background while it runs."""
    services: Services = app.state.services
    fetcher = MediaFetcher(services.settings.media, services.settings.limits.item_bytes)
    remotes = Remotes(fetcher)
    drafting = Drafting(services, remotes, rates_of(app))
    predicting = Predicting(services, drafting)
    pusher = Pusher(services.store, drafting, predicting, services.settings.server.request_seconds)
    predicting.pushes = pusher.wake
    tender = ReviewTender(services, remotes)
    app.state.label_studio = Tools(services, fetcher, predicting, pusher, tender)
    pusher.keep_tending()
    tender.keep_tending()
    try:
        yield
    finally:
        await pusher.close()
        await tender.close()
        await fetcher.close()


def tools_of(request: Request) -> Tools:
    """Return the tools of the application that serves this request."""
    found: Tools = request.app.state.label_studio
    return found
