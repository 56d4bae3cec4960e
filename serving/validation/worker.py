"""The process that validates one registered model: `python -m serving.validation.worker`; `serving.jobs.worker` is its frame.

It brings the model's file from the blobs, has it tried in a process with limits, and settles the version: ready with its files stored, or
failed. The file itself is never opened here.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from candor.errors import InvalidRequest, StorageUnavailable, UnsafeArtifact
from candor.families import Adopted
from candor.manifest import Manifest
from models.artifacts import hash_files, sizes
from models.samples import kept
from serving.config import cache_home
from serving.jobs.problems import as_error, as_problem, told
from serving.jobs.worker import Place, main
from serving.loading import cores
from serving.validation.endings import failed_report
from serving.validation.order import ADOPTED, Order, manifest_of
from serving.validation.trial import tried
from store.jobs import Job
from store.registry import RegisteredVersion, Registry

_SPACE = 3  # times the artifact: itself, what it becomes, and some more
_NOT_KNOWN = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 100
_PICTURES = 2  # real ones that a model is tried on


async def validate(place: Place, job: Job) -> dict[str, Any]:
    """Validate one version and return the job's result.

    Raises:
        CandorError: the version failed; its report says the same.
    """
    registry = Registry(place.store)
    version = await registry.get(job.request["version"])
    if version.state != "validating":
        return {"id": version.id, "version": version.version, "state": version.state}
    started = time.monotonic()
    try:
        return await _Validation(place, registry, version).run()
    except _Failed as failed:
        await registry.fail(version.id, failed.report)
        raise as_error(failed.report["problem"]) from failed
    except Exception as raised:  # whatever it is, the version does not stay as it is
        error = told(raised, job.id)
        await registry.fail(version.id, failed_report(as_problem(error), seconds=round(time.monotonic() - started, 3)))
        raise error from raised


class _Failed(Exception):
    """The model was tried, and is not to be used; its report says why."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__()
        self.report = report


class _Validation:
    """One version, from its upload to its files in the blobs."""

    def __init__(self, place: Place, registry: Registry, version: RegisteredVersion) -> None:
        self._place = place
        self._registry = registry
        self._version = version
        self._settings = place.settings
        self._sandbox = place.scratch / "sandbox"

    async def run(self) -> dict[str, Any]:
        order = await self._order()
        found = await tried(order, self._sandbox, self._place.progress)
        report = {name: value for name, value in found.items() if name != "adopted"}
        if not found["passed"]:
            raise _Failed(report)
        manifest = _manifest(order, found["adopted"])
        self._place.progress.at(0.92, "storing its files")
        for name, sha256 in manifest.files.items():
            if await self._place.blobs.put_file(order.adopted / name) != sha256:
                raise UnsafeArtifact(f"{name} changed while it was being stored: register the model again")
        size = sum(sizes(order.adopted).values())
        ready = await self._registry.settle(self._version.id, manifest, report, size)
        return {"id": ready.id, "version": ready.version, "state": ready.state}

    async def _order(self) -> Order:
        """Bring the file here and say what is to be tried."""
        self._place.progress.at(0.02, "bringing the file")
        wanted, limits = self._version.request["artifact"], self._settings.validation
        adopted = self._sandbox / ADOPTED
        adopted.mkdir(parents=True)
        if (free := shutil.disk_usage(self._sandbox).free) < _SPACE * wanted["bytes"]:
            raise StorageUnavailable(
                f"{free:,} bytes are free where models are tried, and {_SPACE * wanted['bytes']:,} are needed: let the operator free some, "
                "or set TMPDIR to a larger disk"
            )
        artifact = self._sandbox / _safe_name(wanted["filename"])
        blob = await self._place.blobs.upload_to(wanted["upload"], artifact, self._version.team)
        if blob.bytes > limits.artifact_bytes:
            raise InvalidRequest(f"the model's file has {blob.bytes:,} bytes; the most here is {limits.artifact_bytes:,}")
        return Order(
            model=self._version.model,
            task=self._version.task,
            owner=self._version.team,
            request=self._version.request,
            artifact=artifact,
            adopted=adopted,
            samples=self._samples(),
            batches=limits.batches,
            threads=cores(),
            memory_bytes=limits.memory_bytes,
            seconds=limits.seconds,
        )

    def _samples(self) -> tuple[Path, ...]:
        """Copy real pictures, where they are on this machine, to where the other process reads."""
        if self._version.task == "transcription":
            return ()
        found = [sample.path for sample in kept(cache_home(self._settings)) if sample.kind == "image"][:_PICTURES]
        return tuple(Path(shutil.copyfile(path, self._sandbox / f"sample{number}")) for number, path in enumerate(found))


def _manifest(order: Order, told_by_child: Any) -> Manifest:
    """Return the manifest of the files that lie there, with what the other process says of them.

    Raises:
        UnsafeArtifact: it says what can't be so, or left something that is no plain file.
    """
    files = hash_files(order.adopted)
    try:
        adopted = Adopted(**{**told_by_child, "labels": tuple(map(str, told_by_child["labels"]))})
        return Manifest.from_json(manifest_of(order, adopted, files).as_json())
    except (TypeError, ValueError, LookupError, InvalidRequest) as error:
        raise UnsafeArtifact(f"no manifest can be made of it ({error}): export the model again") from error


def _safe_name(filename: str) -> str:
    """Return a file's name as it may stand on a disk and in a message."""
    name = _NOT_KNOWN.sub("_", filename.replace("\\", "/").rpartition("/")[2]).lstrip(".")[-_LONGEST_NAME:]
    return f"model-{name}" if name in ("order.json", "result.json", "progress.json", "adopted", "home", "log") else name or "model"


if __name__ == "__main__":
    raise SystemExit(main("validation", validate))
