"""Registering over the wire: the gateway, the job's process and the process with limits, as they are served."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving.config import Settings, ValidationSettings
from serving.jobs import runner
from serving.loading import install_all
from serving.validation.endings import settle_abandoned
from store import Store, open_store, schema
from store.audit import OPERATOR
from store.registry import Registry
from tests.hostile import broken, good, pickles
from tests.unit.serving.served import Server, running, settings_in

_SECONDS = 150


def site_settings(folder: Path, **validation: Any) -> Settings:
    return settings_in(folder, validation=ValidationSettings(**{"batches": (1, 2), **validation}))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Server]:
    settings = site_settings(tmp_path, seconds=60, memory_bytes=3 * 2**30)
    await asyncio.to_thread(schema.migrate, settings.storage.database_url)
    await asyncio.to_thread(install_all, settings)
    async with running(settings) as made:
        yield made


async def registered(site: Server, name: str, path: Path, manifest: Any = None) -> dict[str, Any]:
    """Send a file; return the version as it is then."""
    plain = {"schema": 1, "family": "onnx", "task": "classification", "labels": good.LABELS, "output": {"head": "logits"}}
    told = json.dumps({**plain, **(manifest or {})})
    file = (path.name, await asyncio.to_thread(path.read_bytes))
    form: dict[str, Any] = {"manifest": (None, told, "application/json"), "artifact": (*file, "application/octet-stream")}
    answer = await site.client.post(f"/v1/models/{name}/versions", files=form)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def version_of(site: Server, version: dict[str, Any]) -> dict[str, Any]:
    answer = await site.client.get(f"/v1/models/{version['model']}/versions/{version['id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def settled(site: Server, version: dict[str, Any]) -> dict[str, Any]:
    """Wait until a version is settled; everything else is answered meanwhile."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        found = await version_of(site, version)
        if found["state"] != "validating":
            return found
        assert (await site.client.get("/livez")).status_code == 200
        await asyncio.sleep(0.2)
    raise AssertionError(f"still validating: {found}")


async def job_of(site: Server, version: dict[str, Any], *states: str) -> dict[str, Any]:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        job: dict[str, Any] = (await site.client.get(f"/v1/jobs/{version['job']}")).json()["job"]
        if job["state"] in states:
            return job
        await asyncio.sleep(0.05)
    raise AssertionError(f"the job did not come to {states}: {job}")


def worker_of(version: dict[str, Any]) -> psutil.Process:
    (found,) = [child for child in psutil.Process().children() if version["job"] in child.cmdline()]
    return found


async def sandbox_of(version: dict[str, Any]) -> psutil.Process:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if found := [child for child in worker_of(version).children() if "serving.validation.sandbox" in child.cmdline()]:
            return found[0]
        await asyncio.sleep(0.02)
    raise AssertionError("no process with limits was started")


async def test_good_hostile_good(site: Server, tmp_path: Path) -> None:
    first = await settled(site, await registered(site, "colours", good.onnx_classifier(tmp_path / "colours.onnx")))
    assert first["state"] == "ready", first
    assert first["version"].startswith("colours@sha256:")
    report = first["report"]
    assert report["passed"]
    assert report["max_batch"] in (1, 2)
    assert [one["batch"] for one in report["speed"]] == [1, 2]
    assert report["memory_bytes"] > 0
    aliases = (await site.client.get("/v1/models/colours/aliases")).json()
    assert "production" in json.dumps(aliases)
    marker = tmp_path / "executed"
    hostile = {
        "popen": (pickles.torch_zip(tmp_path / "popen.pt", pickles.LIVE["popen"](str(marker))), "subprocess.Popen"),
        "bomb": (broken.zip_bomb(tmp_path / "bomb.pt"), "unpacks"),
    }
    for name, (path, words) in hostile.items():
        manifest = {"family": "timm", "output": {}, "input": {"architecture": good.ARCHITECTURE}}
        failed = await settled(site, await registered(site, name, path, manifest))
        assert failed["state"] == "failed", failed
        assert words in failed["report"]["problem"]["detail"]
        assert (await site.client.get(f"/v1/jobs/{failed['job']}")).json()["job"]["error"]["code"] == "unsafe_artifact"
    hog = await settled(site, await registered(site, "hog", broken.onnx_hog(tmp_path / "hog.onnx")))
    assert (hog["state"], hog["report"]["problem"]["code"]) == ("failed", "unsafe_artifact")
    assert not marker.exists()
    again = await settled(site, await registered(site, "after", good.onnx_classifier(tmp_path / "after.onnx")))
    assert again["state"] == "ready"


