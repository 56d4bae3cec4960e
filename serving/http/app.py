"""The FastAPI application, without Ray: the same one in a test, in a task's deployment, and in the control one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from candor import __version__
from candor.errors import CandorError
from candor.predictions import TASKS, Task
from serving.api.arms import arms_router
from serving.api.calibration_jobs import jobs_router
from serving.api.calibrations import calibrations_router
from serving.api.connections import connections_router
from serving.api.drafts import drafts_router, stored_router
from serving.api.exports import exports_router
from serving.api.gold import gold_router
from serving.api.keys import keys_router
from serving.api.models import models_router
from serving.api.projects import projects_router
from serving.api.review_figures import review_figures_router
from serving.api.reviewers import reviewers_router
from serving.api.reviews import reviews_router
from serving.api.schemas import DraftsRequest
from serving.api.services import Services
from serving.api.system import system_router
from serving.api.teams import teams_router
from serving.api.uploads import uploads_router
from serving.api.webhooks import webhooks_router
from serving.http.authentication import Authentication, is_open
from serving.http.middleware import RequestScope
from serving.http.problems import MEDIA_TYPE, handle
from serving.protocols.routers import protocol_routers

Start = Callable[[], AbstractAsyncContextManager[Services]]


def create_app(start: Start, body_bytes: int, tasks: Sequence[Task] = TASKS, *, control: bool = True, echo_id: bool = True) -> FastAPI:
    """Build the application.

    Args:
        start: makes the services when the application starts, and ends them when it stops.
        body_bytes: the largest request body.
        tasks: whose own drafting routes are served.
        control: serve everything else too: `/v1/drafts`, calibrations, jobs, models, uploads, health, documentation.
        echo_id: put the request's id on the answer; Ray Serve does so itself.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with start() as services:
            app.state.services = services
            yield

    # The pages of /docs come from a package: a labeling site may have no way to the internet.
    kind = FastAPIOffline if control else FastAPI
    hidden: dict[str, Any] = {} if control else {"openapi_url": None}
    app = kind(title="Candor", version=__version__, description=_DESCRIPTION, lifespan=lifespan, **hidden)
    app.add_middleware(Authentication)  # within the next one, which answers what it raises
    app.add_middleware(RequestScope, body_bytes=body_bytes, echo_id=echo_id)
    for raised in (CandorError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(raised, handle)
    for task in tasks:
        app.include_router(drafts_router(task))
    if control:
        routers = (
            drafts_router(None),
            stored_router(),
            uploads_router(),
            projects_router(),
            arms_router(),
            connections_router(),
            gold_router(),
            exports_router(),
            reviews_router(),
            reviewers_router(),
            review_figures_router(),
            models_router(),
            calibrations_router(),
            jobs_router(),
            keys_router(),
            teams_router(),
            webhooks_router(),
            system_router(),
        )
        for router in (*routers, *protocol_routers()):
            app.include_router(router)
        _describe(app)
    return app


def build_routes(app: FastAPI) -> None:
    """Build all routes now. FastAPI does so as the first request passes them, and Label Studio gives that request one second."""
    for route in app.routes:
        route.matches({"type": "http", "method": "GET", "path": "/no/such/path", "root_path": "", "headers": []})


_DESCRIPTION = """Drafts of labels with confidences that mean what they say.

Errors are RFC 9457 problems. Every answer carries `X-Request-Id`. Times are seconds, timestamps RFC 3339 in UTC, boxes pixels
`xyxy` of the image after EXIF rotation. A request needs an API key of your team, as `Authorization: Bearer cdr_…`; what belongs to another
team is answered as if it did not exist."""


_KEYS = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, `cdr_…`. A server that was started with `--no-auth` asks for none.",
    },
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key, for clients that can't set the other header.",
    },
}
_REFUSALS = {401: "No valid API key", 403: "The key lacks the scope, or the team its room"}


def _problem(told: str) -> dict[str, Any]:
    return {"description": told, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def _describe(app: FastAPI) -> None:
    """Add the request body that is read by hand to the OpenAPI document."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        document = generated()
        schema = DraftsRequest.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document["components"]["schemas"]
        schemas.update(schema.pop("$defs", {}))
        schemas[DraftsRequest.__name__] = schema
        document["components"]["securitySchemes"] = _KEYS
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if not is_open(path):
                    operation["security"] = [{name: []} for name in _KEYS]
                    operation["responses"] |= {str(code): _problem(told) for code, told in _REFUSALS.items()}
                for answer in operation["responses"].values():
                    _only_a_problem(answer.get("content", {}))
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _only_a_problem(content: dict[str, Any]) -> None:
    """FastAPI describes every answer as of the route's own type too; an error is never that."""
    for own in [kind for kind in content if MEDIA_TYPE in content and kind != MEDIA_TYPE]:
        content[MEDIA_TYPE] = content.pop(own)


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document of the whole API; nothing is started."""

    def never() -> AbstractAsyncContextManager[Services]:
        raise RuntimeError("this application only describes itself")

    return create_app(never, 1).openapi()
