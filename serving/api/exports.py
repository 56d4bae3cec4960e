"""What comes out of a project, for whoever leads it: `/v1/projects/{name}/export`, `/v1/projects/{name}/drafts` and
`/v1/projects/{name}/corrections`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from pydantic_core import to_json

from serving.api.access import needs, principal_of
from serving.api.drafts import problems
from serving.api.review_schemas import FixesAnswer
from serving.api.reviews import Project
from serving.api.schemas import DraftBody
from serving.api.services import services_of
from serving.reviewing.exports import Form, drafted, export
from serving.reviewing.fixes import fixes

_TYPES: dict[Form, str] = {"jsonl": "application/x-ndjson", "coco": "application/json"}
_PAGE = 100


class DraftedAnswer(BaseModel):
    """A page of drafts, by item."""

    drafts: list[DraftBody]
    next: str | None


def exports_router() -> APIRouter:
    """Return the routes of exports and of what people keep fixing."""
    router = APIRouter(tags=["review"], dependencies=[Depends(needs("register", "admin"))])
    _add_export(router)
    _add_drafts(router)
    _add_fixes(router)
    return router


def _add_export(router: APIRouter) -> None:
    @router.get(
        "/v1/projects/{name}/export",
        summary="Export reviewed labels",
        description="The newest review of each item, with model version, calibration, arm, guideline version, and a keyed hash of the "
        "reviewer's name. Honeypots are left out, gold items are marked. `coco` holds boxes.",
        response_class=StreamingResponse,
        responses={200: {"content": {kind: {} for kind in _TYPES.values()}}, **problems(404, 422, 503)},
    )
    async def exported(
        request: Request,
        name: Project,
        form: Annotated[Form, Query(alias="format")] = "jsonl",
        every: Annotated[bool, Query(description="jsonl: all reviews of an item, not only the newest.")] = False,
    ) -> StreamingResponse:
        found = await export(services_of(request).store, principal_of(request).team, name, form, every=every)

        async def pieces() -> AsyncIterator[bytes]:
            async for piece in found.text(form):
                yield piece.encode(errors="surrogatepass")

        return StreamingResponse(pieces(), media_type=_TYPES[form])


def _add_drafts(router: APIRouter) -> None:
    @router.get(
        "/v1/projects/{name}/drafts",
        summary="List a project's drafts",
        description="The newest draft of each item, by item, as it is to be read now: for data sets. Items with a draft that was withheld "
        "from anybody, and honeypots, are left out whole. So the list tells arms, and takes the scope `register` or `admin`.",
        response_model=DraftedAnswer,
        responses=problems(401, 403, 404, 422, 503),
    )
    async def drafts_of(
        request: Request,
        name: Project,
        after: Annotated[str | None, Query(max_length=1024, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = _PAGE,
    ) -> Response:
        services, team = services_of(request), principal_of(request).team
        page = await drafted(services.store, team, name, after, limit)
        shown = [(await services.calibrations.as_now(one)).as_wire() for one in page.drafts]
        return Response(to_json({"drafts": shown, "next": page.next}), media_type="application/json")


def _add_fixes(router: APIRouter) -> None:
    @router.get(
        "/v1/projects/{name}/corrections",
        summary="What people keep fixing",
        description="By label (of transcripts by word): how often it was drafted, kept, changed and into what, moved, deleted, added. Only "
        "drafts that were shown as the model made them. People overlook errors: a label is as bad as it looks here, or worse.",
        response_model=FixesAnswer,
        responses=problems(404, 422, 503),
    )
    async def corrections(request: Request, name: Project) -> JSONResponse:
        return JSONResponse(await fixes(services_of(request).store, principal_of(request).team, name))
