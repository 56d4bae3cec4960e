"""The routes of all dialects, for the control application."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastapi import APIRouter

# In alphabetical order of the dialects. None of them is in the OpenAPI document: their protocols are others'.
_ROUTERS: tuple[Callable[[], APIRouter], ...] = ()


def protocol_routers() -> Iterator[APIRouter]:
    """Yield each dialect's routes."""
    for make in _ROUTERS:
        yield make()
