"""The files around the code: configurations, dependencies, packaging, and the scripts' failure paths."""

from __future__ import annotations

import ast
import fnmatch
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from candor.families import family_names
from serving.config import load_settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("candor", "models", "calibration", "review", "store", "serving", "client", "candor_client")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def requirements(path: Path) -> dict[str, Requirement]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(found.name): found for found in (Requirement(line) for line in lines if line)}


def direct() -> dict[str, Requirement]:
    project = PROJECT["project"]
    listed = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {canonicalize_name(found.name): found for found in map(Requirement, listed)}


# --- configurations


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configurations_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CANDOR_")]:
        monkeypatch.delenv(name)
    settings = load_settings(path)
    assert set(settings.tasks) == {"detection", "transcription", "classification"}
    for task in settings.tasks:
        assert settings.engine_for(task).max_batch >= 1
    for model in settings.models.values():
        assert model.family in family_names()
        assert model.calibration is None or (ROOT / model.calibration).is_file()


def test_the_gpu_configuration_fits_one_gpu() -> None:
    settings = load_settings(ROOT / "configs" / "gpu.yaml")
    assert sum(task.num_gpus for task in settings.tasks.values()) <= 1
    assert sum(settings.engine_for(task).memory_fraction or 1 for task in settings.tasks) <= 0.9
    assert all(settings.engine_for(task).dtype == "float16" for task in settings.tasks)


def test_only_the_cluster_listens_beyond_loopback() -> None:
    assert [path.name for path in CONFIGS if load_settings(path).server.allow_remote] == ["cluster.yaml"]


# --- dependencies and packaging


def test_the_lock_holds_every_requirement() -> None:
    lock = requirements(ROOT / "requirements.lock")
    assert all(len(found.specifier) == 1 and str(found.specifier).startswith("==") for found in lock.values())
    wanted = {**direct(), **requirements(ROOT / "requirements.in")}
    assert sorted(wanted.keys() - lock.keys()) == []
    unfit = [name for name, found in wanted.items() if not found.specifier.contains(str(lock[name].specifier).removeprefix("=="))]
    assert unfit == []


def test_requirements_name_what_pyproject_names() -> None:
    assert sorted(direct().keys() - requirements(ROOT / "requirements.in").keys()) == []


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_everything_imported_is_a_direct_dependency() -> None:
    used = {name for package in PACKAGES for path in (ROOT / package).rglob("*.py") for name in imports(path)}
    parts = {"starlette", "pydantic_core"}  # of FastAPI and pydantic, which pin them
    third_party = used - set(PACKAGES) - sys.stdlib_module_names - parts
    providers = packages_distributions()
    listed = direct().keys()
    assert [name for name in sorted(third_party) if not {canonicalize_name(one) for one in providers.get(name, [name])} & listed] == []


def test_data_files_are_packaged() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("this is no git checkout")
    data = [Path(name).name for name in tracked if not name.endswith(".py")]
    assert [name for name in data if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)] == []


def test_the_licence_is_the_unmodified_text() -> None:
    text = (ROOT / "LICENSE").read_bytes()
    assert hashlib.sha256(text).hexdigest() == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


# --- the container


def test_the_image_is_built_from_all_that_it_needs() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == {*PACKAGES, "configs", "LICENSE", "README.md", "pyproject.toml", "requirements.lock"}
    dockerfile = (ROOT / "Dockerfile").read_text()
    extras = re.search(r"^ARG EXTRAS=(\S+)$", dockerfile, flags=re.MULTILINE)
    assert extras is not None
    assert set(extras[1].split(",")) <= PROJECT["project"]["optional-dependencies"].keys()


def test_the_container_is_unprivileged_and_checks_its_health() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    last = dockerfile[dockerfile.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, flags=re.MULTILINE)
    check = re.search(r"^HEALTHCHECK .*?CMD (\[.*?\])$", last, flags=re.MULTILINE | re.DOTALL)
    assert check is not None
    program, option, code = json.loads(check[1])
    assert (program, option) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert "/livez" in code