async def test_a_killed_worker_and_a_killed_sandbox_end_in_a_failed_version(site: Server, tmp_path: Path) -> None:
    path = broken.onnx_endless(tmp_path / "endless.onnx")
    version = await registered(site, "endless", path)
    await job_of(site, version, "running")
    sandbox = await sandbox_of(version)
    assert not [name for name in sandbox.environ() if name.startswith("CANDOR")]
    assert sandbox.cwd() != os.getcwd()
    worker_of(version).send_signal(signal.SIGKILL)
    failed = await settled(site, version)
    assert (failed["state"], failed["report"]["problem"]["code"]) == ("failed", "worker_lost")
    assert "signal 9" in failed["report"]["problem"]["detail"]
    for _ in range(200):  # it does not outlive its parent
        if not sandbox.is_running() or sandbox.status() == psutil.STATUS_ZOMBIE:
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("the process with limits runs on")
    version = await registered(site, "endless", path)
    await job_of(site, version, "running")
    (await sandbox_of(version)).send_signal(signal.SIGSEGV)
    failed = await settled(site, version)
    assert (failed["state"], failed["report"]["problem"]["code"]) == ("failed", "unsafe_artifact")
    assert "SIGSEGV" in failed["report"]["problem"]["detail"]


async def test_a_cancelled_validation_ends_in_a_failed_version(site: Server, tmp_path: Path) -> None:
    version = await registered(site, "endless", broken.onnx_endless(tmp_path / "endless.onnx"))
    await sandbox_of(version)
    assert (await site.client.delete(f"/v1/jobs/{version['job']}")).json()["job"]["state"] == "cancelled"
    failed = await version_of(site, version)
    assert failed["state"] == "failed"
    assert "cancelled" in failed["report"]["problem"]["detail"]


async def test_a_server_that_starts_anew_settles_what_an_earlier_one_left(site: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Store = site.services.store
    registry = Registry(store)
    request = {"family": "onnx", "task": "classification", "artifact": {}}
    job_lost = await registry.add(OPERATOR, "lost", "classification", request)
    never_queued = await registry.add(OPERATOR, "queued", "classification", request)
    jobs = site.services.jobs._jobs
    job = await jobs.add("model_validation", {"version": job_lost.id})
    await registry.attach(job_lost.id, job.id)
    assert await jobs.claim(job.id)
    monkeypatch.setattr(runner, "SILENT", runner.SILENT * 0)
    await site.services.jobs.tend()
    lost = await registry.get(job_lost.id)
    assert (lost.state, lost.report and lost.report["problem"]["code"]) == ("failed", "worker_lost")
    await settle_abandoned(store)
    assert (await registry.get(never_queued.id)).state == "validating"  # its job may come yet
    monkeypatch.setattr("store.validations._SETTLING", runner.SILENT * 0)
    await settle_abandoned(store)
    gone = await registry.get(never_queued.id)
    assert gone.state == "failed"
    assert gone.report is not None
    assert "register it again" in gone.report["problem"]["detail"]


async def test_a_server_that_stops_leaves_no_version_validating(tmp_path: Path) -> None:
    settings = site_settings(tmp_path)
    await asyncio.to_thread(schema.migrate, settings.storage.database_url)
    await asyncio.to_thread(install_all, settings)
    async with running(settings) as site:
        version = await registered(site, "endless", broken.onnx_endless(tmp_path / "endless.onnx"))
        await job_of(site, version, "running")
    store = await open_store(settings.storage.database_url, migrate=False)
    found = await Registry(store).get(version["id"])
    await store.close()
    assert found.state == "failed"
    assert found.report is not None
    assert "server stopped" in found.report["problem"]["detail"]
