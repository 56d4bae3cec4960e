"""Puts the parts of one process together, and takes them apart in the right order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from calibration.record import CalibrationRecord, load
from candor.errors import CandorError
from candor.families import LoadedModel
from candor.predictions import Task
from models.catalog import Catalog
from serving import metrics
from serving.arms.assigning import Arms
from serving.batching import BatchReport
from serving.calibrations.book import Book
from serving.config import Settings
from serving.drafting import Knowledge, LocalDrafter, Sources
from serving.engine import Engine
from serving.loading import build_catalog, engine_options, engine_settings, load_version, media_limits
from serving.media import MediaFetcher
from serving.projects.book import ProjectBook
from serving.registry.book import RegistryBook
from serving.registry.installing import Installer
from serving.registry.loading import Loader
from serving.requests import Drafter
from serving.reviewing.people import People
from serving.routing import Router
from store import Blobs, Store, open_store
from store.calibrations import Calibrations
from store.registry import Registry

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[tuple[Store, Blobs]]:
    """Open the database and the uploads.

    Raises:
        StorageUnavailable: they can't be opened.
    """
    store = await open_store(settings.storage.database_url, sqlite_synchronous=settings.storage.sqlite_synchronous)
    try:
        yield store, Blobs(settings.storage.blobs, store)
    finally:
        await store.close()


def check_store(settings: Settings) -> None:
    """Open the database once, with its migrations, before anything else is started.

    Raises:
        StorageUnavailable: it can't be opened; the detail says why.
    """

    async def check() -> None:
        async with opened_store(settings) as (store, _):
            await store.ping()

    asyncio.run(check())


@asynccontextmanager
async def local_drafters(settings: Settings, tasks: Sequence[Task], store: Store, blobs: Blobs) -> AsyncIterator[dict[Task, LocalDrafter]]:
    """Give a drafter for each task in this process; their default models load in the background.

    Raises:
        InvalidRequest: a calibration can't be read.
        StorageUnavailable: the database can't be used.
    """
    catalog = build_catalog(settings)
    configured = read_calibrations(settings)
    book = await _opened_book(store, configured)
    models = registry_book(store, catalog)
    installer = Installer(settings.storage.models, blobs.fetch_to)
    async with AsyncExitStack() as stack:
        fetcher = MediaFetcher(settings.media, settings.limits.item_bytes)
        stack.push_async_callback(fetcher.close)
        sources = Sources(store, blobs, fetcher)
        knowledge = Knowledge(models, book, ProjectBook(store, settings), Arms(store, People(store)))
        loaders = {task: Loader(catalog, models, installer, task, engine_settings(settings, task)) for task in tasks}
        drafters = {task: _drafter(settings, catalog, loaders[task], sources, knowledge) for task in tasks}
        warming: list[asyncio.Task[None]] = [asyncio.create_task(_swept(models, installer))]
        for drafter in drafters.values():
            stack.push_async_callback(drafter.close)
            warming.append(asyncio.create_task(drafter.warm()))
        try:
            yield drafters
        finally:
            for task in warming:
                task.cancel()
            await asyncio.gather(*warming, return_exceptions=True)


def router(settings: Settings, drafters: Mapping[Task, Drafter], store: Store) -> Router:
    """Return the general drafter over those of the tasks."""
    catalog = build_catalog(settings)
    return Router(drafters, catalog, registry_book(store, catalog), ProjectBook(store, settings))


def registry_book(store: Store, catalog: Catalog) -> RegistryBook:
    """Return the models of the configuration and the registered ones, as one process knows them; nothing is read yet."""
    return RegistryBook(Registry(store), catalog)


def read_calibrations(settings: Settings) -> dict[str, CalibrationRecord]:
    """Read the configured calibration of each model.

    Raises:
        InvalidRequest: one is missing, is not a record, or was edited.
    """
    return {name: load(model.calibration) for name, model in settings.models.items() if model.calibration is not None}


async def _opened_book(store: Store, configured: Mapping[str, CalibrationRecord]) -> Book:
    """Store the configuration's records, so that every calibration that a draft was shown with can be looked up, and read what is so."""
    calibrations = Calibrations(store)
    for record in configured.values():
        await calibrations.add(record.as_json(), "configuration")
    book = Book(calibrations, configured)
    await book.read()
    return book


async def _swept(models: RegistryBook, installer: Installer) -> None:
    """Remove the files of versions that were deleted; where that does not go, they take room, and that is all."""
    try:
        await models.read()
        if removed := await asyncio.to_thread(installer.sweep, models.manifests()):
            _log.info("versions_swept", removed=removed)
    except (CandorError, OSError) as error:
        _log.warning("versions_not_swept", detail=str(error))


def _drafter(settings: Settings, catalog: Catalog, loader: Loader, sources: Sources, knowledge: Knowledge) -> LocalDrafter:
    task = loader.task

    def load_model(version: str) -> LoadedModel:
        installed = loader.installed(version)
        if passed_over := knowledge.book.passed_over(installed.manifest):
            _log.warning("calibration_not_applied", calibration=passed_over[0], reason=passed_over[1])
        return load_version(installed, loader.how)

    def report(_version: str, done: BatchReport) -> None:
        metrics.batch(task, done)

    engine = Engine(load_model, engine_options(loader.how, media_limits(settings)), report, loader.bring)
    return LocalDrafter(task, settings.tasks[task].model, catalog, engine, sources, settings, knowledge)
