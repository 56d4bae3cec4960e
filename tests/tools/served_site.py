"""A Candor as operators run it: `candor serve` with Ray, HAProxy and keys, over the models that `make demo` installs."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from models.samples import kept
from serving.config import Settings, absolute, cache_home, load_settings
from tests.integration.serving.running import Server, launch, merged, wait_ready, write_config
from tests.tools.candor_site import CandorSite
from tests.tools.label_studio import LabelStudioSite, until

ROOT = Path(__file__).resolve().parents[2]
SOON = 15.0  # seconds, of a busy machine: a review takes less than one
DEFAULT = ROOT / "configs" / "default.yaml"


class ServedSite:
    """The server. It may be killed, and started again at the same address with all that it had."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        shipped = yaml.safe_load(DEFAULT.read_text())
        models = absolute(load_settings(DEFAULT), ROOT).storage.models
        own = {"server": {"auth": "keys"}, "storage": {"models": str(models)}, "media": {"private_hosts": ["127.0.0.1"]}}
        del shipped["server"]["port"], shipped["storage"]
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._config = write_config(folder, merged(merged(shipped, own), changes))
        self._server: Server | None = None
        self.url = ""
        self.key = ""

    def start(self) -> None:
        """Start it, and return when it can draft."""
        self._server = launch(self._config)
        self.url = self._server.url
        wait_ready(self._server)
        if not self.key:
            self.key = str(until(lambda: re.search(r"^    (cdr_\S+)$", self.log(10**7), flags=re.MULTILINE))[1])

    def kill(self) -> None:
        """End all of it in the middle of what it does, as when the power goes."""
        if self._server is None:
            return
        main = psutil.Process(self._server.process.pid)
        everything = [main, *main.children(recursive=True)]
        for process in everything:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(everything, timeout=20)
        self._server.process.wait(20)
        self._server = None

    def stop(self) -> None:
        """End it, as an operator does."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        """Call its native API with the key that it printed, and return the answer."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.request(method, self.url + path, timeout=120, trust_env=False, headers=headers, **arguments)
        assert answer.is_success, f"{answer.status_code} {answer.text[:1000]}"
        return answer.json() if answer.content else None

    def log(self, most: int = 4000) -> str:
        """Return the end of what it logged."""
        return (self.folder / "server.log").read_text(errors="replace")[-most:]


def reviews(folder: Path, project: str) -> list[dict[str, Any]]:
    """Return what counts of a project's reviews, from the database of the site in a folder: of each event its last revision."""
    with sqlite3.connect(f"file:{folder}/candor.db?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute("select * from reviews where project = ? order by revision", (project,))]
    return list({row["event_id"]: row for row in rows}.values())


def review(
    site: ServedSite | CandorSite, project: str, item: str, like: Callable[[dict[str, Any]], Any] = lambda _: True
) -> dict[str, Any]:
    """Return the review of an item, as soon as there is one like that."""

    def found() -> dict[str, Any] | None:
        return next((one for one in reviews(site.folder, project) if one["item"] == item and like(one)), None)

    made: dict[str, Any] = until(found, SOON, lambda: f"{reviews(site.folder, project)}\n{site.log()}")
    return made


def photo(name: str) -> bytes:
    """Return a sample, a picture or speech. Where it is not on this machine the test is skipped."""
    found = [one.path for one in kept(cache_home(Settings())) if one.path.name == name]
    if not found:
        pytest.skip(f"{name} is not on this machine: `make demo` fetches it")
    return found[0].read_bytes()


def connected(served: ServedSite | CandorSite, site: LabelStudioSite, project: int, **chosen: Any) -> str:
    """Connect a project, under the name that is returned; what it is told has to be good."""
    name = f"label-studio-{project}"
    body = {"tool": "label-studio", "url": site.url, "token": site.token, "remote_project": str(project), "candor_url": served.url}
    made = served.api("POST", f"/v1/projects/{name}/connections", json={**body, **chosen})
    assert all(one["ok"] for one in made["findings"]), made["findings"]
    return name


def opened(site: LabelStudioSite, project: int, task: int) -> dict[str, Any]:
    """Open a task until it has its prediction, and return that. Label Studio gives Candor one second to say that it is there."""
    found: list[dict[str, Any]] = until(lambda: site.task(task, project)["predictions"], 60)
    return found[0]


def annotation_of(site: LabelStudioSite, task: int) -> dict[str, Any]:
    """Return a task's annotation, once there is one."""
    found: list[dict[str, Any]] = until(lambda: site.api("GET", f"/api/tasks/{task}/annotations/"), SOON)
    return found[0]
