"""`POST /v1/reviews`, and reviewers who are one person."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic_core import to_json

from candor.errors import InvalidRequest, NoItems, TooManyItems
from serving.api.access import actor_of, kept, needs, principal_of
from serving.api.drafts import problems
from serving.api.projects import PROJECT_NAME
from serving.api.review_schemas import MergeBody, MergedAnswer, ReviewBody, ReviewsAnswer, ReviewsRequest
from serving.api.services import Services, services_of
from serving.calibrations.outcomes import Intake
from serving.http.problems import problem
from serving.reviewing import alarms
from serving.reviewing.intake import Answer, Reported, ReviewIntake
from serving.reviewing.people import People
from store import Store
from store.projects import Projects
from store.reviews import Reviews

MOST = 10_000  # reviews in one request
Project = Annotated[str, Path(pattern=PROJECT_NAME)]


def reviews_router() -> APIRouter:
    """Return the routes of reviews."""
    router = APIRouter(tags=["review"])
    _add_intake(router)
    _add_merging(router)
    return router


def intake_of(request: Request) -> ReviewIntake:
    """Return the intake of this application's services, made when it is first needed."""
    return kept(request.app, "review_intake", intake_from)


def intake_from(services: Services) -> ReviewIntake:
    """Return an intake of reviews, for whatever takes them in: a platform's own protocol does as this API does."""
    outcomes = Intake(services.store, services.manifests)
    return ReviewIntake(services.store, services.manifests, outcomes, look=partial(alarms.look, services.store))


def _add_intake(router: APIRouter) -> None:
    @router.post(
        "/v1/reviews",
        summary="Report reviews",
        description="What people did with drafts. Candor derives from the labels whether a draft was accepted, corrected or rejected. "
        "The same `event_id` with the same content changes nothing; with other content it is a new revision, and the one that was "
        f"finished last counts. An entry that is wrong carries its error; the others are stored. At most {MOST:,} entries.",
        response_model=ReviewsAnswer,
        responses=problems(413, 422, 503),
        dependencies=[Depends(needs("review"))],
    )
    async def reviews(request: Request, told: ReviewsRequest) -> Response:
        entries = await asyncio.to_thread(_entries, told.reviews)
        team = principal_of(request).team
        taken = await intake_of(request).take(entries, team)
        doubted = await _doubted(services_of(request).store, team, taken)
        return Response(to_json({"reviews": [_told(one, doubted) for one in taken]}), media_type="application/json")


def _add_merging(router: APIRouter) -> None:
    @router.post(
        "/v1/projects/{name}/reviewers/merge",
        summary="Count a reviewer as another one",
        description="Where somebody was renamed, or has two names. Reviews keep the name that they came with, so that it can be undone: "
        "merge the name into itself.",
        response_model=MergedAnswer,
        responses=problems(404, 409, 422, 503),
        dependencies=[Depends(needs("register"))],
    )
    async def merge(request: Request, name: Project, body: MergeBody) -> JSONResponse:
        actor, store = actor_of(request), services_of(request).store
        await Projects(store).get(actor.team, name)
        await Reviews(store).merge(actor, name, body.reviewer, body.into)
        return JSONResponse({"merged": await Reviews(store).merged(actor.team, name)})


def _entries(reviews: Sequence[Any]) -> list[Reported]:
    if not reviews:
        raise NoItems("send at least one review")
    if len(reviews) > MOST:
        raise TooManyItems(f"{len(reviews):,} reviews; one request takes at most {MOST:,}: send several requests")
    return [_entry(position, value) for position, value in enumerate(reviews)]


def _entry(position: int, value: Any) -> Reported:
    try:
        return ReviewBody.model_validate(value).as_reported()
    except ValidationError as error:
        told = value.get("event_id") if isinstance(value, dict) else None
        named = told.encode(errors="replace").decode() if isinstance(told, str) else ""
        return Reported(named, error=InvalidRequest(f"reviews[{position}]: {_words(error)}"))


def _words(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}".removeprefix(": ") for one in error.errors()[:5])


async def _doubted(store: Store, team: str, taken: Sequence[Answer]) -> set[tuple[str, str]]:
    """Return the projects and reviewers whose work somebody else is to look at too."""
    people = People(store)
    known = {(one.row.project, one.row.reviewer) for one in taken if one.row is not None and one.row.project}
    return {whom for whom in sorted(known) if await people.second_review_for(team, *whom)}


def _told(answer: Answer, doubted: set[tuple[str, str]]) -> dict[str, Any]:
    """Return an entry of the answer. Nothing of it may tell an arm: verdicts are about what was shown, and no more is said."""
    if answer.error is not None or answer.row is None:
        return {"event_id": answer.event_id, "error": problem(answer.error or InvalidRequest())}
    row = answer.row
    return {
        "event_id": answer.event_id,
        **{name: getattr(row, name) for name in ("id", "draft", "item")},
        "status": "stored" if answer.stored else "already",
        "counts": answer.counts,
        "verdict": row.verdict,
        "second_review": (row.project, row.reviewer) in doubted,
        "note": answer.note,
    }
