"""The real `cvat-cli` and `cvat-sdk` against a small CVAT, with a Candor in a process of its own behind them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from PIL import Image

from serving.composition import opened_store
from serving.config import Settings
from store.audit import OPERATOR
from store.teams import Teams
from tests.tools.calibrating import calibrate
from tests.tools.candor_site import ROOT, CandorSite
from tests.tools.fake_cvat import FakeCvat, serving
from tests.unit.serving.served import model

Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

LABELS = [
    {"id": 11, "name": "cat"},
    {
        "id": 12,
        "name": "dog",
        "attributes": [{"id": 5, "name": "confidence", "mutable": False, "input_type": "text", "default_value": "", "values": [""]}],
    },
]
CANDOR = ("-c", "from client.cli import main; main()", "cvat", "annotate", "7")  # of the checkout, in the environment that has cvat-sdk


def frame(number: int) -> bytes:
    """A picture of its own for each number, as large as those of the fake models."""
    picture = Image.new("RGB", (64, 48), tuple(hashlib.sha256(bytes([number % 256, number // 256])).digest()[:3]))
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    return encoded.getvalue()


@pytest.fixture(scope="module")
def candor_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CandorSite]:
    """A Candor whose detector takes 50 ms for a call and 2 ms for each picture in it, calibrated."""
    models = {
        "finder": model("detection", options_base=0.05, options_each=0.002, options_display_threshold=0.0),
        "namer": model("classification"),
    }
    tasks = {"detection": {"model": "finder"}, "classification": {"model": "namer"}}
    site = CandorSite(tmp_path_factory.mktemp("cvat") / "candor", models=models, tasks=tasks)
    try:
        site.start()
        calibrate(site, "finder", "detection")
        yield site
    finally:
        site.stop()


@pytest.fixture
def run(tool_python: Path, tmp_path: Path) -> Run:
    """Run something with the Python that has CVAT's packages."""

    def started(*arguments: str, wait: bool = True) -> Any:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CANDOR_", "CVAT_"))},
            "PYTHONPATH": str(ROOT),
            "CVAT_ACCESS_TOKEN": "token",
            "HOME": str(tmp_path),
            "COLUMNS": "400",
        }
        command = [str(tool_python), *arguments]
        if wait:
            return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
        return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return started


