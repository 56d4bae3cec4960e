"""Fits as jobs: a process each, one at a time, and an end that is always told. A command that only waits stands for the worker here."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from candor.errors import UnknownJob, UnknownModel, UnknownUpload
from serving.calibrations.fit_jobs import FitJobs
from serving.calibrations.manifests import Manifests
from serving.config import Settings
from serving.jobs.runner import SILENT, JobRunner
from serving.loading import build_catalog
from serving.resolving import CatalogResolver
from store import Store, open_store
from store.jobs import Job, Jobs

OUTCOMES: dict[str, Any] = {"outcomes": {}}


class Waiting(JobRunner):
    """Starts a command instead of the worker; `folders` are those that the worker would have got."""

    command: tuple[str, ...] = ("sleep", "60")

    def __init__(self, settings: Settings, store: Store) -> None:
        super().__init__(settings, store)
        self.folders: list[Path] = []
        self.fits = FitJobs(self, store, Manifests(CatalogResolver(build_catalog(settings))))

    async def _spawn(self, job: Job, folder: Path) -> asyncio.subprocess.Process:
        self.folders.append(folder)
        return await asyncio.create_subprocess_exec(*self.command)

    async def process(self, job: Job) -> asyncio.subprocess.Process:
        while job.id not in self._processes:
            await asyncio.sleep(0.001)
        return self._processes[job.id]

    async def ended(self, job: Job) -> Job:
        """Return the job when its process has ended and that was seen."""
        while (watching := self._watching.get(job.id)) is not None:
            await asyncio.wait([watching])
            await asyncio.sleep(0)
        return await self._jobs.get(job.id)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    opened = await open_store(settings.storage.database_url, sqlite_synchronous="normal", migrate=False)
    yield opened
    await opened.close()


@pytest.fixture
async def fits(settings: Settings, store: Store) -> AsyncIterator[Waiting]:
    made = Waiting(settings, store)
    yield made
    await made.close()


async def test_a_job_says_what_was_asked_and_runs_at_once(fits: Waiting, settings: Settings) -> None:
    job = await fits.fits.start("namer", OUTCOMES, "if_better")
    assert (job.state, job.kind) == ("running", "calibration_fit")
    assert job.request == {"model": build_catalog(settings).resolve("namer").manifest.version, "from": OUTCOMES, "promote": "if_better"}
    assert [one.id for one in await fits.newest()] == [job.id]


async def test_a_killed_process_is_a_failed_job_that_says_so(fits: Waiting) -> None:
    job = await fits.fits.start("namer", OUTCOMES, "never")
    process = await fits.process(job)
    os.kill(process.pid, signal.SIGKILL)
    failed = await fits.ended(job)
    assert failed.state == "failed"
    assert failed.error is not None
    assert (failed.error["code"], failed.error["status"], failed.error["retryable"]) == ("worker_lost", 503, True)
    assert "ended by signal 9" in failed.error["detail"]
    assert not fits.folders[0].exists()


async def test_a_process_that_ends_without_a_word_and_one_that_cannot_start(fits: Waiting) -> None:
    fits.command = ("false",)
    failed = await fits.ended(await fits.fits.start("namer", OUTCOMES, "never"))
    assert failed.error is not None
    assert "ended with code 1" in failed.error["detail"]
    fits.command = ("/no/such/program",)
    failed = await fits.ended(await fits.fits.start("namer", OUTCOMES, "never"))
    assert failed.error is not None
    assert "can't be started" not in failed.step
    assert "no process can be started" in failed.error["detail"]


async def test_the_next_job_waits_for_its_turn(fits: Waiting) -> None:
    first, second = await fits.fits.start("namer", OUTCOMES, "never"), await fits.fits.start("namer", OUTCOMES, "never")
    assert (first.state, second.state) == ("running", "queued")
    (await fits.process(first)).terminate()
    await fits.ended(first)
    assert (await fits.get(second.id)).state == "running"


async def test_a_cancelled_job_ends_its_process(fits: Waiting) -> None:
    first, second = await fits.fits.start("namer", OUTCOMES, "never"), await fits.fits.start("namer", OUTCOMES, "never")
    process = await fits.process(first)
    assert (await fits.cancel(second.id)).state == "cancelled"  # before it began
    assert (await fits.cancel(first.id)).state == "cancelled"
    assert await process.wait() == -signal.SIGTERM
    ended = await fits.ended(first)
    assert (ended.state, ended.error) == ("cancelled", None)
    assert (await fits.cancel(first.id)).state == "cancelled"


async def test_a_silent_job_of_an_earlier_server_is_given_up_and_the_queue_goes_on(settings: Settings, store: Store) -> None:
    long_ago = Jobs(store, lambda: datetime.now(UTC) - SILENT - timedelta(seconds=1))
    lost, waiting = await long_ago.add("calibration_fit", {}), await long_ago.add("calibration_fit", {})
    assert await long_ago.claim(lost.id)
    anew = Waiting(settings, store)
    found = await anew.get(lost.id)
    assert found.state == "failed"
    assert found.error is not None
    assert "server was started anew" in found.error["detail"]
    assert (await anew.get(waiting.id)).state == "running"
    await anew.close()


async def test_a_job_of_another_server_that_is_heard_of_is_left_alone(settings: Settings, store: Store) -> None:
    other = Jobs(store)
    theirs = await other.add("calibration_fit", {})
    assert await other.claim(theirs.id)
    here = Waiting(settings, store)
    mine = await here.fits.start("namer", OUTCOMES, "never")
    assert ((await here.get(theirs.id)).state, mine.state) == ("running", "queued")
    await here.close()


async def test_a_server_that_stops_ends_its_job(fits: Waiting, store: Store) -> None:
    job = await fits.fits.start("namer", OUTCOMES, "never")
    process = await fits.process(job)
    await fits.close()
    assert process.returncode == -signal.SIGTERM
    failed = await Jobs(store).get(job.id)
    assert failed.error is not None
    assert "server stopped" in failed.error["detail"]
    assert not fits.folders[0].exists()


async def test_what_can_not_be_fitted_is_refused_before_there_is_a_job(fits: Waiting) -> None:
    with pytest.raises(UnknownModel):
        await fits.fits.start("nobody", OUTCOMES, "never")
    with pytest.raises(UnknownUpload):
        await fits.fits.start("namer", {"upload": "upl_none"}, "never")
    with pytest.raises(UnknownJob):
        await fits.get("job_none")
    assert await fits.newest() == []
