"""Jobs: one runs at a time, what ended stays ended, and a silent one is found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from candor.errors import UnknownJob
from store import Store
from store.jobs import Jobs

PROBLEM = {"code": "worker_lost", "detail": "it stopped"}


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(store: Store, clock: Clock) -> Jobs:
    return Jobs(store, clock)


async def test_a_job_runs_from_queue_to_result(jobs: Jobs) -> None:
    job = await jobs.add("fit", {"model": "m"})
    assert (job.state, job.progress, job.started_at) == ("queued", 0.0, None)
    assert await jobs.get(job.id) == job
    assert await jobs.waiting() == [job.id]
    assert await jobs.claim(job.id)
    assert await jobs.beat(job.id, 0.4, "fitting")
    running = await jobs.get(job.id)
    assert (running.state, running.progress, running.step) == ("running", 0.4, "fitting")
    assert await jobs.running() == [running]
    assert running.started_at is not None
    assert running.heartbeat_at is not None
    assert running.started_at < running.heartbeat_at
    assert await jobs.finish(job.id, {"calibration": "cal_1"})
    done = await jobs.get(job.id)
    assert (done.state, done.progress, done.result, done.error) == ("done", 1.0, {"calibration": "cal_1"}, None)
    assert done.ended_at is not None
    assert await jobs.running() == []
    assert await jobs.waiting() == []


async def test_one_job_runs_at_a_time_the_oldest_first(jobs: Jobs) -> None:
    first, second = await jobs.add("fit", {}), await jobs.add("fit", {})
    assert await jobs.waiting() == [first.id, second.id]
    assert await jobs.claim(first.id)
    assert not await jobs.claim(second.id)
    assert not await jobs.claim(first.id)
    await jobs.fail(first.id, PROBLEM)
    assert await jobs.claim(second.id)
    assert [job.id for job in await jobs.newest(10)] == [second.id, first.id]
    assert [job.id for job in await jobs.newest(1)] == [second.id]


async def test_what_ended_is_never_changed_again(jobs: Jobs) -> None:
    job = await jobs.add("fit", {})
    assert not await jobs.beat(job.id, 0.5, "too soon")
    await jobs.claim(job.id)
    cancelled = await jobs.cancel(job.id)
    assert cancelled.state == "cancelled"
    assert not await jobs.beat(job.id, 0.5, "on")
    assert not await jobs.finish(job.id, {"calibration": "cal_1"})
    assert not await jobs.fail(job.id, PROBLEM)
    assert not await jobs.claim(job.id)
    assert await jobs.cancel(job.id) == await jobs.get(job.id) == cancelled


async def test_only_a_job_that_was_silent_for_long_is_given_up(jobs: Jobs, clock: Clock) -> None:
    job = await jobs.add("fit", {})
    await jobs.claim(job.id)
    clock.now += timedelta(seconds=20)
    await jobs.beat(job.id, 0.1, "still here")
    clock.now += timedelta(seconds=25)
    assert not await jobs.fail(job.id, PROBLEM, silent_for=timedelta(seconds=30))
    clock.now += timedelta(seconds=10)
    assert await jobs.fail(job.id, PROBLEM, silent_for=timedelta(seconds=30))
    failed = await jobs.get(job.id)
    assert (failed.state, failed.error, failed.step) == ("failed", PROBLEM, "still here")


async def test_a_job_that_is_not_there(jobs: Jobs) -> None:
    for ask in (jobs.get, jobs.cancel):
        with pytest.raises(UnknownJob, match="job_none"):
            await ask("job_none")
    assert not await jobs.claim("job_none")
