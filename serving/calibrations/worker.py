"""The process that does one fit: `python -m serving.calibrations.worker JOB_ID --config FILE --scratch DIR`.

`serving.calibrations.fit_jobs` claims the job and starts it. A thread does the work; the event loop says every second that it lives and
how far it is, and ends the process where the job was cancelled or the server that started it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import yaml
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from rich.console import Console

from calibration.record import CalibrationRecord
from candor.errors import CandorError, Internal, StorageUnavailable, WorkerLost
from candor.ids import new_id
from serving.calibrations.archives import unpack
from serving.calibrations.fit_jobs import as_problem
from serving.calibrations.refit import Fitted, fit_outcomes
from serving.calibrations.service import CalibrationService
from serving.composition import opened_store, read_calibrations
from serving.config import Settings
from serving.engine import Engine
from serving.evaluation.calibrate import calibrate, display_threshold
from serving.evaluation.datasets import read_folder
from serving.evaluation.evaluate import Run
from serving.evaluation.examples import Example
from serving.evaluation.model import OpenedModel, open_model
from serving.evaluation.predict import predict_all
from serving.evaluation.rows import Outcome
from serving.loading import build_catalog, engine_options, load_version
from serving.telemetry import configure_logs
from store import Blobs, Store
from store.jobs import Job, Jobs

NICE = 10
_BEAT = 1.0  # seconds
_QUIET = Console(quiet=True)
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Progress:
    """How far the work is; the working thread sets it, the heartbeat reads it."""

    share: float = 0.0
    step: str = "starting"

    def at(self, share: float, step: str) -> None:
        """Say what is done now."""
        self.share, self.step = share, step


class _Resolved(Settings):
    """The settings of the server that started this process: it has read the environment, and made its paths absolute."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given."""
        return (init_settings,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the job and return the process's exit code."""
    parser = argparse.ArgumentParser(prog="serving.calibrations.worker")
    parser.add_argument("job")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    given = parser.parse_args(arguments)
    os.nice(NICE)
    settings = _Resolved(**yaml.safe_load(given.config.read_text(encoding="utf-8")))
    configure_logs(settings.server, f"fit-{os.getpid()}")
    return asyncio.run(run_job(given.job, settings, given.scratch, parent=os.getppid()))


async def run_job(job_id: str, settings: Settings, scratch: Path, parent: int | None = None) -> int:
    """Do a claimed job; 0 where its row says how it ended. `parent` is the process without which it is not to go on."""
    async with opened_store(settings) as (store, blobs):
        jobs, progress = Jobs(store), Progress()
        if not await jobs.beat(job_id, 0.0, progress.step):
            return 1  # cancelled before it began
        beating = asyncio.create_task(_beat(jobs, job_id, progress, scratch, parent))
        try:
            job = await jobs.get(job_id)
            result = await _Fit(settings, store, blobs, progress, scratch).do(job)
            beating.cancel()
            await jobs.finish(job_id, result)
        except Exception as raised:  # noqa: BLE001 - whatever it is, the job says so
            beating.cancel()
            await jobs.fail(job_id, as_problem(_told(raised, job_id)))
    return 0


async def _beat(jobs: Jobs, job_id: str, progress: Progress, scratch: Path, parent: int | None) -> None:
    while True:
        await asyncio.sleep(_BEAT)
        try:
            wanted = await jobs.beat(job_id, progress.share, progress.step)
        except StorageUnavailable as error:
            _log.warning("heartbeat_missed", job=job_id, detail=error.detail)
            continue
        if not wanted or (parent is not None and os.getppid() != parent):
            if wanted:
                await jobs.fail(job_id, as_problem(WorkerLost("the server stopped while this job ran: start it again")))
            shutil.rmtree(scratch, ignore_errors=True)
            os._exit(1)  # the working thread can't be interrupted otherwise


def _told(raised: Exception, job_id: str) -> CandorError:
    if isinstance(raised, CandorError):
        return raised
    incident = new_id("inc")
    _log.error("job_failed", job=job_id, incident=incident, exc_info=raised)
    return Internal(f"look up {incident} in the log")


class _Fit:
    """One fit, from its request to the stored record."""

    def __init__(self, settings: Settings, store: Store, blobs: Blobs, progress: Progress, scratch: Path) -> None:
        self._settings = settings
        self._store = store
        self._blobs = blobs
        self._progress = progress
        self._scratch = scratch
        self._service = CalibrationService(store, build_catalog(settings), read_calibrations(settings))

    async def do(self, job: Job) -> dict[str, Any]:
        """Return the job's result.

        Raises:
            CandorError: no calibration can be made from these data; the detail says why.
        """
        source = job.request["from"]
        fitted = await (self._from_upload(job) if "upload" in source else self._from_outcomes(job))
        self._progress.at(0.95, "storing the record")
        kept = await self._service.add(fitted.record, job.id)
        result = {"calibration": kept.record.id, "status": kept.record.status, "reason": kept.record.reason, "promotion": fitted.promotion}
        promoted = job.request["promote"] == "if_better" and fitted.better
        if promoted:
            await self._service.promote(kept.record.id, {"job": job.id, **fitted.promotion})
        return {**result, "promoted": promoted}

    async def _from_outcomes(self, job: Job) -> Fitted:
        self._progress.at(0.1, "reading outcomes")
        catalog = build_catalog(self._settings)
        manifest = catalog.resolve(job.request["model"]).manifest
        now = (await self._service.of_version(*job.request["model"].split("@", 1))).now
        return await fit_outcomes(self._store, manifest, job.request["from"]["outcomes"], now.record, self._progress.at)

    async def _from_upload(self, job: Job) -> Fitted:
        source = job.request["from"]
        self._progress.at(0.02, "unpacking the upload")
        data = await self._blobs.get(source["upload"])
        record = await asyncio.to_thread(self._calibrated, job.request["model"], data, source)
        return Fitted(record, {"decision": "not_compared", "reason": _NOT_COMPARED}, better=False)

    def _calibrated(self, model: str, data: bytes, source: dict[str, Any]) -> CalibrationRecord:
        target = self._scratch / "data"
        target.mkdir()
        place = unpack(data, target)
        self._progress.at(0.1, "reading the labels")
        opened = open_model(self._settings, model, None, _QUIET)
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
    raise SystemExit(main())
