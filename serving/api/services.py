"""What the routes stand on. One set per process, made when the application starts."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from serving.config import Settings
from serving.requests import Drafter
from store import Blobs, Store


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases and the store behind the routes."""

    settings: Settings
    drafter: Drafter
    store: Store
    blobs: Blobs


def services_of(request: Request) -> Services:
    """Return the services of the application that serves this request."""
    services: Services = request.app.state.services
    return services
