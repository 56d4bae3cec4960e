"""A team's own family in its own process: the same predictions, and no bug of theirs that costs more than its own items."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from candor.conformance import check, differences, predict
from candor.errors import CandorError, InvalidRequest, ModelUnavailable, UnreadableItem, WorkerLost
from candor.fake import FakeFamily
from candor.families import Device, MediaLimits
from candor.manifest import Manifest
from candor.predictions import TASKS, Task
from models.isolated import IsolatedFamily, IsolatedModel, family_for
from serving.engine import Engine, EngineOptions
from tests.integration.families.packages import install

SAMPLES = [b"one", b"two", b"list", json.dumps({"units": 3}).encode()]


def manifest(task: Task = "detection", **changes: Any) -> Manifest:
    return Manifest("m", task, "moody", {}, () if task == "transcription" else ("cat", "dog"), **changes)


@pytest.fixture
def model(moody: str, tmp_path: Path) -> Iterator[IsolatedModel]:
    made = family_for(moody).load(manifest(input={"hang_seconds": 2.0}), tmp_path, Device())
    assert isinstance(made, IsolatedModel)
    yield made
    made.close()


def mood(name: str) -> bytes:
    return json.dumps({"mood": name}).encode()


def one(model: IsolatedModel, data: bytes = b"x") -> Any:
    (found,) = predict(model, [data], batch=1)
    return found


def pid(model: IsolatedModel) -> int:
    assert model._process is not None
    return model._process.pid


def alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def test_candors_own_families_stay_in_this_process(moody: str) -> None:
    assert isinstance(family_for("fake"), FakeFamily)
    assert isinstance(family_for(moody), IsolatedFamily)
    with pytest.raises(InvalidRequest, match="no family 'none'"):
        family_for("none")


@pytest.mark.parametrize("task", TASKS)
def test_it_conforms_and_predicts_the_same(moody: str, tmp_path: Path, task: Task) -> None:
    family = family_for(moody)
    assert family.tasks == set(TASKS)
    here = FakeFamily().load(manifest(task), tmp_path, Device())
    there = family.load(manifest(task), tmp_path, Device())
    try:
        check(there, SAMPLES, bad=[b""])
        for a, b in zip(predict(here, SAMPLES, batch=4), predict(there, SAMPLES, batch=4), strict=True):
            assert differences(a, b) == ""
        assert there.memory() > 10 << 20  # a process with NumPy holds more than the model's mebibyte
    finally:
        there.close()


def test_it_runs_elsewhere_and_only_the_kernel_is_there(model: IsolatedModel) -> None:
    process = pid(model)
    assert process != os.getpid()
    mapped = Path(f"/proc/{process}/maps").read_text()
    assert "numpy" in mapped
    assert "torch" not in mapped
    assert "sqlalchemy" not in mapped
    model.close()
    assert not alive(process)


def test_errors_come_with_their_code(model: IsolatedModel) -> None:
    with pytest.raises(UnreadableItem, match="too much for me") as caught:
        model.prepare(b"big", MediaLimits())
    assert caught.value.retry_after == 3
    with pytest.raises(UnreadableItem, match="told to fail in infer"):
        one(model, b'{"fail": "infer"}')
    with pytest.raises(RuntimeError, match="RuntimeError: told to fail in finish"):
        one(model, b'{"fail": "finish"}')
    with pytest.raises(RuntimeError, match="finish returned dict"):
        one(model, mood("nonsense"))
    assert one(model) is not None


@pytest.mark.parametrize("how", ["die", "hang", "garbage"])
def test_a_lost_process_fails_what_it_had_and_is_started_again(model: IsolatedModel, how: str) -> None:
    before = pid(model)
    bystander = model.prepare(b"y", MediaLimits())
    unit = next(bystander.units)
    with pytest.raises(WorkerLost, match="send the item again") as caught:
        one(model, mood(how))
    assert caught.value.retryable
    (left,) = model.infer([unit])
    assert isinstance(left, WorkerLost)
    with pytest.raises(WorkerLost):
        model.finish(bystander, [0])
    assert one(model) is not None
    assert pid(model) != before
    assert not alive(before)


def test_one_that_dies_again_and_again_is_started_after_pauses(moody: str, tmp_path: Path) -> None:
    now = [0.0]
    model = IsolatedModel(moody, manifest(), tmp_path, Device(), clock=lambda: now[0])
    model.start()
    try:
        for _ in range(2):
            with pytest.raises(WorkerLost):
                one(model, mood("die"))
        with pytest.raises(WorkerLost, match="2 times in a row") as caught:
            model.prepare(b"x", MediaLimits())
        assert caught.value.retry_after == 1.0
        now[0] += 1.5
        assert one(model) is not None
        with pytest.raises(WorkerLost):
            one(model, mood("die"))
        assert one(model) is not None  # a success ends the row
    finally:
        model.close()


def test_an_item_that_is_given_up_is_forgotten_there(model: IsolatedModel) -> None:
    kept = model.prepare(b'{"units": 3}', MediaLimits())
    dropped = model.prepare(b'{"units": 3}', MediaLimits())
    unit = next(dropped.units)
    number, process = dropped.context.number, dropped.context.process
    del dropped
    assert model.infer([unit]) == [0]  # a unit in a batch keeps its item
    del unit
    gc.collect()
    told, _ = process.call("infer", {"units": [[number, 0], [kept.context.number, 0]]}, seconds=5)
    assert [error and error["code"] for error in told["errors"]] == ["worker_lost", None]


def test_what_it_prints_goes_to_the_log(moody: str, tmp_path: Path) -> None:
    with capture_logs() as logs:
        model = family_for(moody).load(manifest(), tmp_path, Device())
        model.close()
        time.sleep(0.1)
    said = [entry["line"] for entry in logs if entry["event"] == "family_says"]
    assert said[0] == "hello from the team"
    assert said[1].startswith("loaded in ")


def test_it_takes_models_in_there(moody: str, tmp_path: Path) -> None:
    family = family_for(moody)
    adopted = family.adopt("x", tmp_path, {"task": "detection", "hang_seconds": 9, "base": 0.5})
    assert (adopted.labels, adopted.input) == (("cat", "dog"), {"base": 0.5, "hang_seconds": 9.0})
    assert (tmp_path / "model.json").is_file()
    for order, told in (("bug", "ZeroDivisionError: their bug"), ("never", "SystemExit: 3")):
        with pytest.raises(ModelUnavailable, match=told):
            family.adopt("x", tmp_path, {order: True})


def test_a_load_that_fails_leaves_no_process(moody: str, tmp_path: Path) -> None:
    with pytest.raises(CandorError, match="told to fail in load"):
        family_for(moody).load(manifest(input={"fail": True}), tmp_path, Device())


def test_a_module_that_cannot_be_imported_is_told(site: Path) -> None:
    install(site, "broken", "import nothing_of_the_kind", "Family")
    with pytest.raises(ModelUnavailable, match="No module named 'nothing_of_the_kind'"):
        family_for("broken").load(manifest(), site, Device())


async def test_the_engine_drafts_with_it(model: IsolatedModel) -> None:
    engine = Engine(lambda version: model, EngineOptions(MediaLimits(), 8, 2, 1 << 40))
    found, timings = await engine.predict("m@sha256:0", b'{"units": 3}')
    assert found.score.shape == (2,)  # type: ignore[union-attr]
    assert timings.batch_size >= 1
    with pytest.raises(WorkerLost):
        await engine.predict("m@sha256:0", mood("die"))
    await engine.predict("m@sha256:0", b"again")
    await engine.close()


def test_it_does_not_outlive_the_server(moody: str, tmp_path: Path) -> None:
    server = f"""
import sys
from pathlib import Path
from candor.families import Device
from candor.manifest import Manifest
from models.isolated import family_for
model = family_for({moody!r}).load(Manifest("m", "detection", "moody", {{}}, ("cat", "dog")), Path({str(tmp_path)!r}), Device())
sys.stderr.write(f"pid {{model._process.pid}}\\n")  # not where the log goes
input()
"""
    with subprocess.Popen([sys.executable, "-c", server], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        child = next(int(line.split()[1]) for line in process.stderr if line.startswith("pid"))
        assert alive(child)
        process.kill()
    waited_until = time.monotonic() + 20
    while alive(child) and time.monotonic() < waited_until:
        time.sleep(0.02)
    assert not alive(child)
