"""`GET /v1/projects/{name}/arms`: what items have drawn. For who leads a project, and never for who reviews in it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from serving.api.access import needs, principal_of
from serving.api.drafts import problems
from serving.api.projects import PROJECT_NAME
from serving.api.services import services_of
from store.draws import DrawRow, Draws
from store.projects import Projects

_PAGE = 100


class ArmBody(BaseModel):
    """What one item drew, before anything of it was shown."""

    id: str
    item: str
    reviewer: str | None = Field(description="For whom, where the request for drafts named one.")
    epoch: str
    arm: str = Field(description="`assisted`, `withheld` or `honeypot`.")
    propensity: float = Field(description="The chance with which it drew this arm; 1: all of this reviewer's drafts were withheld.")
    rates: dict[str, Any] = Field(description="What it was drawn with.")
    draft: str = Field(description="The draft that is shown.")
    natural: str = Field(description="The draft that the model made: another one for honeypots, which nobody can read.")
    planted: dict[str, Any] | None = Field(description="A honeypot's error.")
    gold: bool = Field(description="Its right label was known.")
    at: str


class ArmsAnswer(BaseModel):
    """A page of draws, the oldest first."""

    arms: list[ArmBody]
    next: str | None


def arms_router() -> APIRouter:
    """Return the route of arms."""
    router = APIRouter(tags=["review"], dependencies=[Depends(needs("register", "admin"))])

    @router.get(
        "/v1/projects/{name}/arms",
        summary="List what items have drawn",
        description="Which items are shown their draft, which none, and which a planted error, each with its chance. It takes a key "
        "with the scope `register` or `admin`: whoever reviews must not know.",
        response_model=ArmsAnswer,
        responses=problems(401, 403, 404, 422, 503),
    )
    async def arms(
        request: Request,
        name: Annotated[str, Path(pattern=PROJECT_NAME)],
        after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = _PAGE,
    ) -> JSONResponse:
        store, team = services_of(request).store, principal_of(request).team
        found = await Draws(store).page(team, name, after, limit + 1)
        if not found and after is None:
            await Projects(store).get(team, name)  # a wrong name is told; one that was deleted keeps its draws
        page = found[:limit]
        return JSONResponse({"arms": [_told(one) for one in page], "next": page[-1].id if len(found) > limit else None})

    return router


def _told(row: DrawRow) -> dict[str, Any]:
    fields = {
        name: getattr(row, name) for name in ("id", "item", "epoch", "arm", "propensity", "rates", "draft", "natural", "planted", "gold")
    }
    return {**fields, "reviewer": row.reviewer or None, "at": row.at.isoformat()}
