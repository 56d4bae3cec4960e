"""`/v1/projects/{name}/gold`: items whose right label is known. Whoever only drafts or reviews learns nothing of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from candor.errors import BodyTooLarge
from serving.api.access import actor_of, kept, needs, principal_of
from serving.api.drafts import problems
from serving.api.review_schemas import GoldAnswer, GoldHistoryAnswer, GoldPutAnswer, RemovedAnswer
from serving.api.reviews import Project, intake_of
from serving.api.services import services_of
from serving.reviewing.gold import MOST, GoldService
from serving.reviewing.gold_files import form_of

_BYTES = 2**26
_PAGE = 100
_TRUTH = {"type": "object", "properties": {name: {} for name in ("label", "boxes", "text")}}
_ITEMS = {
    "type": "object",
    "required": ["items"],
    "properties": {
        "items": {
            "type": "array",
            "items": {"type": "object", "required": ["item", "truth"], "properties": {"item": {"type": "string"}, "truth": _TRUTH}},
        }
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "Items with what is right for them: JSON, JSON lines, CSV, or a COCO file.",
        "content": {
            "application/json": {"schema": _ITEMS},
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        },
    }
}

Items = Annotated[list[str], Query(alias="item", min_length=1, max_length=1000, description="Name of an item; may be repeated.")]


def gold_router() -> APIRouter:
    """Return the routes of gold items."""
    router = APIRouter(tags=["review"])
    _add_changes(router)
    _add_reading(router)
    return router


def _add_changes(router: APIRouter) -> None:
    writes = [Depends(needs("register"))]

    @router.post(
        "/v1/projects/{name}/gold",
        summary="Make items gold, or correct them",
        description='JSON: `{"items": [{"item", "truth": {"label"} | {"boxes": [{"label", "xyxy"}]} | {"text"}}]}`; JSON lines: one such '
        "item each; CSV: `item,label`, `item,text`, or `item,label,x1,y1,x2,y2` with a line for each box; COCO: items are file names. "
        f"A wrong item is told, the others are taken. At most {MOST:,} items. A corrected item is a new revision, and what was judged by "
        "the old one is judged anew.",
        response_model=GoldPutAnswer,
        responses=problems(404, 413, 422, 503),
        openapi_extra=_BODY,
        dependencies=writes,
    )
    async def put(
        request: Request, name: Project, form: Annotated[str | None, Query(alias="format", description="json, jsonl, csv or coco.")] = None
    ) -> JSONResponse:
        chosen = form_of(request.headers.get("content-type", ""), form)
        body = await request.body()
        if len(body) > _BYTES:
            raise BodyTooLarge(f"a file of gold items may have {_BYTES:,} bytes: send several")
        done = await _service(request).put(actor_of(request), name, body, chosen)
        counts = {field: getattr(done.put, field) for field in ("added", "corrected", "unchanged")}
        return JSONResponse({**counts, "errors": [{"item": item, "detail": detail} for item, detail in done.errors.items()]})

    @router.delete(
        "/v1/projects/{name}/gold",
        summary="Let items be gold no more",
        description="Their history stays.",
        response_model=RemovedAnswer,
        responses=problems(404, 422, 503),
        dependencies=writes,
    )
    async def remove(request: Request, name: Project, items: Items) -> JSONResponse:
        return JSONResponse({"removed": await _service(request).remove(actor_of(request), name, items)})


def _add_reading(router: APIRouter) -> None:
    leads = [Depends(needs("register", "admin"))]

    @router.get(
        "/v1/projects/{name}/gold",
        summary="List gold items",
        response_model=GoldAnswer,
        responses=problems(404, 422, 503),
        dependencies=leads,
    )
    async def page(
        request: Request,
        name: Project,
        after: Annotated[str | None, Query(max_length=512, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = _PAGE,
    ) -> JSONResponse:
        found = await _service(request).page(principal_of(request).team, name, after, limit + 1)
        told: list[dict[str, Any]] = [
            {"item": one.item, "revision": one.revision, "truth": dict(one.truth), "changed_at": one.changed_at.isoformat()}
            for one in found[:limit]
        ]
        return JSONResponse({"gold": told, "next": told[-1]["item"] if len(found) > limit else None})

    @router.get(
        "/v1/projects/{name}/gold/history",
        summary="Read all revisions of a gold item",
        response_model=GoldHistoryAnswer,
        responses=problems(404, 422, 503),
        dependencies=leads,
    )
    async def history(request: Request, name: Project, item: Annotated[str, Query(max_length=512)]) -> JSONResponse:
        found = await _service(request).history(principal_of(request).team, name, item)
        told = [{"revision": one.revision, "truth": one.truth, "by": one.by, "at": one.at.isoformat()} for one in found]
        return JSONResponse({"history": told})


def _service(request: Request) -> GoldService:
    services = services_of(request)
    return kept(request.app, "gold", lambda _: GoldService(services.store, services.manifests, intake_of(request)))
