"""A fit in its own process, as the server starts it: without Ray, with the fake family."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving.loading import install_all
from store import schema
from tests.unit.serving.served import Server, model, running, settings_in

_SECONDS = 90


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Server]:
    settings = settings_in(tmp_path, models={name: model(task, **more) for name, task, more in MODELS}, tasks={})
    await asyncio.to_thread(schema.migrate, settings.storage.database_url)
    await asyncio.to_thread(install_all, settings)
    async with running(settings) as made:
        yield made


MODELS: list[tuple[str, Any, dict[str, Any]]] = [
    ("namer", "classification", {}),
    ("slow", "classification", {"options_each": 0.2}),  # seconds an item
]


def folder_of(count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("labels.csv", "file,label\n" + "\n".join(f"{i}.jpg,{('cat', 'dog')[i % 2]}" for i in range(count)))
        for i in range(count):
            archive.writestr(f"{i}.jpg", f"item {i}".encode())
    return out.getvalue()


async def started(site: Server, name: str = "namer", count: int = 400) -> str:
    upload = (await site.client.post("/v1/uploads", content=folder_of(count))).json()["id"]
    answer = await site.client.post("/v1/calibrations/fits", json={"model": name, "from": {"upload": upload}})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job"]["id"]
    return job_id


async def job_of(site: Server, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = (await site.client.get(f"/v1/jobs/{job_id}")).json()["job"]
    return job


async def until(site: Server, job_id: str, *states: str, progress: float = 0.0) -> dict[str, Any]:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        job = await job_of(site, job_id)
        if job["state"] in states and job["progress"] >= progress:
            return job
        assert job["state"] in ("queued", "running"), job
        await asyncio.sleep(0.1)
    raise AssertionError(f"job {job_id} did not come to {states}: {job}")


def worker_of(job_id: str) -> psutil.Process:
    (found,) = [child for child in psutil.Process().children() if job_id in child.cmdline()]
    return found


async def test_a_fit_runs_to_its_end_and_is_niced(site: Server) -> None:
    job_id = await started(site, count=200)
    assert "serving.calibrations.worker" in worker_of(job_id).cmdline()
    # random truths: the fake model knows nothing, and the fit says so in words, or makes a record that claims nothing
    ended = await until(site, job_id, "done", "failed")
    if ended["state"] == "done":
        record = (await site.client.get(f"/v1/calibrations/{ended['result']['calibration']}")).json()
        assert ended["result"]["status"] == "unverified"
        assert record
    else:
        assert ended["error"]["code"] == "invalid_request"
    assert ended["ended_at"]


async def test_progress_is_told_and_a_killed_worker_is_a_clear_failure(site: Server) -> None:
    job_id = await started(site, "slow")
    running_job = await until(site, job_id, "running", progress=0.16)
    assert "drafted" in running_job["step"]
    worker = worker_of(job_id)
    assert worker.nice() >= 10
    os.kill(worker.pid, signal.SIGKILL)
    failed = await until(site, job_id, "failed")
    assert (failed["error"]["code"], failed["error"]["retryable"]) == ("worker_lost", True)
    assert "ended by signal 9" in failed["error"]["detail"]
    assert failed["result"] is None


async def test_a_cancelled_fit_ends_its_process(site: Server) -> None:
    job_id = await started(site, "slow")
    await until(site, job_id, "running", progress=0.1)
    worker = worker_of(job_id)
    assert (await site.client.delete(f"/v1/jobs/{job_id}")).json()["job"]["state"] == "cancelled"
    await asyncio.to_thread(worker.wait, 20)
    assert (await job_of(site, job_id))["state"] == "cancelled"


_SERVER = """
import asyncio, sys
from pathlib import Path
from serving.calibrations.fit_jobs import FitJobs
from serving.calibrations.manifests import Manifests
from serving.jobs.runner import JobRunner
from serving.jobs.worker import Resolved
from serving.loading import build_catalog
from serving.resolving import CatalogResolver
from store import open_store
import yaml

async def main() -> None:
    settings = Resolved(**yaml.safe_load(Path(sys.argv[1]).read_text()))
    store = await open_store(settings.storage.database_url)
    fits = FitJobs(JobRunner(settings, store), store, Manifests(CatalogResolver(build_catalog(settings))))
    job = await fits.start("slow", {"upload": sys.argv[2]}, "never")
    print(job.id, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def _start(config: Path, upload: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _SERVER, str(config), upload], stdout=subprocess.PIPE, text=True)


async def test_a_worker_whose_server_was_killed_says_so_and_ends(site: Server, tmp_path: Path) -> None:
    upload = (await site.client.post("/v1/uploads", content=folder_of(400))).json()["id"]
    config = tmp_path / "settings.json"
    config.write_text(site.services.settings.model_dump_json())
    server = _start(config, upload)
    try:
        assert server.stdout is not None
        job_id = (await asyncio.to_thread(server.stdout.readline)).strip()
        await until(site, job_id, "running", progress=0.1)
        (worker,) = psutil.Process(server.pid).children()
    finally:
        server.kill()
        server.communicate()
    failed = await until(site, job_id, "failed")
    assert "server stopped" in failed["error"]["detail"]
    for _ in range(200):
        if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("the worker runs on without its server")
