"""The process that does one fit: `python -m serving.calibrations.worker`; `serving.jobs.worker` is its frame."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from calibration.record import CalibrationRecord
from models.catalog import Installed
from serving.access import Principal
from serving.calibrations.archives import unpack
from serving.calibrations.manifests import Manifests
from serving.calibrations.refit import Fitted, fit_outcomes
from serving.calibrations.service import CalibrationService
from serving.composition import read_calibrations, registry_book
from serving.engine import Engine
from serving.evaluation.calibrate import calibrate, display_threshold
from serving.evaluation.datasets import read_folder
from serving.evaluation.evaluate import Run
from serving.evaluation.examples import Example
from serving.evaluation.model import OpenedModel, open_model
from serving.evaluation.predict import predict_all
from serving.evaluation.rows import Outcome
from serving.jobs.worker import Place, main
from serving.loading import build_catalog, engine_options, engine_settings, load_version, media_limits
from serving.registry.installing import Installer
from store.jobs import Job

_QUIET = Console(quiet=True)


async def fit(place: Place, job: Job) -> dict[str, Any]:
    """Do one fit and return the job's result."""
    return await _Fit(place).do(job)


def _who(job: Job) -> Principal:
    """A fit may do what whoever started it may: it was asked for with a key of the team."""
    return Principal(job.team, job.id, frozenset({"register"}))


class _Fit:
    """One fit, from its request to the stored record."""

    def __init__(self, place: Place) -> None:
        self._settings = place.settings
        self._store = place.store
        self._blobs = place.blobs
        self._progress = place.progress
        self._scratch = place.scratch
        self._models = registry_book(place.store, build_catalog(place.settings))
        self._manifests = Manifests(self._models)
        self._service = CalibrationService(place.store, self._manifests, read_calibrations(place.settings))

    async def do(self, job: Job) -> dict[str, Any]:
        """Return the job's result.

        Raises:
            CandorError: no calibration can be made from these data; the detail says why.
        """
        source, who = job.request["from"], _who(job)
        fitted = await (self._from_upload(job) if "upload" in source else self._from_outcomes(job))
        self._progress.at(0.95, "storing the record")
        kept = await self._service.add(fitted.record, job.id, who)
        result = {"calibration": kept.record.id, "status": kept.record.status, "reason": kept.record.reason, "promotion": fitted.promotion}
        promoted = job.request["promote"] == "if_better" and fitted.better
        if promoted:
            await self._service.promote(kept.record.id, {"job": job.id, **fitted.promotion}, who)
        return {**result, "promoted": promoted}

    async def _from_outcomes(self, job: Job) -> Fitted:
        self._progress.at(0.1, "reading outcomes")
        manifest = await self._manifests.manifest(job.request["model"], job.team)
        now = (await self._service.of_version(job.request["model"], _who(job))).now
        return await fit_outcomes(self._store, manifest, job.request["from"]["outcomes"], now.record, self._progress.at)

    async def _from_upload(self, job: Job) -> Fitted:
        source = job.request["from"]
        self._progress.at(0.02, "unpacking the upload")
        data = await self._blobs.get(source["upload"])
        opened = await self._opened(job.request["model"], job.team)
        record = await asyncio.to_thread(self._calibrated, opened, data, source)
        return Fitted(record, {"decision": "not_compared", "reason": _NOT_COMPARED}, better=False)

    async def _opened(self, model: str, team: str) -> OpenedModel:
        """Return a version of the configuration, or a registered one whose files are brought here if they are not."""
        await self._models.refresh(model, team)
        content = self._models.content(self._models.manifest(model, team).version)
        if content is None:
            return await asyncio.to_thread(open_model, self._settings, model, None, _QUIET)
        folder = await Installer(self._settings.storage.models, self._blobs.fetch_to).bring(content.manifest, content.bytes)
        engine = engine_settings(self._settings, content.manifest.task)
        batch = min(engine.max_batch, content.report.get("max_batch") or engine.max_batch)
        how = engine.model_copy(update={"max_batch": batch})
        return OpenedModel(Installed(content.manifest, folder), how, media_limits(self._settings))

    def _calibrated(self, opened: OpenedModel, data: bytes, source: dict[str, Any]) -> CalibrationRecord:
        target = self._scratch / "data"
        target.mkdir()
        place = unpack(data, target)
        self._progress.at(0.1, "reading the labels")
        display_threshold(opened.manifest)
        folder = read_folder(place, opened.manifest, source.get("split"))
        outcomes, seconds = asyncio.run(self._predicted(opened, folder.examples))
        self._progress.at(0.8, "fitting and measuring")
        run = Run(folder, opened.manifest, outcomes, seconds)
        return calibrate(run, source.get("name") or source["upload"], source.get("caveat", ""))

    async def _predicted(self, opened: OpenedModel, examples: Sequence[Example]) -> tuple[list[Outcome], float]:
        """Run the model over the folder, as `OpenedModel.predict` does, and tell how far it is."""
        version, options = opened.manifest.version, engine_options(opened.engine, opened.limits)
        engine = Engine(lambda _version: load_version(opened.installed, opened.engine), options)
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            self._progress.at(0.15 + 0.65 * done / len(examples), f"drafted {done} of {len(examples)} items")

        try:
            self._progress.at(0.12, f"loading {opened.manifest.name}")
            await engine.warm(version)
            at_once = 2 * options.max_batch + options.prepare_threads
            loop = asyncio.get_running_loop()
            start = loop.time()
            return await predict_all(engine, version, examples, at_once=at_once, done=advance), loop.time() - start
        finally:
            await engine.close()


_NOT_COMPARED = "a calibration from an uploaded set is not compared with the one in force: outcomes of your own drafts show which is better"


if __name__ == "__main__":
    raise SystemExit(main("fit", fit))
