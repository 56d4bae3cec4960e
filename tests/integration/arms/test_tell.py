"""Can a classifier tell honeypots by what a client sees, when they come through the whole of drafting? Real models: `benchmarks.tell`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.tell import BOUND, features, told_apart
from candor.fake import FakeModel
from candor.predictions import Classification, Detections, Prediction
from review.boxes import Box, overlaps
from serving.loading import build_catalog, install_all
from store.draws import Draws
from tests.unit.serving.arms.armed import ask, make_gold, put
from tests.unit.serving.served import Server, calibration_of, model, running, settings_in

CLASSES = [f"class {i}" for i in range(12)]
POOL, GOLD, REVIEWERS = 150, 320, 3


def boxes_from(rng: np.random.Generator) -> Detections:
    """A few boxes here and there, which seldom overlap, as non-maximum suppression leaves them."""
    found: list[Box] = []
    for _ in range(int(rng.poisson(5)) + 2):
        width, height = 640 * np.exp(rng.normal(-2, 0.5, 2))
        x, y = rng.uniform(0, 640 - min(width, 600)), rng.uniform(0, 480 - min(height, 440))
        box = Box("", (float(x), float(y), float(min(640, x + width)), float(min(480, y + height))))
        if not found or overlaps([box], found).max() < 0.3:
            found.append(box)
    score = np.sort(rng.beta(3, 1.2, len(found)))[::-1]
    corners = np.array([box.xyxy for box in found])
    return Detections((640, 480), corners, rng.integers(len(CLASSES), size=len(found)), score, np.log(score / (1 - score)))


def predicted(self: FakeModel, _item: Any, results: Any) -> Prediction:
    rng = np.random.default_rng(results[0])
    return boxes_from(rng) if self._task == "detection" else Classification((64, 48), 2.5 * rng.normal(size=len(CLASSES)))


@pytest.fixture(params=["finder", "namer"])
async def server(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(FakeModel, "finish", predicted)
    for name in ("KNOWN_SECONDS", "MATERIAL_SECONDS"):
        monkeypatch.setattr(f"serving.arms.assigning.{name}", 0.0)
    monkeypatch.setattr("store.draws.secrets.token_bytes", lambda size: bytes(range(size)))  # the same arms and errors every time
    task = "detection" if request.param == "finder" else "classification"
    settings = settings_in(folder)
    models = {**settings.models, request.param: model(task, options_labels=CLASSES)}  # type: ignore[arg-type]
    settings = settings_in(folder, models=models)
    install_all(settings)
    if task == "classification":
        path = folder / "calibration.json"
        path.write_text(json.dumps(calibration_of(build_catalog(settings).resolve("namer").manifest.version).as_json()))
        models["namer"] = models["namer"].model_copy(update={"calibration": path})
    async with running(settings_in(folder, models=models)) as made:
        yield made, f"/v1/{task}/drafts"


async def test_honeypots_are_not_to_be_told_from_natural_drafts(server: tuple[Server, str]) -> None:
    served, path = server
    policy = {"from_scratch_below": {"classification": None}}
    await put(served, "p", {"control": 0.05, "honeypot": 0.5, "raised": 0.5}, policy=policy)
    await put(served, "plain", None, policy=policy)
    await ask(served, [f"pool {n}" for n in range(POOL)], path, project="p", reviewer="first")
    names = [f"gold {n}" for n in range(GOLD)]
    await make_gold(served, await ask(served, names, path, project="plain"))
    answers = [
        one for n in range(REVIEWERS) for one in await ask(served, names, path, project="p", reviewer=f"reviewer {n}", include=["raw"])
    ]
    draws = await Draws(served.services.store).of_draft([one["id"] for one in answers])
    shown = [one for one in answers if draws[one["id"]].arm != "withheld" and draws[one["id"]].rates["honeypot"]]
    x = np.array([features(one) for one in shown])
    y = np.array([float(draws[one["id"]].arm == "honeypot") for one in shown])
    assert min(y.sum(), len(y) - y.sum()) > 200
    auc, upper = told_apart(x, y, [one["item"] for one in shown])
    assert upper <= BOUND, (auc, upper)
    # the same classifier sees a tell where there is one: a honeypot whose draft was made by other hands
    x[y == 1, 0] += 1
    assert told_apart(x, y, [one["item"] for one in shown])[0] > 0.65
