"""The distribution candor-client as a user would have it: its wheel beside httpx, and nothing else."""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.unit.serving.served import Server

ROOT = Path(__file__).parents[3]
HTTPX = ("httpx", "httpcore", "h11", "certifi", "idna", "anyio", "typing_extensions")
EVERYTHING = """
import importlib, pkgutil, sys
import candor_client
for module in pkgutil.walk_packages(candor_client.__path__, "candor_client."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:  # of the command line, and of what runs beside another tool
        assert error.name in ("typer", "rich", "yaml", "PIL", "cvat_sdk"), (module.name, error.name)
assert all(hasattr(candor_client, name) for name in candor_client.__all__)
print(sorted({"numpy", "serving", "store", "candor", "client", "torch"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as in a checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("client", "candor_client", "candor", "distributions"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    for name in ("pyproject.toml", "LICENSE", "docs/client.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-build-isolation", "--no-deps", "-q", "-w", str(folder)]
    subprocess.run([*command, str(folder / "distributions" / "client")], check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment that has the wheel and httpx. Where it runs lies a `client.py`, which is the user's own."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder / "env")
    python = folder / "env" / "bin" / "python"
    packages = next((folder / "env" / "lib").glob("python*")) / "site-packages"
    for name in HTTPX:
        for file in importlib.metadata.files(name) or ():
            if file.suffix in (".py", ".pem", ".typed"):
                to = packages / file
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), to)
    zipfile.ZipFile(wheel).extractall(packages)
    (folder / "client.py").write_text("raise SystemExit('not the client')")
    return python


def run(python: Path, *code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, *code], cwd=python.parents[2], capture_output=True, text=True, timeout=60, check=False)


def test_the_wheel_is_light_and_complete(wheel: Path, alone: Path) -> None:
    assert wheel.stat().st_size < 200_000
    assert {name.partition("/")[0].partition("-")[0] for name in zipfile.ZipFile(wheel).namelist()} == {"candor_client"}
    done = run(alone, "-c", EVERYTHING)
    assert (done.stdout, done.stderr) == ("[]\n", "")
    told = run(alone, "-c", "from candor_client.command import main; main()")
    assert (told.returncode, "pip install 'candor-client[cli]'" in told.stderr) == (1, True)


async def test_the_quick_start_drafts(served: tuple[Server, str], alone: Path) -> None:
    _, url = served
    photos = alone.parents[2] / "photos"
    photos.mkdir()
    for name in ("1.jpg", "2.jpg"):
        (photos / name).write_bytes(name.encode())
    quick = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text(), re.DOTALL)
    sync = quick[0].replace('"http://127.0.0.1:8000", key="cdr_…"', repr(url))
    assert len(sync.split("\n\n")) == 2
    assert len([line for line in sync.splitlines() if line]) <= 5
    done = await asyncio.to_thread(run, alone, "-c", sync)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["photos/1.jpg", "photos/2.jpg"], done.stderr
    assert "'xyxy'" in done.stdout
    (alone.parents[2] / "urls.txt").write_text("http://127.0.0.1:9/a.jpg\n")
    awaiting = quick[1].replace('"http://127.0.0.1:8000", key="cdr_…"', repr(url))
    done = await asyncio.to_thread(run, alone, "-c", awaiting)
    assert done.stdout == "http://127.0.0.1:9/a.jpg None\n", done.stderr  # refused alone: the server fetches from public addresses
