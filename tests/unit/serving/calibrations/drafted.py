"""Stored drafts, and truths of them, with known confidences: as if the fake models had made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from candor.drafts import Draft
from candor.ids import new_id
from candor.manifest import Manifest
from serving.config import Settings
from serving.loading import build_catalog
from tests.unit.store.drafts import draft, sha


def manifest_of(settings: Settings, model: str) -> Manifest:
    return build_catalog(settings).resolve(model).manifest


def image_draft(manifest: Manifest, item: str, logit: float, confidence: float | None = None, calibration: str | None = "cal_1") -> Draft:
    """A classification between `cat`, which comes first with this log-odds, and `dog`."""
    shown = [("cat", logit, confidence), ("dog", 0.0, None if confidence is None else 1 - confidence)]
    labels = [{"label": name, "confidence": c, "raw": {"score": round(float(expit(x)), 6), "logit": x}} for name, x, c in shown]
    return draft(
        id=new_id("drf"),
        item=item,
        task="classification",
        model_version=manifest.version,
        calibration=None if confidence is None else calibration,
        confidence=confidence,
        payload={"image_size": [64, 48], "labels": labels},
        media_sha256=sha(item),
    )


def image_drafts(manifest: Manifest, logits: Sequence[float], confidences: Sequence[float] | None = None, **more: Any) -> list[Draft]:
    """One draft per log-odds; items are named by their position."""
    shown = [None] * len(logits) if confidences is None else [float(one) for one in confidences]
    return [image_draft(manifest, f"{i}.jpg", float(x), shown[i], **more) for i, x in enumerate(logits)]


def told(draft: Draft, right: bool, stream: str = "gold", **more: Any) -> dict[str, Any]:
    """An entry of `POST /v1/outcomes` that makes an image's draft right or wrong."""
    return {"draft": draft.id, "stream": stream, "source": f"evt-{draft.id}", "truth": {"label": "cat" if right else "dog"}, **more}


def drawn(n: int, temperature: float, bias: float = 0.0, seed: int = 0) -> tuple[Any, Any]:
    """Log-odds (n,) and whether each is right, with probability sigmoid(logit / temperature + bias)."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=n) + 0.7
    return logits, rng.random(n) < expit(logits / temperature + bias)