def test_compose_files_fit_the_image() -> None:
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["candor"]
    gpu = yaml.safe_load((ROOT / "deploy" / "compose.gpu.yaml").read_text())["services"]["candor"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - in the container
    volume = re.search(r"^VOLUME (\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert volume is not None
    assert service["volumes"] == [f"var:{volume[1]}"]
    assert (ROOT / gpu["command"][-1]).is_file()


# --- the scripts' failure paths


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CANDOR_", "MAKE", "PYTHON"))}
    return subprocess.run(
        command, cwd=folder, env={**clean, **environment}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60
    )


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout without an environment."""
    for name in ("scripts/env", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def test_env_says_which_python_it_lacks(bare: Path) -> None:
    answer = run(["bash", "scripts/env"], bare, PYTHON="python-that-is-not-there")
    assert answer.returncode == 1
    assert "python-that-is-not-there is not on the PATH. Install Python 3.11" in answer.stderr
    old = program(bare / "python", "exit 1")
    answer = run(["bash", "scripts/env"], bare, PYTHON=str(old))
    assert answer.returncode == 1
    assert "is not Python 3.11" in answer.stderr


def test_env_says_when_the_venv_module_or_the_cache_is_missing(bare: Path) -> None:
    without_venv = program(bare / "python", 'case "$2" in *ensurepip*) exit 1;; esac')
    answer = run(["bash", "scripts/env"], bare, PYTHON=str(without_venv))
    assert answer.returncode == 1
    assert "apt install python3.11-venv" in answer.stderr
    (bare / "file").touch()
    answer = run(["bash", "scripts/env"], bare, PYTHON=sys.executable, CANDOR_CACHE=str(bare / "file" / "cache"))
    assert answer.returncode == 1
    assert "Set CANDOR_CACHE to a folder that can" in answer.stderr


def test_env_says_when_the_disk_is_too_small(bare: Path) -> None:
    program(bare / "df", "echo Avail; echo 9000000")
    answer = run(
        ["bash", "scripts/env"], bare, PYTHON=sys.executable, CANDOR_CACHE=str(bare / "cache"), PATH=f"{bare}:{os.environ['PATH']}"
    )
    assert answer.returncode == 1
    assert "has 9 GB free; the environment needs 10 GB" in answer.stderr


GOOD = {
    "env": "true",
    "check": "true",
    "demo": """mkdir -p var/demo; echo '[{"task": "detection"}]' > var/demo/drafts.json""",
    "test": "echo 7 passed",
}


def ci(folder: Path, postgres: str = 'echo "$1 $2" >> said; echo postgresql://nowhere', **changed: str) -> subprocess.CompletedProcess[str]:
    """Run .ci/run where `make` does as told."""
    (folder / ".ci").mkdir()
    (folder / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (folder / "scripts").mkdir()
    program(folder / "scripts" / "postgres", postgres)
    (folder / "Makefile").write_text("".join(f"{target}:\n\t@{recipe}\n" for target, recipe in {**GOOD, **changed}.items()))
    return run(["bash", ".ci/run"], folder, TMPDIR=str(folder))


def test_ci_passes_where_every_step_does(tmp_path: Path) -> None:
    answer = ci(tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "7 passed" in answer.stdout
    assert re.search(r"^test +\d+ s  ok$", answer.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({"check": "exit 3"}, "check"),
        ({"test": "echo 1 failed; exit 1"}, "test"),
        ({"demo": "exit 1"}, "demo"),
        ({"demo": "true"}, "drafts"),
        ({"demo": "mkdir -p var/demo; echo '[]' > var/demo/drafts.json"}, "drafts"),
        ({"demo": """mkdir -p var/demo; echo '[{"item": "a"}]' > var/demo/drafts.json"""}, "drafts"),
    ],
)
def test_ci_fails_with_any_step_and_runs_the_others(tmp_path: Path, changed: dict[str, str], failing: str) -> None:
    answer = ci(tmp_path, **changed)
    assert answer.returncode == 1
    failed = re.findall(r"^(\w+) +\d+ s  FAILED", answer.stdout, flags=re.MULTILINE)
    assert failed == [failing]
    assert re.search(r"^test +\d+ s", answer.stdout, flags=re.MULTILINE)


def test_ci_starts_a_database_and_takes_it_away_again(tmp_path: Path) -> None:
    assert ci(tmp_path, test='test "$$CANDOR_TEST_POSTGRES" = postgresql://nowhere').returncode == 0
    said = [line.split()[0] for line in (tmp_path / "said").read_text().splitlines()]
    assert said == ["ensure", "start", "remove"]


def test_ci_fails_without_a_database_and_runs_the_tests_all_the_same(tmp_path: Path) -> None:
    answer = ci(tmp_path, postgres="exit 1")
    assert answer.returncode == 1
    assert "7 passed" in answer.stdout


def test_ci_forgets_the_demo_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "var" / "demo").mkdir(parents=True)
    (tmp_path / "var" / "demo" / "drafts.json").write_text('[{"task": "detection"}]')
    assert ci(tmp_path, demo="true").returncode == 1


def test_ci_stops_where_there_is_no_environment(tmp_path: Path) -> None:
    answer = ci(tmp_path, env="exit 1")
    assert answer.returncode == 1
    assert "7 passed" not in answer.stdout
