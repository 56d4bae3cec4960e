"""What a fit's process does, in this one: from a claimed job to a stored record, or to a reason."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.record import CalibrationRecord
from candor.fake import FakeModel
from candor.families import MediaLimits
from candor.manifest import Manifest
from candor.predictions import Classification
from serving.calibrations.judging import LabelTruth
from serving.calibrations.manifests import Manifests
from serving.calibrations.outcomes import Intake, Told
from serving.calibrations.worker import fit
from serving.config import Settings
from serving.jobs import worker
from serving.jobs.worker import Progress, run_job
from serving.loading import build_catalog
from serving.resolving import CatalogResolver
from store import Blobs, Store, open_store
from store.calibrations import Calibrations
from store.jobs import Job, Jobs
from tests.unit.serving.calibrations.drafted import drawn, image_drafts, manifest_of


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("calibration.intervals.RESAMPLES", 8)
        yield


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    opened = await open_store(settings.storage.database_url, sqlite_synchronous="normal", migrate=False)
    yield opened
    await opened.close()


@pytest.fixture
def namer(settings: Settings) -> Manifest:
    return manifest_of(settings, "namer")


async def done(settings: Settings, store: Store, source: Any, promote: str = "never") -> Job:
    """Do one job in this process, and return it as it ended."""
    jobs = Jobs(store)
    model = manifest_of(settings, "namer").version
    job = await jobs.add("calibration_fit", {"model": model, "from": source, "promote": promote})
    assert await jobs.claim(job.id)
    scratch = Path(settings.storage.blobs) / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    assert await run_job(job.id, settings, scratch, fit) == 0
    return await jobs.get(job.id)


async def uploaded(settings: Settings, store: Store, data: bytes) -> str:
    async def stream() -> AsyncIterator[bytes]:
        yield data

    return (await Blobs(settings.storage.blobs, store).put(stream(), 1 << 30)).id


def says(manifest: Manifest, data: bytes) -> int:
    """What the fake model makes of an item."""
    model = FakeModel(manifest)
    item = model.prepare(data, MediaLimits())
    found = model.finish(item, model.infer(list(item.units)))
    assert isinstance(found, Classification)
    return int(np.argmax(found.logits))


def labelled(manifest: Manifest, count: int = 160) -> bytes:
    """A zip of images of which the model gets every fourth wrong."""
    out = io.BytesIO()
    rows = ["file,label"]
    with zipfile.ZipFile(out, "w") as archive:
        for i in range(count):
            data = f"item {i}".encode()
            archive.writestr(f"set/{i}.jpg", data)
            rows.append(f"{i}.jpg,{manifest.labels[(says(manifest, data) + (i % 4 == 0)) % 2]}")
        archive.writestr("set/labels.csv", "\n".join(rows))
    return out.getvalue()


async def test_a_fit_on_an_upload_ends_in_a_stored_record(settings: Settings, store: Store, namer: Manifest) -> None:
    upload = await uploaded(settings, store, labelled(namer))
    job = await done(settings, store, {"upload": upload, "name": "a zoo", "caveat": "made up"})
    assert (job.state, job.error) == ("done", None)
    assert job.result is not None
    stored = await Calibrations(store).get(job.result["calibration"])
    record = CalibrationRecord.from_json(stored.record)
    assert (stored.origin, record.model_version, record.data["name"]) == (job.id, namer.version, "a zoo")
    assert "made up" in record.data["caveat"]
    assert job.result["status"] == record.status == "unverified"
    assert (job.result["promoted"], job.result["promotion"]["decision"]) == (False, "not_compared")
    assert (await Calibrations(store).standing()).chosen == {}


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"no archive", "neither a zip nor a tar"), (b"", "neither a zip nor a tar")],
    ids=["text", "empty"],
)
async def test_an_upload_that_is_no_folder_fails_in_words(settings: Settings, store: Store, data: bytes, words: str) -> None:
    job = await done(settings, store, {"upload": await uploaded(settings, store, data)})
    assert (job.state, job.result) == ("failed", None)
    assert job.error is not None
    assert (job.error["code"], job.error["type"]) == ("invalid_request", "/problems/invalid_request")
    assert words in job.error["detail"]


async def test_a_label_outside_the_label_set_is_named(settings: Settings, store: Store) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("labels.csv", "file,label\na.jpg,zebra\n")
        archive.writestr("a.jpg", b"a")
    job = await done(settings, store, {"upload": await uploaded(settings, store, out.getvalue())})
    assert job.error is not None
    assert "zebra" in job.error["detail"]


async def test_a_fit_on_outcomes_is_promoted_where_it_is_better(settings: Settings, store: Store, namer: Manifest) -> None:
    logits, right = drawn(900, 3.0, -1.0)
    drafts = image_drafts(namer, logits)
    await store.save(drafts)
    told = [
        Told(one.id, f"evt{i}", "gold", LabelTruth("cat" if good else "dog"))
        for i, (one, good) in enumerate(zip(drafts, right, strict=True))
    ]
    await Intake(store, Manifests(CatalogResolver(build_catalog(settings)))).take(told, "default")
    job = await done(settings, store, {"outcomes": {"streams": ["gold"]}}, "if_better")
    assert (job.state, job.error) == ("done", None)
    assert job.result is not None
    assert (job.result["promoted"], job.result["promotion"]["decision"]) == (True, "better")
    made = job.result["calibration"]
    assert (await Calibrations(store).standing()).chosen[namer.version][0] == made
    (event,) = await Calibrations(store).events(namer.version)
    assert (event.kind, event.detail["job"]) == ("promoted", job.id)
    again = await done(settings, store, {"outcomes": {}}, "if_better")  # the same outcomes can't beat it
    assert again.result is not None
    assert (again.result["promoted"], again.result["promotion"]["than"]) == (False, made)
    (later,) = {event.calibration for event in await Calibrations(store).events(namer.version)}
    assert later == made


async def test_no_outcomes_is_a_reason(settings: Settings, store: Store) -> None:
    job = await done(settings, store, {"outcomes": {}})
    assert job.error is not None
    assert "there are no outcomes" in job.error["detail"]


async def test_a_bug_leaks_nothing_but_an_id(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr("serving.calibrations.worker.fit_outcomes", broken)
    job = await done(settings, store, {"outcomes": {}})
    assert job.error is not None
    assert job.error["code"] == "internal"
    assert "inc_" in job.error["detail"]
    assert "hunter2" not in str(job)


async def test_a_job_that_was_cancelled_before_it_began_is_left_alone(settings: Settings, store: Store, tmp_path: Path) -> None:
    jobs = Jobs(store)
    job = await jobs.add("calibration_fit", {"model": "namer", "from": {"outcomes": {}}, "promote": "never"})
    await jobs.cancel(job.id)
    assert await run_job(job.id, settings, tmp_path, fit) == 1
    assert (await jobs.get(job.id)).state == "cancelled"


async def test_the_heartbeat_tells_how_far_the_work_is_and_ends_what_was_cancelled(
    settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exited(BaseException):
        pass

    def leave(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr(worker, "_BEAT", 0.0)
    monkeypatch.setattr("os._exit", leave)
    jobs, progress = Jobs(store), Progress(0.5, "half way")
    job = await jobs.add("calibration_fit", {})
    await jobs.claim(job.id)
    (tmp_path / "scratch").mkdir()
    with pytest.raises(Exited):
        await worker._beat(jobs, job.id, progress, tmp_path / "scratch", parent=-1)  # a server that is gone
    failed = await jobs.get(job.id)
    assert (failed.state, failed.progress, failed.step) == ("failed", 0.5, "half way")
    assert failed.error is not None
    assert "server stopped" in failed.error["detail"]
    assert not (tmp_path / "scratch").exists()
    other = await jobs.add("calibration_fit", {})
    await jobs.claim(other.id)
    await jobs.cancel(other.id)
    with pytest.raises(Exited):
        await worker._beat(jobs, other.id, progress, tmp_path / "scratch", parent=None)
    assert (await jobs.get(other.id)).state == "cancelled"
