"""Fits as jobs: each in a process of its own, one at a time, which a heartbeat shows to be alive.

This part starts the process and looks after it; `serving.calibrations.worker` is what runs in it. All that is known of a job is in the
store, so that a server that starts anew finds what an earlier one left.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from candor.errors import CandorError, StorageUnavailable, WorkerLost
from models.catalog import Catalog
from serving.config import Settings
from store import Store
from store.jobs import Job, Jobs

KIND = "calibration_fit"
SILENT = timedelta(seconds=30)  # a running job that was not heard of for so long is dead
_STOPS_WITHIN = 10.0  # seconds that a process gets to end after it was told to
_log = structlog.get_logger(__name__)


def as_problem(error: CandorError) -> dict[str, Any]:
    """Return an error as a job keeps it: the fields of a problem."""
    kept = {"type": f"/problems/{error.code}", "title": error.title, "status": error.status, "code": error.code}
    return {**kept, "detail": error.detail, "retryable": error.retryable}


class FitJobs:
    """Starts, watches and cancels the fits of one server. Belongs to the event loop that uses it first."""

    def __init__(self, settings: Settings, store: Store, catalog: Catalog) -> None:
        self._settings = settings
        self._store = store
        self._catalog = catalog
        self._jobs = Jobs(store)
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._closing = False

    async def start(self, model: str, source: Mapping[str, Any], promote: str) -> Job:
        """Queue a fit and return its job.

        Args:
            model: Name, name@version or name@alias.
            source: {"outcomes": {"streams": […], "after": …}} or {"upload": …, "name": …, "caveat": …, "split": …}.
            promote: `never` or `if_better`.

        Raises:
            UnknownModel, UnknownAlias, ModelUnavailable, UnknownUpload: what it needs is not here.
        """
        manifest = self._catalog.resolve(model).manifest
        if "upload" in source:
            await self._store.upload_sha256(source["upload"])
        job = await self._jobs.add(KIND, {"model": manifest.version, "from": dict(source), "promote": promote})
        await self.tend()
        return await self._jobs.get(job.id)

    async def get(self, job_id: str) -> Job:
        """Return one job, as it is now.

        Raises:
            UnknownJob: there is none of that id.
        """
        await self.tend()
        return await self._jobs.get(job_id)

    async def newest(self, limit: int = 100) -> list[Job]:
        """Return the newest jobs, newest first."""
        await self.tend()
        return await self._jobs.newest(limit)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; one that has ended stays as it is.

        Raises:
            UnknownJob: there is none of that id.
        """
        job = await self._jobs.cancel(job_id)
        if (process := self._processes.get(job_id)) is not None and job.state == "cancelled":
            _stop(process)  # one that another server started stops by itself: its heartbeat is no longer taken
        await self.tend()
        return job

    async def tend(self) -> None:
        """Give up jobs whose process died, and start the next one if none runs."""
        for job in await self._jobs.running():
            if job.id not in self._processes:
                error = WorkerLost("the process that did this job stopped without a word, or the server was started anew: start it again")
                if await self._jobs.fail(job.id, as_problem(error), silent_for=SILENT):
                    _log.error("job_lost", job=job.id)
        for job_id in await self._jobs.waiting():
            if self._closing or not await self._jobs.claim(job_id):
                return
            watching = asyncio.create_task(self._watch(job_id), name=f"candor-{job_id}")
            self._watching[job_id] = watching
            watching.add_done_callback(lambda _, job_id=job_id: self._watching.pop(job_id, None))  # type: ignore[misc]

    async def close(self) -> None:
        """Stop what runs; its jobs end as failed."""
        self._closing = True
        for task in list(self._watching.values()):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _watch(self, job_id: str) -> None:
        """Run a claimed job's process to its end, see that the job ended too, and go on to the next."""
        folder = Path(tempfile.mkdtemp(prefix="candor-job-"))
        try:
            process = await self._spawn(job_id, folder)
            self._processes[job_id] = process
            code = await process.wait()
            error = WorkerLost(f"the process that did this job {_how(code)} before it was done: start the job again")
        except OSError as refused:
            error = WorkerLost(f"no process can be started for this job: {refused.strerror}")
        except asyncio.CancelledError:
            await self._end(job_id)
            raise
        finally:
            self._processes.pop(job_id, None)
            shutil.rmtree(folder, ignore_errors=True)
        try:
            if await self._jobs.fail(job_id, as_problem(error)):
                _log.error("job_lost", job=job_id, detail=error.detail)
            await self.tend()
        except StorageUnavailable as gone:  # whoever asks next tends again
            _log.warning("job_not_tended", job=job_id, detail=gone.detail)

    async def _spawn(self, job_id: str, folder: Path) -> asyncio.subprocess.Process:
        config = folder / "settings.json"
        config.write_text(json.dumps(self._settings.model_dump(mode="json")), encoding="utf-8")
        arguments = [job_id, "--config", str(config), "--scratch", str(folder)]
        nothing = asyncio.subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "serving.calibrations.worker", *arguments, stdin=nothing, stdout=nothing
        )

    async def _end(self, job_id: str) -> None:
        """Stop a job's process as the server stops."""
        process = self._processes.get(job_id)
        if process is None:
            return
        _stop(process)
        try:
            await asyncio.wait_for(process.wait(), _STOPS_WITHIN)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        with suppress(StorageUnavailable):  # the store may be closed: then the next server finds the job silent
            await self._jobs.fail(job_id, as_problem(WorkerLost("the server stopped while this job ran: start it again")))


def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
