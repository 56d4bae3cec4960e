"""Real tools: `make test-tools`. What is not installed (scripts/label-studio ensure) skips its tests, and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tools import label_studio as tool
from tests.tools.browser import Browser
from tests.tools.candor_site import CandorSite, with_models
from tests.tools.label_studio import LabelStudioSite
from tests.tools.served_site import ServedSite

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("tools")
            if "label_studio" in getattr(item, "fixturenames", ()):
                item.add_marker("labelstudio")


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioSite]:
    """A Label Studio that may call this machine, shared by all tests: each makes projects of its own."""
    site = LabelStudioSite(tmp_path_factory.mktemp("label-studio"))
    yield site
    site.remove()


@pytest.fixture
def other_label_studio(tmp_path: Path) -> Iterator[Callable[..., LabelStudioSite]]:
    """Start a Label Studio of the test's own, with variables of its environment."""
    made: list[LabelStudioSite] = []

    def start(**environment: str) -> LabelStudioSite:
        made.append(LabelStudioSite(tmp_path / f"label-studio-{len(made)}", environment))
        return made[-1]

    yield start
    for site in made:
        site.remove()


@pytest.fixture(scope="module")
def candor_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CandorSite]:
    """A Candor over fake models, without keys, in a process of its own, for all tests of a file: each has projects of its own."""
    site = CandorSite(tmp_path_factory.mktemp("candor"))
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module")
def candor_with_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CandorSite]:
    """A Candor over the real models and calibrations of configs/default.yaml, otherwise as `candor_server`."""
    site = with_models(tmp_path_factory.mktemp("candor-with-models"))
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    """`candor serve` with Ray, HAProxy, keys and real models, for all tests. What it does when it is killed waits a minute."""
    tool.tool_python()  # without it nobody asks
    site = ServedSite(tmp_path_factory.mktemp("served"), server={"request_seconds": 5})
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture
def page(label_studio: LabelStudioSite) -> Iterator[Browser]:
    """A browser whose user has signed in to Label Studio."""
    browser = Browser()
    try:
        browser.sign_in(label_studio)
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="session")
def tool_python() -> Path:
    """The Python that has the clients of other tools."""
    return tool.tool_python("clients")


@pytest.fixture(scope="session")
def browser_python() -> Path:
    """The Python that has Playwright, where there is a Chromium for it too."""
    tool.chromium()
    return tool.tool_python()


@pytest.fixture
def candor() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line `candor`, and return what it did."""

    def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "candor"), *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "400", "NO_COLOR": "1"}
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=environment)

    return run
