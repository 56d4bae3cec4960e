"""Open one model of the configuration in this process, behind the same engine that serves it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.status import Status

from candor.families import MediaLimits
from candor.manifest import Manifest
from models.catalog import Installed
from serving.config import EngineSettings, Settings
from serving.engine import Engine
from serving.evaluation.examples import Example
from serving.evaluation.predict import predict_all, progress_bar
from serving.evaluation.rows import Outcome
from serving.loading import build_catalog, engine_options, engine_settings, load_version, media_limits


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """An installed model version, and how the configuration says to run it."""

    installed: Installed
    engine: EngineSettings
    limits: MediaLimits

    @property
    def manifest(self) -> Manifest:
        """The version's manifest."""
        return self.installed.manifest

    def predict(self, examples: Sequence[Example], console: Console) -> tuple[list[Outcome], float]:
        """Return one outcome per example, in order, and the seconds that they took once the model was loaded.

        Raises:
            CandorError: the model can't be loaded.
        """
        return asyncio.run(self._predict(examples, console))

    async def _predict(self, examples: Sequence[Example], console: Console) -> tuple[list[Outcome], float]:
        version, options = self.manifest.version, engine_options(self.engine, self.limits)
        engine = Engine(lambda _version: load_version(self.installed, self.engine), options)
        try:
            with Status(f"loading {self.manifest.name}", console=console):
                await engine.warm(version)
            start = time.perf_counter()
            with progress_bar(len(examples), self.manifest.name, console) as done:
                at_once = 2 * options.max_batch + options.prepare_threads
                outcomes = await predict_all(engine, version, examples, at_once=at_once, done=done)
            return outcomes, time.perf_counter() - start
        finally:
            await engine.close()


def open_model(settings: Settings, reference: str, batch: int | None, console: Console) -> OpenedModel:
    """Install a model if need be and return it, not loaded yet. `batch` overrides the configured largest batch.

    Raises:
        CandorError: there is no such model, version or alias, or it can't be installed; the detail says what to do.
    """
    catalog = build_catalog(settings)
    name = reference.partition("@")[0]
    with Status(f"installing {name}", console=console) as status:
        installed = catalog.install(name, lambda what, done, total: status.update(what))
    if "@" in reference:
        installed = catalog.resolve(reference)
    engine = engine_settings(settings, installed.manifest.task)
    engine = engine.model_copy(update={"max_batch": batch}) if batch else engine
    return OpenedModel(installed, engine, media_limits(settings))
