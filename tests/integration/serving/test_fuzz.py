"""The API against its own OpenAPI document: what it describes is what it does, for requests that follow it and requests that don't.

They come with a key that may do everything; schemathesis itself tries without one, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import Case, GenerationMode
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from candor.predictions import TASKS
from serving.api.services import Services
from serving.composition import local_drafters, opened_store, router
from serving.config import Settings
from serving.http.app import create_app, openapi_document
from serving.keys import first_key
from serving.loading import install_all
from tests.unit.serving.served import settings_in


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    settings: Settings = settings_in(folder, media={"allowed_hosts": ["nowhere.invalid"]}, server={"auth": "keys"})
    install_all(settings)
    key = first_key(settings)

    @asynccontextmanager
    async def start() -> AsyncIterator[Services]:
        async with opened_store(settings) as (store, blobs), local_drafters(settings, TASKS, store, blobs) as drafters:
            yield Services(settings, router(settings, drafters, store), store, blobs)

    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(start, settings.limits.body_bytes)), key
    asgi.shutdown_lifespans()


_PATHS = openapi_document()["paths"]
OPERATIONS = [(path, method) for path, operations in _PATHS.items() for method in operations if path != "/readyz"]
TAKING = [(path, method) for path, method in OPERATIONS if "requestBody" in _PATHS[path][method] or "/drafts" in path]
thorough = hypothesis.settings(
    max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)
# What fits the document may still name a model that is not there, or leave the task unclear; and a wrong item is answered in its place.
EXCLUDED: list[Any] = [positive_data_acceptance, negative_data_rejection]


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [(*operation, GenerationMode.POSITIVE) for operation in OPERATIONS] + [(*operation, GenerationMode.NEGATIVE) for operation in TAKING],
)
def test_the_api_is_what_its_document_says(api: Any, path: str, method: str, mode: GenerationMode) -> None:
    described, key = api

    @thorough
    @hypothesis.given(case=described[path][method].as_strategy(generation_mode=mode))
    def documented(case: Case[Any]) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, excluded_checks=EXCLUDED)

    documented()
