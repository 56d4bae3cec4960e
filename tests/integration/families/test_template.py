"""A new family from the template, as a newcomer has it: made, installed, checked, and drafting in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from candor import families as kernel
from candor.families import Device, MediaLimits
from candor.manifest import Manifest
from candor.predictions import TASKS, Classification, Detections, Task, Transcript
from models.artifacts import hash_files
from models.isolated import IsolatedFamily, family_for
from serving.engine import Engine, EngineOptions
from serving.own_families.command import families
from serving.validation import samples
from tests.integration.families.packages import install

KINDS = {"classification": Classification, "detection": Detections, "transcription": Transcript}


def command(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(families, [str(word) for word in words], env={"COLUMNS": "200"})
    return result.exit_code, result.output


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    found: Task = request.param
    return found


@pytest.fixture
def folder(site: Path, tmp_path: Path, task: Task) -> Path:
    """A package made by the command and installed with pip, without a network."""
    made = tmp_path / "made"
    code, told = command("new", "house", "--task", task, "--to", made)
    assert code == 0, told
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(site), str(made)], check=True)
    for cached in (kernel.is_own, kernel.get_family):
        cached.cache_clear()
    return made


async def test_what_the_template_makes_works_as_it_is(folder: Path, task: Task, tmp_path: Path) -> None:
    _passes_its_own_test(folder)
    code, told = command("check", "house", "--artifact", folder / "example" / "model.json")
    assert (code, "✓ the same predictions in one batch" in told) == (0, True), told
    family = family_for("house")
    assert isinstance(family, IsolatedFamily)
    adopted_folder = tmp_path / "adopted"
    adopted_folder.mkdir()
    adopted = family.adopt(str(folder / "example" / "model.json"), adopted_folder, {})
    manifest = Manifest("m", task, "house", hash_files(adopted_folder), adopted.labels, adopted.input, adopted.output)
    model = family.load(manifest, adopted_folder, Device())
    engine = Engine(lambda version: model, EngineOptions(MediaLimits(), 8, 2, 1 << 40))
    for item in samples.made(task):
        prediction, _ = await engine.predict(manifest.version, item)
        assert isinstance(prediction, KINDS[task])
    await engine.close()


def _passes_its_own_test(folder: Path) -> None:
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(test, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_command_says_what_is_wrong(site: Path, moody: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for words, told in (
        (("new", "My-Family"), "can't name a family"),
        (("new", "onnx"), "there is a family 'onnx' already"),
        (("new", "house", "--to", tmp_path / "full"), "is not empty"),
        (("check", "nobody"), "no family 'nobody' is installed"),
        (("check", moody), "say --task"),
        (("check", "timm", "--task", "detection"), "does not draft detection: only classification"),
    ):
        code, output = command(*words)
        assert (code, told in output) == (2, True), output
    code, output = command("list")
    assert code == 0
    rows = {line.split("│")[1].strip(): line for line in output.splitlines() if "│" in line}
    assert "you" in rows["moody"]
    assert "Candor" in rows["timm"]


def test_a_family_that_breaks_a_rule_is_told_so(site: Path) -> None:
    install(
        site,
        "loose",
        "from candor.fake import FakeFamily, FakeModel\n"
        "class M(FakeModel):\n"
        "    def infer(self, units):\n"
        "        return [seed + len(units) for seed, _ in units]\n"
        "class F(FakeFamily):\n"
        "    name = 'loose'\n"
        "    def load(self, manifest, artifact, device):\n"
        "        return M(manifest)\n",
        "F",
    )
    code, output = command("check", "loose", "--task", "detection")
    assert (code, "alone against" in output) == (1, True), output
