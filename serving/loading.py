"""From settings to what runs: the catalog of models, devices, engines and loaded versions."""

from __future__ import annotations

import os
import time

import structlog

from candor.errors import ModelUnavailable, StorageUnavailable, UnsafeArtifact
from candor.families import Device, LoadedModel, MediaLimits
from candor.predictions import Task
from models.catalog import Catalog, Installed, ModelEntry
from models.isolated import family_for
from serving.config import EngineSettings, Settings, cache_home
from serving.engine import EngineOptions

_log = structlog.get_logger(__name__)


def build_catalog(settings: Settings) -> Catalog:
    """Return the catalog of the configured models; nothing is installed yet."""
    entries = [
        ModelEntry(name, model.task, model.family, model.source, model.options, model.calibration, model.aliases)
        for name, model in settings.models.items()
    ]
    return Catalog(entries, settings.storage.models, cache_home(settings))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def media_limits(settings: Settings) -> MediaLimits:
    """Return what families refuse."""
    return MediaLimits(settings.limits.pixels, settings.limits.audio_seconds)


def engine_settings(settings: Settings, task: Task) -> EngineSettings:
    """Return the engine settings of a task, also of one that this server does not draft."""
    return settings.engine_for(task) if task in settings.tasks else settings.engine


def engine_options(engine: EngineSettings, limits: MediaLimits) -> EngineOptions:
    """Return how an engine runs its models."""
    return EngineOptions(limits, engine.max_batch, engine.prepare_threads or cores(), engine.cache_bytes)


def device_for(engine: EngineSettings) -> Device:
    """Return where models run. `auto` imports torch to look for a GPU."""
    name = engine.device
    if name == "auto":
        from models.families._device import best_device  # noqa: PLC0415 - imports torch

        name = best_device()
    return Device(
        name=name,
        dtype=engine.dtype,
        threads=engine.threads or cores(),
        max_batch=engine.max_batch,
        channels_last=engine.channels_last,
        compile=engine.compile,
        memory_fraction=engine.memory_fraction,
    )


def load_version(installed: Installed, engine: EngineSettings) -> LoadedModel:
    """Verify, load and warm one installed version. Blocks; call it in a thread.

    Raises:
        CandorError: its files are not what the manifest says, or it can't run here.
    """
    model = family_for(installed.manifest.family).load(installed.manifest, installed.verify(), device_for(engine))
    model.warmup()
    return model


def install_all(settings: Settings) -> None:
    """Install every configured model that is not there yet, before the server starts; progress goes to the log.

    A model that can't be installed does not keep the others from serving: its task says so.

    Raises:
        CandorError: the configuration is wrong.
    """
    catalog = build_catalog(settings)
    for name in settings.models:
        if catalog.installed(name) is not None:
            continue
        try:
            _log.info("installing", model=name)
            catalog.install(name, _Steps(name))
        except (ModelUnavailable, UnsafeArtifact, StorageUnavailable) as error:
            _log.error("model_unavailable", model=name, detail=error.detail)


class _Steps:
    """Logs each step of an installation once, and a long one every ten seconds."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._what = ""
        self._told = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what or now - self._told > 10:
            self._what, self._told = what, now
            _log.info("installing", model=self._model, step=what, done_bytes=done, of_bytes=total)
