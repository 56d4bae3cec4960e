"""Can a classifier tell honeypots from natural drafts by what a client sees? On made drafts; real models are a benchmark's matter."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from candor.predictions import Floats
from review.boxes import boxes_of, overlaps
from review.honeypots import Payload, Sources, honeypot

N = 500  # drafts of each kind
CLASSES = [f"class {i}" for i in range(12)]
WORDS = [a + b for a in ("ba", "ke", "li", "mo", "nu", "pra", "sto", "tri") for b in ("n", "rt", "le", "ster", "mp", "d", "cky", "vo")]


def detections(rng: np.random.Generator, draft: str) -> Payload:
    """A few boxes here and there, which seldom overlap, as non-maximum suppression leaves them."""
    labels = list[Payload]()
    for score in np.sort(rng.beta(3, 1.2, rng.poisson(5) + 2))[::-1]:
        width, height = 640 * np.exp(rng.normal(-2, 0.5, 2))
        x, y = rng.uniform(0, 640 - min(width, 600)), rng.uniform(0, 480 - min(height, 440))
        label = {
            "id": f"{draft}.{len(labels)}",
            "label": str(rng.choice(CLASSES)),
            "xyxy": [round(float(v), 3) for v in (x, y, min(640, x + width), min(480, y + height))],
            "confidence": round(float(score) ** 1.3, 6),
            "raw": {"score": round(float(score), 6)},
        }
        if not labels or overlaps(boxes_of([label]), boxes_of(labels)).max() < 0.3:
            labels.append({**label, "id": f"{draft}.{len(labels)}"})
    return {"image_size": [640, 480], "labels": labels}


def transcripts(rng: np.random.Generator, draft: str) -> Payload:
    words, time = list[Payload](), 0.0
    for text in rng.choice(WORDS, rng.poisson(14) + 4):
        end = round(time + float(np.exp(rng.normal(-1.2, 0.45))), 3)
        words.append({"text": str(text), "start": time, "end": end, "confidence": round(float(rng.beta(6, 1)), 6), "raw": {"score": 0.5}})
        time = end
    text = " ".join(str(word["text"]) for word in words)
    segment = {"id": f"{draft}.0", "start": 0.0, "end": time, "text": text, "confidence": 0.8, "words": words}
    return {"duration": time, "language": "en", "text": text, "segments": [segment]}


def features_of_boxes(draft: Payload) -> list[float]:
    labels, boxes = draft["labels"], boxes_of(draft["labels"])
    if not labels:
        return [0.0] * 14
    confidence = np.array([one["confidence"] for one in labels])
    sides = np.array([[b.xyxy[2] - b.xyxy[0], b.xyxy[3] - b.xyxy[1]] for b in boxes])
    near = (overlaps(boxes, boxes) - np.eye(len(boxes))).max()
    shape = [
        float(v)
        for v in (*np.log(sides.prod(axis=1)).min(keepdims=True), np.log(sides.prod(axis=1)).max(), (sides[:, 0] / sides[:, 1]).max())
    ]
    order = np.diff(confidence, prepend=1.0)
    same = len({b.label for b in boxes}) / len(boxes)
    edges = float(min(min(b.xyxy[0], b.xyxy[1], 640 - b.xyxy[2], 480 - b.xyxy[3]) for b in boxes))
    return [
        len(labels),
        confidence.mean(),
        confidence.min(),
        confidence.max(),
        confidence.std(),
        near,
        *shape,
        order.min(),
        order.max(),
        same,
        edges,
        0,
    ]


def features_of_words(draft: Payload) -> list[float]:
    words = draft["segments"][0]["words"]
    confidence = np.array([one["confidence"] for one in words])
    length = np.array([one["end"] - one["start"] for one in words])
    letters = np.array([len(one["text"]) for one in words])
    gaps = np.array([b["start"] - a["end"] for a, b in pairwise(words)])
    pace = letters / np.maximum(length, 1e-3)
    return [
        len(words),
        confidence.mean(),
        confidence.min(),
        confidence.std(),
        length.min(),
        length.max(),
        length.std(),
        gaps.max(),
        gaps.min(),
        pace.min(),
        pace.max(),
    ]


def gold(draft: Payload) -> dict[str, Any]:
    if "labels" in draft:
        return {"boxes": [{"label": one["label"], "xyxy": one["xyxy"]} for one in draft["labels"]]}
    return {"text": draft["text"]}


def auc_of(x: Floats, y: Floats) -> tuple[float, float]:
    """The area of a classifier that was fitted on other drafts, and its upper 95 % bound (Hanley and McNeil, 1982)."""
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.08, max_leaf_nodes=8)
    auc = float(roc_auc_score(y, cross_val_predict(model, x, y, cv=5, method="predict_proba")[:, 1]))
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return auc, auc + 1.645 * float(np.sqrt((auc * (1 - auc) + (N - 1) * (q1 + q2 - 2 * auc**2)) / N**2))


CASES = [("detection", detections, features_of_boxes), ("transcription", transcripts, features_of_words)]


@pytest.mark.parametrize(("task", "make", "features"), CASES)
def test_honeypots_are_not_to_be_told_from_natural_drafts(task: Any, make: Any, features: Any) -> None:
    rng = np.random.default_rng(17)
    sources = Sources([make(rng, "n") for _ in range(300)], {}, CLASSES)
    natural, planted = [make(rng, "d") for _ in range(N)], list[Payload]()
    while len(planted) < N:
        draft = make(rng, "d")
        if made := honeypot(task, draft, gold(draft), sources, rng, "d"):
            planted.append(made[0])
    x, y = np.array([features(one) for one in natural + planted], np.float64), np.repeat([0.0, 1.0], N)
    auc, upper = auc_of(x, y)
    assert upper <= 0.60, (auc, upper)
    # the same classifier sees a tell where there is one: planted labels that are too sure
    x[N:, 1] += 0.1
    assert auc_of(x, y)[0] > 0.65
