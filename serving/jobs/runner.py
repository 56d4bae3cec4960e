"""Runs jobs: each in a process of its own, one of a kind at a time, which a heartbeat shows to be alive.

This part starts the processes and looks after them; `serving.jobs.worker` is the frame of what runs in them. All that is known of a job
is in the store, so that a server that starts anew finds what an earlier one left.
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

from candor.errors import Conflict, StorageUnavailable, WorkerLost
from serving.config import Settings
from serving.jobs.kinds import KINDS
from serving.jobs.problems import as_problem
from serving.validation.endings import settle_abandoned
from store import Store
from store.jobs import Job, Jobs

SILENT = timedelta(seconds=30)  # a running job that was not heard of for so long is dead
_STOPS_WITHIN = 10.0  # seconds that a process gets to end after it was told to
_TENDS_EVERY = 10.0  # seconds
_CANCELLED = "the job was cancelled: start it again if it is wanted after all"
_log = structlog.get_logger(__name__)


class JobRunner:
    """Starts, watches and cancels the jobs of one server. Belongs to the event loop that uses it first."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._jobs = Jobs(store)
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._tending: asyncio.Task[None] | None = None
        self._closing = False

    async def start(self, kind: str, request: Mapping[str, Any], team: str = "default") -> Job:
        """Queue a job and return it; it runs at once where no other of its kind does."""
        if kind not in KINDS:
            raise ValueError(f"no kind of job: {kind}")
        job = await self._jobs.add(kind, request, team)
        await self.tend()
        return await self._jobs.get(job.id)

    async def get(self, job_id: str, team: str | None = None) -> Job:
        """Return one job, as it is now; with `team` only if it is that team's.

        Raises:
            UnknownJob: there is none of that id.
        """
        await self.tend()
        return await self._jobs.get(job_id, team)

    async def newest(self, limit: int = 100, team: str | None = None) -> list[Job]:
        """Return the newest jobs, newest first; with `team` only that team's."""
        await self.tend()
        return await self._jobs.newest(limit, team)

    async def cancel(self, job_id: str, team: str | None = None) -> Job:
        """Cancel a job; one that has ended stays as it is.

        Raises:
            UnknownJob: there is none of that id.
        """
        before = await self._jobs.get(job_id, team)
        job = await self._jobs.cancel(job_id)
        if job.state == "cancelled":
            if (process := self._processes.get(job_id)) is not None:
                _stop(process)  # one that another server started stops by itself: its heartbeat is no longer taken
            if before.state != "cancelled":
                await KINDS[job.kind].lost(self._store, job, as_problem(Conflict(_CANCELLED)))
        await self.tend()
        return job

    def keep_tending(self) -> None:
        """Tend every few seconds until `close`, so that what an earlier server left is put right though nobody asks."""
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend_on(), name="candor-jobs")

    async def tend(self) -> None:
        """Give up jobs whose process died, and start the next of each kind if none runs."""
        for job in await self._jobs.running():
            if job.id not in self._processes:
                error = WorkerLost("the process that did this job stopped without a word, or the server was started anew: start it again")
                await self._give_up(job.id, error, silent_for=SILENT)
        for job_id in await self._jobs.waiting():
            if self._closing:
                return
            if await self._jobs.claim(job_id):
                job = await self._jobs.get(job_id)
                watching = asyncio.create_task(self._watch(job), name=f"candor-{job_id}")
                self._watching[job_id] = watching
                watching.add_done_callback(lambda _, job_id=job_id: self._watching.pop(job_id, None))  # type: ignore[misc]

    async def close(self) -> None:
        """Stop what runs; its jobs end as failed."""
        self._closing = True
        for task in [*([self._tending] if self._tending else []), *self._watching.values()]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _tend_on(self) -> None:
        while True:
            await asyncio.sleep(_TENDS_EVERY)
            try:
                await self.tend()
                await settle_abandoned(self._store)
            except StorageUnavailable as gone:
                _log.warning("jobs_not_tended", detail=gone.detail)

    async def _watch(self, job: Job) -> None:
        """Run a claimed job's process to its end, see that the job ended too, and go on to the next."""
        job_id = job.id
        folder = Path(tempfile.mkdtemp(prefix="candor-job-"))
        try:
            process = await self._spawn(job, folder)
            self._processes[job_id] = process
            code = await process.wait()
            error = WorkerLost(f"the process that did this job {how_ended(code)} before it was done: start the job again")
        except OSError as refused:
            error = WorkerLost(f"no process can be started for this job: {refused.strerror}")
        except asyncio.CancelledError:
            await self._end(job_id)
            raise
        finally:
            self._processes.pop(job_id, None)
            shutil.rmtree(folder, ignore_errors=True)
        try:
            await self._give_up(job_id, error)
            await self.tend()
        except StorageUnavailable as gone:  # whoever asks next tends again
            _log.warning("job_not_tended", job=job_id, detail=gone.detail)

    async def _spawn(self, job: Job, folder: Path) -> asyncio.subprocess.Process:
        config = folder / "settings.json"
        config.touch(mode=0o600)  # it may hold the database's password
        config.write_text(json.dumps(self._settings.model_dump(mode="json")), encoding="utf-8")
        arguments = ["-m", KINDS[job.kind].module, job.id, "--config", str(config), "--scratch", str(folder)]
        nothing = asyncio.subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=nothing, stdout=nothing)

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
            await self._give_up(job_id, WorkerLost("the server stopped while this job ran: start it again"))

    async def _give_up(self, job_id: str, error: WorkerLost, silent_for: timedelta | None = None) -> None:
        """Let a job that still counts as running fail."""
        problem = as_problem(error)
        if await self._jobs.fail(job_id, problem, silent_for=silent_for):
            _log.error("job_lost", job=job_id, detail=error.detail)
            job = await self._jobs.get(job_id)
            await KINDS[job.kind].lost(self._store, job, problem)


def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()


def how_ended(code: int) -> str:
    """Tell in words how a process ended."""
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
