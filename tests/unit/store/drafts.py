"""Drafts to store."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from candor.drafts import Draft, Timings
from candor.ids import new_id


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def draft(**changes: Any) -> Draft:
    values: dict[str, Any] = {
        "id": new_id("drf"),
        "item": "img-001",
        "task": "detection",
        "model_version": "yolo@1a2b",
        "calibration": "cal_1",
        "confidence_status": "calibrated",
        "confidence": 0.1 + 0.2,
        "payload": {"image_size": [640, 480], "labels": [{"label": "dog", "xyxy": [1.125, 2, 3e-9, 4], "raw": {"logit": -0.1}}]},
        "timings": Timings(fetch=0.1234567, prepare=0.2, queue=1e-7, infer=0.3, finish=0.4, batch_size=8, cached=True),
        "media_sha256": sha("img-001"),
        "created_at": datetime.now(UTC),
        "project": "prj_1",
    }
    return Draft(**{**values, **changes})
