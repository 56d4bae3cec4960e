"""Registered models without a validating process: what its worker would do is done here, with the fake family."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from candor.fake import FakeFamily
from candor.manifest import Manifest
from models.artifacts import hash_files, sizes
from serving.jobs.runner import JobRunner
from store import Blobs, Store
from store.registry import RegisteredVersion, Registry
from tests.unit.serving.served import Server

REPORT: dict[str, Any] = {"passed": True, "checks": [], "problem": None, "memory_bytes": 1 << 20, "max_batch": 8}


def manifest_of(labels: tuple[str, ...] = ("cat", "dog"), task: str = "detection", **more: Any) -> dict[str, Any]:
    """The manifest of a request."""
    return {"schema": 1, "family": "fake", "task": task, "labels": list(labels), **more}


async def no_tending(_runner: JobRunner) -> None:
    """Let jobs wait: for `monkeypatch.setattr(JobRunner, "tend", no_tending)`."""


async def register(server: Server, name: str = "mine", *, weights: bytes = b"w", headers: Any = None, **manifest: Any) -> dict[str, Any]:
    """Register a version by a form; it stays `validating`."""
    form = {"manifest": json.dumps(manifest_of(**manifest))}
    files = {"artifact": ("w.bin", weights)}
    answer = await server.client.post(f"/v1/models/{name}/versions", data=form, files=files, headers=headers)
    assert answer.status_code == 202, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def settle(store: Store, blobs: Blobs, version_id: str, report: Any = None, **options: Any) -> RegisteredVersion:
    """Make a version ready, as its validation would."""
    registry = Registry(store)
    version = await registry.get(version_id)
    labels = tuple(version.request["labels"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        adopted = FakeFamily().adopt(version.request["artifact"]["sha256"], folder, {"labels": labels, "task": version.task, **options})
        files = hash_files(folder)
        for name in files:
            await blobs.put_file(folder / name)
        manifest = Manifest(
            version.model,
            version.task,
            "fake",
            files,
            adopted.labels,
            adopted.input,
            adopted.output,
            adopted.display_threshold,
            owner=version.team,
        )
        return await registry.settle(version_id, manifest, REPORT | (report or {}), sum(sizes(folder).values()))


async def ready(server: Server, name: str = "mine", *, report: Any = None, options: Any = None, **more: Any) -> str:
    """Register a version and make it ready; return its full name."""
    told = await register(server, name, **more)
    settled = await settle(server.services.store, server.services.blobs, told["id"], report, **(options or {}))
    assert settled.version is not None
    return settled.version
