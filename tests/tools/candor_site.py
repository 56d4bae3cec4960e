"""A Candor in a process of its own, without Ray, to be called by real tools: `python -m tests.tools.candor_site SETTINGS PORT`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from candor.predictions import TASKS
from serving.api.services import Services
from serving.composition import local_drafters, opened_store, router
from serving.config import Settings, absolute, load_settings
from serving.deployments.environment import free_port
from serving.http.app import build_routes, create_app
from serving.jobs.worker import Resolved
from serving.loading import install_all
from tests.unit.serving.served import settings_in

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 240


class CandorSite:
    """The process. It may be stopped or killed, and started again at the same address. `changes` are those of `settings_in`."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        media = {"private_hosts": ("127.0.0.1",), **changes.pop("media", {})}
        folder.mkdir(parents=True, exist_ok=True)
        self.settings: Settings = settings_in(folder, media=media, **changes)
        self.folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it can draft."""
        file = self.folder / "site.json"
        file.write_text(json.dumps(self.settings.model_dump(mode="json")), encoding="utf-8")
        command = [sys.executable, "-m", __name__, str(file), str(self._port)]
        with (self.folder / "site.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the server does not answer:\n{self.log()}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, as an operator does; with SIGKILL at once, whatever it is doing."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        """Call its native API and return the answer."""
        answer = self.ask(method, path, **arguments)
        assert answer.is_success, f"{answer.status_code} {answer.text[:1000]}"
        return answer.json() if answer.content else None

    def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Call its native API and return whatever it answers."""
        return httpx.request(method, self.url + path, timeout=120, trust_env=False, **arguments)

    def log(self) -> str:
        """Return the end of what it logged."""
        return (self.folder / "site.log").read_text(errors="replace")[-4000:]


def with_models(folder: Path, **changes: Any) -> CandorSite:
    """Return a Candor with the models of configs/default.yaml and their calibrations, as `make demo` installs them."""
    of_config = absolute(load_settings(ROOT / "configs" / "default.yaml"), ROOT)
    places = {"database_url": f"sqlite+aiosqlite:///{folder}/candor.db", "blobs": str(folder / "blobs")}
    storage = of_config.storage.model_copy(update=places)
    return CandorSite(folder, tasks=of_config.tasks, models=of_config.models, storage=storage, **changes)


def main(settings_file: str, port: str) -> None:
    settings = Resolved(**json.loads(Path(settings_file).read_text(encoding="utf-8")))
    install_all(settings)
    tasks = [task for task in TASKS if task in settings.tasks]

    @asynccontextmanager
    async def start() -> AsyncIterator[Services]:
        async with opened_store(settings) as (store, blobs), local_drafters(settings, tasks, store, blobs) as drafters:
            yield Services(settings, router(settings, drafters, store), store, blobs)

    app = create_app(start, settings.limits.body_bytes)
    build_routes(app)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
