"""The frame of a process that does one job: `python -m MODULE JOB_ID --config FILE --scratch DIR`.

`serving.jobs.runner` claims the job and starts it. The work is awaited here (what blocks runs in threads), while a heartbeat says every
second that it lives and how far it is, and ends the process where the job was cancelled or the server that started it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import structlog
import yaml
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from candor.errors import StorageUnavailable, WorkerLost
from serving.composition import opened_store
from serving.config import Settings
from serving.jobs.problems import as_problem, told
from serving.telemetry import configure_logs
from store import Blobs, Store
from store.jobs import Job, Jobs

NICE = 10
_BEAT = 1.0  # seconds
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Progress:
    """How far the work is; the work sets it, the heartbeat reads it."""

    share: float = 0.0
    step: str = "starting"

    def at(self, share: float, step: str) -> None:
        """Say what is done now."""
        self.share, self.step = share, step


@dataclass(frozen=True, slots=True)
class Place:
    """What the work has at hand. `scratch` is removed when its process has ended."""

    settings: Settings
    store: Store
    blobs: Blobs
    progress: Progress
    scratch: Path


Work: TypeAlias = Callable[[Place, Job], Awaitable[dict[str, Any]]]


class Resolved(Settings):
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


def main(name: str, work: Work, arguments: Sequence[str] | None = None) -> int:
    """Do the job and return the process's exit code. `name` is that of the process in the log."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    given = parser.parse_args(arguments)
    os.nice(NICE)
    settings = Resolved(**yaml.safe_load(given.config.read_text(encoding="utf-8")))
    configure_logs(settings.server, f"{name}-{os.getpid()}")
    return asyncio.run(run_job(given.job, settings, given.scratch, work, parent=os.getppid()))


async def run_job(job_id: str, settings: Settings, scratch: Path, work: Work, parent: int | None = None) -> int:
    """Do a claimed job; 0 where its row says how it ended. `parent` is the process without which it is not to go on."""
    async with opened_store(settings) as (store, blobs):
        jobs, progress = Jobs(store), Progress()
        if not await jobs.beat(job_id, 0.0, progress.step):
            return 1  # cancelled before it began
        beating = asyncio.create_task(_beat(jobs, job_id, progress, scratch, parent))
        try:
            result = await work(Place(settings, store, blobs, progress, scratch), await jobs.get(job_id))
            beating.cancel()
            await jobs.finish(job_id, result)
        except Exception as raised:  # noqa: BLE001 - whatever it is, the job says so
            beating.cancel()
            await jobs.fail(job_id, as_problem(told(raised, job_id)))
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
            os._exit(1)  # a working thread can't be interrupted otherwise
