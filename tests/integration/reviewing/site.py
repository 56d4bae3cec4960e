"""A server in a process of its own, over fake models, to be killed: `python -m tests.integration.reviewing.site SETTINGS PORT`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from candor.predictions import TASKS
from serving.api.services import Services
from serving.arms import assigning
from serving.composition import local_drafters, opened_store, router
from serving.config import Settings
from serving.deployments.environment import free_port
from serving.http.app import create_app
from serving.jobs.worker import Resolved

ROOT = Path(__file__).resolve().parents[3]
SECRET = bytes(range(32))  # so that the same arms are drawn each time
_START_SECONDS = 60


class Site:
    """The process, started again after each end."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = folder / "site.json"
        self._settings.write_text(json.dumps(settings.model_dump(mode="json")), encoding="utf-8")
        self._log = folder / "site.log"
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        command = [sys.executable, "-m", __name__, str(self._settings), str(self._port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the server does not answer:\n{self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        assert self._process is not None
        self._process.kill()
        assert self._process.wait(10) == -signal.SIGKILL

    def close(self) -> None:
        """See to it that nothing is left running."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


def main(settings_file: str, port: str) -> None:
    settings = Resolved(**json.loads(Path(settings_file).read_text(encoding="utf-8")))
    assigning.KNOWN_SECONDS, assigning.MATERIAL_SECONDS = 0.2, 1.0
    pytest.MonkeyPatch().setattr("store.draws.secrets.token_bytes", lambda *_: SECRET)

    @asynccontextmanager
    async def start() -> AsyncIterator[Services]:
        async with opened_store(settings) as (store, blobs), local_drafters(settings, TASKS, store, blobs) as drafters:
            yield Services(settings, router(settings, drafters, store), store, blobs)

    uvicorn.run(create_app(start, settings.limits.body_bytes), host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    main(*sys.argv[1:])
