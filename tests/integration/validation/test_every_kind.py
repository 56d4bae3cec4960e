"""What people bring, from the file to a draft over the wire: a model of each family registers, is validated and drafts."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.validation.samples import made
from tests.hostile import good
from tests.integration.validation.test_served import registered, settled, site
from tests.unit.serving.served import Server

__all__ = ["site"]


def picture() -> dict[str, Any]:
    pixels = np.random.default_rng(1).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"image": {"base64": base64.b64encode(file.getvalue()).decode()}}


def recording() -> dict[str, Any]:
    return {"audio": {"base64": base64.b64encode(made("transcription")[0]).decode()}}


KINDS: dict[str, tuple[Callable[[Path], Path], str, dict[str, Any]]] = {
    "onnx": (good.onnx_classifier, "classification", {"output": {"head": "logits"}}),
    "timm": (good.timm_safetensors, "classification", {"input": {"architecture": good.ARCHITECTURE}, "output": {}}),
    "ultralytics": (good.ultralytics_checkpoint, "detection", {"output": {"score_floor": 1e-6}, "display_threshold": 1e-6}),
    "whisper": (good.whisper_checkpoint, "transcription", {"labels": "from-model", "output": {}}),
}


@pytest.mark.parametrize("family", KINDS)
async def test_a_model_of_each_family_registers_is_validated_and_drafts(site: Server, tmp_path: Path, family: str) -> None:
    make, task, manifest = KINDS[family]
    version = await registered(site, "own", make(tmp_path / f"model-{family}"), {"family": family, "task": task, **manifest})
    found = await settled(site, version)
    assert found["state"] == "ready", found["report"]["problem"]
    item = {"id": "a", **(recording() if task == "transcription" else picture())}
    (draft,) = await site.drafts([item], f"/v1/{task}/drafts", model="own")
    assert "error" not in draft, draft
    assert draft["model_version"] == found["version"]
    assert draft["confidence_status"] == "uncalibrated"
    if task == "classification":
        assert {label["label"] for label in draft["labels"]} == set(good.LABELS)
    if task == "detection":
        assert draft["labels"]
        assert {label["label"] for label in draft["labels"]} <= set(good.LABELS)
    if task == "transcription":
        assert draft["language"]
