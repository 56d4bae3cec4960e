"""A real Label Studio, as scripts/label-studio starts it, and what tests do with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "label-studio"
USER = "lead@example.com"
_LABELS = "".join(f'<{{0}} value="{label}"/>' for label in ("cat", "dog"))
_IMAGE = '<View><Image name="image" value="$image"/>'
BOXES = f'{_IMAGE}<RectangleLabels name="box" toName="image">{_LABELS.format("Label")}</RectangleLabels></View>'
CHOICES = f'{_IMAGE}<Choices name="kind" toName="image">{_LABELS.format("Choice")}</Choices></View>'
SEGMENTS = (
    '<View><Labels name="labels" toName="audio"><Label value="Speech"/></Labels><Audio name="audio" value="$audio"/>'
    '<TextArea name="transcription" toName="audio" perRegion="true" editable="true"/></View>'
)


def tool_python(name: str = "") -> Path:
    """Return the Python of Label Studio's environment, or of the `clients`'. Where it is not installed the test is skipped."""
    found = subprocess.run([SCRIPT, "python", *([name] if name else [])], capture_output=True, text=True, check=False, timeout=30)
    if found.returncode:
        pytest.skip(found.stderr.strip())
    return Path(found.stdout.strip())


def chromium() -> Path:
    """Return the browser. Where there is none the test is skipped."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no Chromium: scripts/label-studio ensure")
    return Path(found)


class LabelStudioSite:
    """One that runs, with the token of who owns it. Its clock is this machine's."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._environment = dict(environment or {})
        self.url = ""
        self.start()
        self.token = (folder / "token").read_text().strip()
        self.password = (folder / "password").read_text().strip()

    def start(self) -> None:
        """Start it, or start it again where it was stopped, at the same address."""
        tool_python()
        environment = {**os.environ, **self._environment}
        done = subprocess.run([SCRIPT, "start", self.folder], capture_output=True, text=True, check=False, timeout=200, env=environment)
        assert done.returncode == 0, done.stderr
        self.url = done.stdout.strip()

    def restart(self, **environment: str) -> None:
        """Start it again, with other variables of its environment."""
        self.stop()
        self._environment |= environment
        self.start()

    def stop(self) -> None:
        """Stop it; its data stay."""
        subprocess.run([SCRIPT, "stop", self.folder], check=True, timeout=60)

    def remove(self) -> None:
        """Stop it, and delete its data."""
        subprocess.run([SCRIPT, "remove", self.folder], check=True, timeout=60)

    def api(self, method: str, path: str, *, token: str | None = None, **arguments: Any) -> Any:
        """Call its API as its owner, or with another legacy token; return the answer."""
        answer = self.ask(method, path, token=token, **arguments)
        assert answer.is_success, f"{answer.status_code} {answer.text[:1000]}"
        return answer.json() if answer.content else None

    def ask(self, method: str, path: str, *, token: str | None = None, **arguments: Any) -> httpx.Response:
        """Call its API and return whatever it answers."""
        headers = {"Authorization": f"Token {token or self.token}"}
        return httpx.request(method, self.url + path, headers=headers, timeout=120, trust_env=False, **arguments)

    def project(self, config: str = BOXES, title: str = "birds", **fields: Any) -> int:
        """Make a project and return its id."""
        return int(self.api("POST", "/api/projects/", json={"title": title, "label_config": config, **fields})["id"])

    def import_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Import tasks, each its data, and return their ids in their order."""
        before = set(self.tasks(project))
        self.api("POST", f"/api/projects/{project}/import", json=[{"data": dict(task)} for task in tasks])
        return sorted(set(self.tasks(project)) - before)

    def upload(self, project: int, files: Iterable[tuple[str, bytes]]) -> list[int]:
        """Upload files by their names, each a task; return the tasks' ids."""
        before = set(self.tasks(project))
        some = [(f"file{n}", one) for n, one in enumerate(files)]
        for start in range(0, len(some), 100):  # the most that Label Studio takes in one request
            self.api("POST", f"/api/projects/{project}/import", files=some[start : start + 100])
        return sorted(set(self.tasks(project)) - before)

    def tasks(self, project: int) -> dict[int, dict[str, Any]]:
        """Return a project's tasks by their ids, with annotations and predictions."""
        found: list[dict[str, Any]] = []
        while True:
            params = {"project": project, "fields": "all", "page_size": 200, "page": len(found) // 200 + 1}
            answer = self.api("GET", "/api/tasks", params=params)
            found += answer["tasks"]
            if len(found) >= answer["total"] or not answer["tasks"]:
                return {int(task["id"]): task for task in found}

    def task(self, task: int, project: int) -> dict[str, Any]:
        """Open a task, as its page does: Label Studio asks the ML backend for predictions now."""
        found: dict[str, Any] = self.api("GET", f"/api/tasks/{task}", params={"project": project})
        return found

    def predictions(self, project: int) -> list[dict[str, Any]]:
        """Return all predictions of a project's tasks."""
        found: list[dict[str, Any]] = self.api("GET", "/api/predictions/", params={"project": project})
        return found

    def retrieve(self, project: int, tasks: Sequence[int]) -> Any:
        """Do what “Retrieve Predictions” does in the Data Manager for selected tasks."""
        body = {"selectedItems": {"all": False, "included": list(tasks)}, "project": str(project)}
        return self.api("POST", "/api/dm/actions", params={"id": "retrieve_tasks_predictions", "project": project}, json=body)

    def annotate(self, task: int, result: Sequence[Mapping[str, Any]], *, seconds: float = 5.0, **fields: Any) -> int:
        """Submit an annotation, as a browser does, and return its id."""
        body = {"result": list(result), "lead_time": seconds, **fields}
        return int(self.api("POST", f"/api/tasks/{task}/annotations/", json=body)["id"])

    def backends(self, project: int) -> list[dict[str, Any]]:
        """Return a project's ML backends; Label Studio calls each meanwhile."""
        found: list[dict[str, Any]] = self.api("GET", "/api/ml", params={"project": project})
        return found

    def webhooks(self, project: int) -> list[dict[str, Any]]:
        """Return a project's webhooks."""
        found: list[dict[str, Any]] = self.api("GET", "/api/webhooks/", params={"project": project})
        return found

    def personal_token(self) -> str:
        """Make a personal access token."""
        return str(self.api("POST", "/api/token/")["token"])

    def log(self) -> str:
        """Return the end of what it logged."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]


def until(true: Any, seconds: float = 30.0, told: Any = lambda: "it did not come true") -> Any:
    """Return what a function returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, told()
        time.sleep(0.2)
    return found
