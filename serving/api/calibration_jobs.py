"""`POST /v1/outcomes`, `POST /v1/calibrations/fits`, and the jobs that fits run as."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic_core import to_json

from candor.errors import InvalidRequest, NoItems, TooManyItems
from serving.api.access import actor_of, kept, needs, principal_of
from serving.api.drafts import problems
from serving.api.job_schemas import (
    FitRequest,
    JobAnswer,
    JobBody,
    JobsAnswer,
    OutcomeBody,
    OutcomesAnswer,
    OutcomesRequest,
    ShadowAnswer,
)
from serving.api.services import services_of
from serving.calibrations.fit_jobs import FitJobs
from serving.calibrations.outcomes import Intake, Taken, Told
from serving.calibrations.refit import shadow
from serving.http.problems import problem
from store.audit import note
from store.jobs import Job

MOST = 1_000  # outcomes in one request
_WRITES = [Depends(needs("register"))]
_JobId = Annotated[str, Path(max_length=64)]


def jobs_router() -> APIRouter:
    """Return the routes of outcomes, fits and jobs."""
    router = APIRouter(tags=["calibrations"], lifespan=_ended, dependencies=[Depends(needs())])
    _add_outcomes(router)
    _add_fits(router)
    _add_jobs(router)
    return router


@asynccontextmanager
async def _ended(app: FastAPI) -> AsyncIterator[None]:
    """Look after jobs while the application runs, and stop them as it stops, while its store is open."""
    jobs = app.state.services.jobs
    jobs.keep_tending()
    yield
    await jobs.close()


def _add_outcomes(router: APIRouter) -> None:
    @router.post(
        "/v1/outcomes",
        summary="Tell what was right",
        description="Candor judges the stored draft of each entry against the truth. An entry that is wrong carries its error; the "
        f"others are stored. At most {MOST:,} entries.",
        response_model=OutcomesAnswer,
        responses=problems(413, 422, 503),
        dependencies=[Depends(needs("review"))],
    )
    async def outcomes(request: Request, told: OutcomesRequest) -> Response:
        taken = await _intake(request).take(_entries(told.outcomes), principal_of(request).team, as_shown=True)
        return Response(to_json({"outcomes": [_outcome(one) for one in taken]}), media_type="application/json")


def _add_fits(router: APIRouter) -> None:
    @router.post(
        "/v1/calibrations/fits",
        summary="Fit a calibration",
        description="From stored outcomes, or from an uploaded labelled folder. The fit is a job: ask for it until it has ended.",
        status_code=202,
        response_model=JobAnswer,
        responses=problems(404, 422, 503),
        dependencies=_WRITES,
    )
    async def fit(request: Request, asked: FitRequest) -> JSONResponse:
        services, who = services_of(request), principal_of(request)
        await services.calibrations.own(asked.model, who)
        job = await _fit_jobs(request).start(asked.model, asked.source.as_json(), asked.promote, who.team)
        await note(services.store, actor_of(request), "calibration.fit_started", job.id, job.request)
        return JSONResponse(_told(job), 202, {"Location": f"/v1/jobs/{job.id}"})

    @router.get(
        "/v1/calibrations/{calibration_id}/shadow",
        summary="Compare a calibration with the one in force",
        description="On stored outcomes that neither was fitted on. `better`: the lower end of the mean gain's 95 % confidence sequence is "
        "above 0, and it may be promoted.",
        response_model=ShadowAnswer,
        responses=problems(404, 422, 503),
    )
    async def shadowed(request: Request, calibration_id: Annotated[str, Path(max_length=64)]) -> JSONResponse:
        services = services_of(request)
        return JSONResponse(await shadow(services.store, services.calibrations, calibration_id, principal_of(request)))


def _add_jobs(router: APIRouter) -> None:
    @router.get("/v1/jobs", summary="List the newest jobs", response_model=JobsAnswer, responses=problems(422, 503))
    async def jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JSONResponse:
        return JSONResponse({"jobs": [_job(one) for one in await services_of(request).jobs.newest(limit, principal_of(request).team)]})

    @router.get("/v1/jobs/{job_id}", summary="Read a job", response_model=JobAnswer, responses=problems(404, 422, 503))
    async def job(request: Request, job_id: _JobId) -> JSONResponse:
        return JSONResponse(_told(await services_of(request).jobs.get(job_id, principal_of(request).team)))

    @router.delete(
        "/v1/jobs/{job_id}",
        summary="Cancel a job",
        description="A job that has ended stays as it is.",
        response_model=JobAnswer,
        responses=problems(404, 422, 503),
        dependencies=_WRITES,
    )
    async def cancel(request: Request, job_id: _JobId) -> JSONResponse:
        services = services_of(request)
        team = principal_of(request).team
        before = await services.jobs.get(job_id, team)
        job = await services.jobs.cancel(job_id, team)
        if job.state == "cancelled" and before.state != "cancelled":
            await note(services.store, actor_of(request), "job.cancelled", job.id)
        return JSONResponse(_told(job))


def _intake(request: Request) -> Intake:
    """The intake of this application's services, made when it is first needed."""
    return kept(request.app, "intake", lambda services: Intake(services.store, services.manifests))


def _fit_jobs(request: Request) -> FitJobs:
    return kept(request.app, "fit_jobs", lambda services: FitJobs(services.jobs, services.store, services.manifests))


def _entries(outcomes: Sequence[Any]) -> list[Told]:
    if not outcomes:
        raise NoItems("send at least one outcome")
    if len(outcomes) > MOST:
        raise TooManyItems(f"{len(outcomes)} outcomes; one request takes at most {MOST:,}: send several requests")
    return [_entry(position, value) for position, value in enumerate(outcomes)]


def _entry(position: int, value: Any) -> Told:
    try:
        return OutcomeBody.model_validate(value).as_told()
    except ValidationError as error:
        names = {name: value.get(name) if isinstance(value, dict) else None for name in ("draft", "source")}
        draft, source = (name if isinstance(name, str) else "" for name in names.values())
        return Told(draft, source, error=InvalidRequest(f"outcomes[{position}]: {_words(error)}"))


def _words(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}".removeprefix(": ") for one in error.errors()[:5])


def _outcome(taken: Taken) -> dict[str, Any]:
    names = {"draft": taken.draft, "source": taken.source}
    if taken.error is not None:
        return {**names, "error": problem(taken.error)}
    return {**names, "status": "stored" if taken.stored else "already", "labels": taken.labels, "correct": taken.correct}


def _told(job: Job) -> dict[str, Any]:
    return {"job": _job(job)}


def _job(job: Job) -> dict[str, Any]:
    values = {name: getattr(job, name) for name in JobBody.model_fields}
    moments = {name: value.isoformat() if value is not None else None for name, value in values.items() if name.endswith("_at")}
    return {**values, "progress": round(job.progress, 4), **moments}
