"""A server whose fake models are calibrated, and one that asks for keys: what other tools' clients see of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from candor.predictions import Task
from serving.config import Settings
from serving.loading import build_catalog, install_all
from tests.unit.serving.served import MODELS, Server, calibration_of, model, running, settings_in


def calibrated(folder: Path, bias: float = 2.0, **changes: Any) -> Settings:
    """Settings of a server whose models all have a calibration. Words have confidence 0.88: none is to be made from scratch."""
    models = {**settings_in(folder).models, "finder": model("detection", options_display_threshold=0.0)}
    plain = settings_in(folder, models=models)
    install_all(plain)
    for task, name in MODELS.items():
        installed = build_catalog(plain).installed(name)
        assert installed is not None
        path = folder / f"{name}.json"
        path.write_text(json.dumps(calibration_of(installed.manifest.version, task, **_words(task, bias)).as_json()))
        models[name] = plain.models[name].model_copy(update={"calibration": path})
    return settings_in(folder, models=models, **changes)


def _words(task: Task, bias: float) -> dict[str, Any]:
    return {"parameters": {"temperature": 2.0, "bias": bias}} if task == "transcription" else {}


@asynccontextmanager
async def calibrated_server(template: Path, folder: Path) -> AsyncIterator[Server]:
    """Run a server with calibrations in a copy of the template, for a module. Its application is another than that of `running` with
    the usual settings, so that a test may start a server of its own meanwhile."""
    shutil.copytree(template, folder)
    async with running(calibrated(folder, limits={"body_bytes": 1 << 20})) as server:
        await server.ready()
        yield server
