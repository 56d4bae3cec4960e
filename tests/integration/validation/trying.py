"""What the tests of validation share: one model tried in this process, or in one of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from candor.predictions import Task
from models.requested import Requested
from serving.jobs.worker import Progress
from serving.validation.examine import examine
from serving.validation.order import Order
from serving.validation.trial import tried
from tests.hostile import good

TASKS: dict[str, Task] = {"onnx": "classification", "timm": "classification", "whisper": "transcription", "ultralytics": "detection"}


def ordered(artifact: Path, family: str, folder: Path, labels: Any = None, **changes: Any) -> Order:
    """Order to try a file as what the helpers in `tests.hostile.good` make of that family. `settings` are options of the family."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "adopted").mkdir(parents=True)
    place = Path(shutil.copyfile(artifact, folder / artifact.name))
    settings = changes.pop("settings", {"architecture": good.ARCHITECTURE} if family == "timm" else {})
    chosen = labels or (tuple(good.LABELS) if family in ("onnx", "timm") else "from-model")
    request = Requested(family, TASKS[family], chosen, settings).as_request()
    values = {"batches": (1, 2), "memory_bytes": 4 * 2**30, "seconds": 60.0, **changes}
    return Order("mine", TASKS[family], "default", request, place, folder / "adopted", **values)


def examined(artifact: Path, family: str, folder: Path, labels: Any = None, **changes: Any) -> dict[str, Any]:
    """Try a file in this process."""
    return examine(ordered(artifact, family, folder, labels, **changes), lambda share, step: None)


async def tried_apart(artifact: Path, family: str, folder: Path, labels: Any = None, **changes: Any) -> dict[str, Any]:
    """Try a file in a process with limits, as the worker does."""
    return await tried(ordered(artifact, family, folder, labels, **changes), folder, Progress())


def refused(found: dict[str, Any], *codes: str) -> str:
    """Assert that a model was refused with a readable problem, and return its detail."""
    assert not found["passed"], found
    problem = found["problem"]
    assert problem["code"] in (codes or ("unsafe_artifact",)), problem
    assert 20 < len(problem["detail"]) < 1500, problem
    assert "Traceback" not in problem["detail"]
    assert "/adopted" not in problem["detail"], problem  # where things lie on this machine is nobody's concern
    assert found["checks"][-1]["passed"] is False
    assert found["adopted"] is None
    detail: str = problem["detail"]
    return detail