def cli(run: Run, cvat: str, *arguments: str) -> str:
    done = run("-m", "cvat_cli", "--server-host", cvat, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def function(candor: CandorSite, *more: str) -> Sequence[str]:
    return ("--function-file", str(ROOT / "client/cvat/function.py"), "-p", f"url=str:{candor.url}", *more)


def confidences(candor: CandorSite, encoded: bytes) -> list[float]:
    """Return what the native API says of a frame."""
    (draft,) = candor.api("POST", "/v1/detection/drafts", files={"image": encoded})["drafts"]
    assert draft["confidence_status"] == "calibrated"
    return [label["confidence"] for label in draft["labels"]]


def sent(image: bytes) -> bytes:
    """Return a frame as the function sends it: CVAT's driver hands over pixels, not a file."""
    encoded = io.BytesIO()
    with Image.open(io.BytesIO(image)) as picture:
        picture.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def test_an_agent_serves_people_in_cvat(candor_site: CandorSite, run: Run) -> None:
    cvat = FakeCvat([frame(number) for number in range(5)], LABELS, chunk=2)
    cvat.ask_for("whole", "annotate_task")
    cvat.ask_for("one", "annotate_frame", frame=3)
    cvat.ask_for("sure", "annotate_task", threshold=1.0)
    with serving(cvat) as url:
        options = function(candor_site, "-p", "model=str:finder")
        number = cli(run, url, "function", "create-native", "Candor", *options).strip()
        cli(run, url, "function", "run-agent", number, "--burst", *options)
    assert [(label["name"], label["type"]) for label in cvat.functions[1]["labels_v2"]] == [("cat", "rectangle"), ("dog", "rectangle")]
    assert {name: ended["how"] for name, ended in cvat.ended.items()} == {"whole": "complete", "one": "complete", "sure": "complete"}
    one = cvat.ended["one"]["annotations"]["shapes"]
    assert {shape["frame"] for shape in one} == {3}
    assert [shape["score"] for shape in one] == pytest.approx(confidences(candor_site, sent(cvat.frames[3])))
    assert {shape["frame"] for shape in cvat.ended["whole"]["annotations"]["shapes"]} == set(range(5))
    assert cvat.ended["sure"]["annotations"]["shapes"] == []


def test_a_task_is_annotated_frame_by_frame(candor_site: CandorSite, run: Run) -> None:
    cvat = FakeCvat([frame(number) for number in range(20, 24)], LABELS)
    shown = [one for image in cvat.frames for one in confidences(candor_site, sent(image))]
    least = sorted(shown)[len(shown) // 2]
    with serving(cvat) as url:
        options = function(candor_site, "-p", "model=str:finder")
        cli(run, url, "task", "auto-annotate", "7", "--conf-threshold", str(least), *options)
    assert sorted(shape["score"] for shape in cvat.annotations["shapes"]) == pytest.approx(sorted(one for one in shown if one >= least))


def test_classes_become_tags(candor_site: CandorSite, run: Run) -> None:
    cvat = FakeCvat([frame(number) for number in range(3)], [{"id": 11, "name": "cat", "type": "tag"}, {"id": 12, "name": "dog"}])
    with serving(cvat) as url:
        cli(run, url, "task", "auto-annotate", "7", *function(candor_site, "-p", "model=str:namer"))
    one_by_one = [(tag["frame"], tag["label_id"]) for tag in cvat.annotations["tags"]]
    assert [number for number, _ in one_by_one] == [0, 1, 2]
    with serving(cvat) as url:
        done = run(*CANDOR, "--cvat", url, "--url", candor_site.url, "--model", "namer", "--clear-existing")
    assert done.returncode == 0, done.stderr
    assert [tag["frame"] for tag in cvat.annotations["tags"]] == [0, 1, 2]


def test_batches_are_faster_than_one_frame_at_a_time(candor_site: CandorSite, run: Run, tmp_path: Path) -> None:
    cvat = FakeCvat([frame(number) for number in range(100, 200)], LABELS, chunk=16, deleted=(7, 50))
    lines = tmp_path / "drafts.jsonl"
    with serving(cvat) as url:
        done = run(*CANDOR, "--cvat", url, "--url", candor_site.url, "--model", "finder", "--out", str(lines))
        assert done.returncode == 0, done.stderr
        batched = cvat.work_seconds()
        assert "98 frames, 196 labels written" in done.stderr
        shapes = cvat.annotations["shapes"]
        again = run(*CANDOR, "--cvat", url, "--url", candor_site.url, "--model", "finder")
        assert "98 frames, 0 labels written, 196 were there before" in again.stderr
        assert cvat.annotations["shapes"] == shapes
        cvat.asked, cvat.at = [], []
        cli(run, url, "task", "auto-annotate", "7", "--clear-existing", *function(candor_site, "-p", "model=str:finder"))
        alone = cvat.work_seconds()
    figures = (batched, alone, alone / batched)
    logging.getLogger(__name__).info("98 frames: %.2f s in batches, %.2f s one at a time, %.1f times as long", *figures)
    assert alone > 2 * batched
    assert {shape["frame"] for shape in shapes} == set(range(100)) - {7, 50}
    of_frame = {line["cvat"]["frame"]: line for line in map(json.loads, lines.read_text().splitlines())}
    for number in (0, 99):
        drafted, own = of_frame[number], [shape for shape in shapes if shape["frame"] == number]
        assert drafted["item"] == hashlib.sha256(cvat.frames[number]).hexdigest()
        assert [shape["score"] for shape in own] == pytest.approx([label["confidence"] for label in drafted["labels"]])
        told = [[one["value"] for one in shape["attributes"]] for shape in own]
        wanted = [[f"{one['confidence']:.4f}"] if one["label"] == "dog" else [] for one in drafted["labels"]]
        assert told == wanted


def test_what_was_killed_goes_on(candor_site: CandorSite, run: Run, tmp_path: Path) -> None:
    cvat = FakeCvat([frame(number) for number in range(300, 360)], LABELS, chunk=4)
    lines = tmp_path / "drafts.jsonl"
    with serving(cvat) as url:
        arguments = (*CANDOR, "--cvat", url, "--url", candor_site.url, "--model", "finder", "--batch", "4", "--jobs", "1")
        first: Any = run(*arguments, "--out", str(lines), wait=False)
        until = time.monotonic() + 60
        while time.monotonic() < until and sum("type=chunk" in one for one in cvat.asked) < 4:
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        first.wait(30)
        assert not cvat.annotations["shapes"]
        done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert {shape["frame"] for shape in cvat.annotations["shapes"]} == set(range(60))


def test_a_projects_arms_hold(candor_site: CandorSite, run: Run) -> None:
    candor_site.api("PUT", "/v1/projects/street", json={"model": "finder", "review": {"control": 0.5, "honeypot": 0.02}})
    cvat = FakeCvat([frame(number) for number in range(400, 424)], LABELS)
    with serving(cvat) as url:
        done = run(*CANDOR, "--cvat", url, "--url", candor_site.url, "--project", "street")
        assert done.returncode == 0, done.stderr
        shown = {shape["frame"] for shape in cvat.annotations["shapes"]}
        rows = candor_site.api("GET", "/v1/projects/street/arms")["arms"]
        assert {row["item"] for row in rows} == {hashlib.sha256(image).hexdigest() for image in cvat.frames}
        assert 0 < len(shown) < 24


def test_a_frame_that_fails_is_left_out(candor_site: CandorSite, run: Run) -> None:
    cvat = FakeCvat([frame(0), b'{"fail": "prepare"}', frame(2)], LABELS)
    with serving(cvat) as url:
        done = run(*CANDOR, "--cvat", url, "--url", candor_site.url, "--model", "finder")
    assert done.returncode == 1
    assert "frame 1 (001.png): told to fail in prepare" in done.stderr
    assert {shape["frame"] for shape in cvat.annotations["shapes"]} == {0, 2}


def test_what_is_wrong_is_said(candor_site: CandorSite, run: Run) -> None:
    cvat = FakeCvat([frame(0)], [{"id": 11, "name": "cat"}])
    with serving(cvat) as url:
        common = (*CANDOR, "--cvat", url, "--url", candor_site.url)
        for more, told in (
            (("--model", "finder"), "the task lacks these labels as rectangle: dog"),
            (("--model", "namer", "--allow-unmatched-labels", "--project", "none"), "there is no project 'none'"),
            (("--model", "fynder"), "there is no model 'fynder'"),
            ((), "say what drafts"),
        ):
            done = run(*common, *more)
            assert (done.returncode, told in done.stderr) == (2, True), done.stderr
        done = run(*CANDOR[:-1], "8", "--cvat", url, "--url", candor_site.url, "--model", "finder")
        assert (done.returncode, "answered 404" in done.stderr) == (2, True), done.stderr
    gone = run(*CANDOR, "--cvat", url, "--url", candor_site.url, "--model", "finder")
    assert (gone.returncode, "can't be reached" in gone.stderr) == (2, True), gone.stderr
    assert not any(cvat.annotations.values())


GATEWAY = """
import sys, requests
headers = {"x-nuclio-project-name": "cvat", "x-nuclio-function-namespace": "nuclio", "x-nuclio-invoke-via": "domain-name"}
with requests.Session() as session:
    found = session.request("get", sys.argv[1] + "/api/functions", headers=headers, timeout=30, json=None)
    found.raise_for_status()
    print(sorted(found.json()))
"""


async def key_of(settings: Settings) -> str:
    async with opened_store(settings) as (store, _):
        _, text = await Teams(store).add_key(OPERATOR, "default", "cvat", ("draft",), None)
    return text


def test_cvats_http_library_finds_the_key(tool_python: Path, tmp_path: Path) -> None:
    """With the key in a netrc file an error that CVAT shows people does not tell it."""
    site = CandorSite(tmp_path / "candor", server={"auth": "keys"})
    file = tmp_path / "netrc"

    def ask(url: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "NETRC": str(file)}
        command = [str(tool_python), "-c", GATEWAY, url]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    try:
        site.start()
        key = asyncio.run(key_of(site.settings))
        host = site.url.removeprefix("http://")
        assert "model-finder" in ask(f"http://cvat:{key}@{host}").stdout
        assert "401 Client Error" in ask(site.url).stderr
        file.write_text(f"machine 127.0.0.1 login cvat password {key}\n")
        file.chmod(0o600)
        assert "model-finder" in ask(site.url).stdout
        file.write_text(f"machine 127.0.0.1 login cvat password {key[:-1]}\n")
        refused = ask(site.url).stderr
        assert "401 Client Error" in refused
        assert key[:-1] not in refused
        # the documentation says so of an address with the key in it
        assert key[:-1] in ask(f"http://cvat:{key[:-1]}@{host}").stderr
    finally:
        site.stop()
