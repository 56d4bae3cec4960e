"""`/v1/calibrations` and `/v1/models/{name}/versions/{version}/calibration`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from calibration.record import CalibrationRecord
from candor.errors import BodyTooLarge
from serving.access import WITHOUT_KEYS, Principal
from serving.api.access import needs, principal_of
from serving.api.calibration_schemas import (
    CalibrationAnswer,
    CalibrationsAnswer,
    RollbackBody,
    VersionCalibrationAnswer,
    WhyBody,
)
from serving.api.drafts import problems
from serving.api.services import services_of
from serving.calibrations.service import CalibrationService, Kept, VersionCalibration

_RECORD_BYTES = 2**25  # a record names the items that it was fitted on: 20 bytes for each
_PAGE = 50
# A report is a page of ours, but a record's texts are whoever's who made it.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
    "X-Content-Type-Options": "nosniff",
}
_RECORD_BODY = {
    "requestBody": {
        "required": True,
        "description": "A calibration record, whole, as `candor calibrate` writes it.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}

_WRITES = [Depends(needs("register"))]

Form = Literal["html", "svg", "png", "json"]
CalibrationId = Annotated[str, Path(max_length=64)]
ModelName = Annotated[str, Path(max_length=256)]
Version = Annotated[str, Path(max_length=256, description="`sha256:<hex>`, at least 8 digits, or an alias.")]


def calibrations_router() -> APIRouter:
    """Return the routes of the calibrations and of what is in force."""
    router = APIRouter(tags=["calibrations"], dependencies=[Depends(needs())])
    _add_records(router)
    _add_report(router)
    _add_changes(router)
    return router


def _add_records(router: APIRouter) -> None:
    @router.post(
        "/v1/calibrations",
        summary="Import a calibration record",
        description="Store a record that was made elsewhere; it is in force once it is promoted. The same record again is the same one.",
        status_code=201,
        response_model=CalibrationAnswer,
        responses=problems(404, 413, 422, 503),
        openapi_extra=_RECORD_BODY,
        dependencies=_WRITES,
    )
    async def take(request: Request) -> JSONResponse:
        body = await request.body()
        if len(body) > _RECORD_BYTES:
            raise BodyTooLarge(f"a calibration record may have {_RECORD_BYTES:,} bytes")
        return JSONResponse(_whole(await _service(request).take(body, principal_of(request), request.state.request_id)), 201)

    @router.get(
        "/v1/calibrations",
        summary="List the calibrations, newest first",
        response_model=CalibrationsAnswer,
        responses=problems(404, 422, 503),
    )
    async def newest(
        request: Request,
        model: Annotated[str | None, Query(max_length=256)] = None,
        version: Annotated[str | None, Query(max_length=256, description="`sha256:<hex>` or an alias; needs `model`.")] = None,
        after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = _PAGE,
    ) -> JSONResponse:
        found = await _service(request).newest(principal_of(request), model, version, after, limit + 1)
        page = found[:limit]
        return JSONResponse({"calibrations": [_short(kept) for kept in page], "next": page[-1].stored.id if len(found) > limit else None})

    @router.get(
        "/v1/calibrations/{calibration_id}",
        summary="Read a calibration",
        response_model=CalibrationAnswer,
        responses=problems(404, 422, 503),
    )
    async def read(request: Request, calibration_id: CalibrationId) -> JSONResponse:
        return JSONResponse(_whole(await _service(request).get(calibration_id, principal_of(request))))


def _add_report(router: APIRouter) -> None:
    @router.get(
        "/v1/calibrations/{calibration_id}/report",
        summary="Read a calibration's report",
        description="`html`: one page with verdict, plots and tables. `svg`, `png`: one plot. `json`: the record.",
        response_class=Response,
        responses={
            200: {"content": {kind: {} for kind in ("text/html", "image/svg+xml", "image/png", "application/json")}},
            **problems(404, 422, 503),
        },
    )
    async def report(
        request: Request,
        calibration_id: CalibrationId,
        form: Annotated[Form, Query(alias="format")] = "html",
        plot: Annotated[str, Query(max_length=64, description="Which plot, for `svg` and `png`.")] = "reliability",
    ) -> Response:
        kept = await _service(request).get(calibration_id, principal_of(request))
        if form == "json":
            return JSONResponse(dict(kept.stored.record))
        content, media_type = await asyncio.to_thread(_drawn, kept.record, form, plot)
        return Response(content, media_type=media_type, headers=_PAGE_HEADERS)


def _add_changes(router: APIRouter) -> None:
    @router.post(
        "/v1/calibrations/{calibration_id}/promote",
        summary="Put a calibration in force",
        description="Within two seconds every replica drafts with it. Promoted again while an alarm about it is open, it is "
        "trusted again. Refused where it does not fit.",
        response_model=VersionCalibrationAnswer,
        responses=problems(404, 409, 422, 503),
        dependencies=_WRITES,
    )
    async def promote(request: Request, calibration_id: CalibrationId, why: WhyBody | None = None) -> JSONResponse:
        who, request_id = principal_of(request), request.state.request_id
        return JSONResponse(_version(await _service(request).promote(calibration_id, _detail(why, who), who, request_id)))

    @router.post(
        "/v1/models/{name}/versions/{version}/calibration/rollback",
        summary="Put the calibration before this one in force",
        description="Takes the newest promotion away. Under all of them is what the configuration names.",
        response_model=VersionCalibrationAnswer,
        responses=problems(404, 409, 422, 503),
        dependencies=_WRITES,
    )
    async def roll_back(request: Request, name: ModelName, version: Version, why: RollbackBody | None = None) -> JSONResponse:
        going = why.calibration if why else None
        who, request_id = principal_of(request), request.state.request_id
        found = await _service(request).roll_back(f"{name}@{version}", _detail(why, who), who, request_id, from_calibration=going)
        return JSONResponse(_version(found))

    @router.get(
        "/v1/models/{name}/versions/{version}/calibration",
        summary="What is in force for a model version",
        response_model=VersionCalibrationAnswer,
        responses=problems(404, 422, 503),
    )
    async def of_version(request: Request, name: ModelName, version: Version) -> JSONResponse:
        return JSONResponse(_version(await _service(request).of_version(f"{name}@{version}", principal_of(request))))


def _service(request: Request) -> CalibrationService:
    return services_of(request).calibrations


def _drawn(record: CalibrationRecord, form: Form, plot: str) -> tuple[str | bytes, str]:
    """Return a report and its media type. Drawing takes a second, and its library longer to import: call it in a thread."""
    from serving.calibrations import plots, report  # noqa: PLC0415 - import matplotlib

    if form == "svg":
        return plots.svg(record, plot), "image/svg+xml"
    if form == "png":
        return plots.png(record, plot), "image/png"
    return report.html(record), "text/html"


def _detail(why: WhyBody | None, who: Principal) -> dict[str, Any]:
    return {"by": "operator" if who is WITHOUT_KEYS else who.key, **({"reason": why.reason} if why and why.reason else {})}


def _short(kept: Kept) -> dict[str, Any]:
    stored, record = kept.stored, kept.stored.record
    return {
        **{name: record.get(name) for name in ("id", "model_version", "task", "method", "status", "reason", "event", "display_threshold")},
        "badge": record.get("badge") is not None,
        "in_force": kept.in_force,
        "misfit": kept.misfit or None,
        "origin": stored.origin,
        "made_at": record.get("created_at"),
        "stored_at": stored.created_at.isoformat(),
    }


def _whole(kept: Kept) -> dict[str, Any]:
    return {**_short(kept), "record": dict(kept.stored.record)}


def _version(found: VersionCalibration) -> Mapping[str, Any]:
    return {
        "model_version": found.manifest.version,
        "calibration": found.now.calibration,
        "confidence_status": found.now.status,
        "since": _time(found.now.since),
        "unverified_since": _time(found.now.unverified_since),
        "history": [
            {"kind": event.kind, "calibration": event.calibration, "at": event.at.isoformat(), "detail": dict(event.detail)}
            for event in found.history
        ],
    }


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
