"""The routes of all dialects, for the control application."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastapi import APIRouter

from serving.protocols.cvat.routes import cvat_router
from serving.protocols.label_studio.routes import label_studio_router
from serving.protocols.open_inference.routes import open_inference_router
from serving.protocols.openai.routes import openai_router
from serving.protocols.roboflow.routes import roboflow_router
from serving.protocols.x_anylabeling.routes import x_anylabeling_router

# In alphabetical order of the dialects. None of them is in the OpenAPI document: their protocols are others'.
_ROUTERS: tuple[Callable[[], APIRouter], ...] = (
    cvat_router,
    label_studio_router,
    open_inference_router,
    openai_router,
    roboflow_router,
    x_anylabeling_router,
)


def protocol_routers() -> Iterator[APIRouter]:
    """Yield each dialect's routes."""
    for make in _ROUTERS:
        yield make()
