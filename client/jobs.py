"""What a client may do with jobs: watch them, wait for them, cancel them."""

from __future__ import annotations

from collections.abc import Callable

from client.answers import Job
from client.calls import Call, Flow, T, address, ask, pause, told_in, told_list
from client.errors import GaveUp
from client.methods import Method
from client.uploads import Progress, unheard

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0  # seconds between two questions about a job
_ENDED = ("done", "failed", "cancelled")


def jobs(limit: int = 100) -> Flow[list[Job]]:
    """Return the newest jobs, newest first.

    Raises:
        ClientError: the server can't be asked.
    """
    return ask(Call("GET", f"{address('jobs')}?limit={limit}", told_list(Job, "jobs")))


def job(job_id: str) -> Flow[Job]:
    """Return a job as it stands.

    Raises:
        ClientError: there is none of that id, or the server can't be asked.
    """
    return ask(Call("GET", address("jobs", job_id), told_in(Job, "job")))


def cancel_job(job_id: str) -> Flow[Job]:
    """Cancel a job, and return it. One that has ended stays as it is.

    Raises:
        ClientError: there is none of that id, or the server can't be asked.
    """
    return ask(Call("DELETE", address("jobs", job_id), told_in(Job, "job")))


def wait_job(job_id: str, progress: Progress = unheard, timeout: float = 3600.0) -> Flow[Job]:
    """Wait until a job has ended, well or not, and return it.

    Raises:
        ClientError: the server can't be asked, or the job still runs after `timeout` seconds.
    """

    def ended() -> Flow[Job | None]:
        found = yield from job(job_id)
        progress(found["step"], float(found["progress"]))
        return found if found["state"] in _ENDED else None

    return (yield from until(ended, f"job {job_id}", timeout))


def until(ask_once: Callable[[], Flow[T | None]], what: str, timeout: float) -> Flow[T]:
    """Ask again and again, until there is something.

    Raises:
        ClientError: the server can't be asked, or there is nothing after `timeout` seconds.
    """
    waited, seconds = 0.0, _FIRST_PAUSE
    while True:
        if (found := (yield from ask_once())) is not None:
            return found
        if waited >= timeout:
            raise GaveUp(f"{what} has not ended after {timeout:.0f} s; it goes on: ask for it again later")
        yield from pause(seconds)
        waited, seconds = waited + seconds, min(_LONGEST_PAUSE, seconds * 1.5)


class JobCalls:
    """What a client may do with jobs."""

    jobs = Method(jobs)
    job = Method(job)
    cancel_job = Method(cancel_job)
    wait_job = Method(wait_job)
