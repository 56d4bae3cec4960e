"""Natural drafts of each task, as rendering makes them, for tests of honeypots and comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np

Payload = dict[str, Any]


def box(draft: str, at: int, label: str, xyxy: list[float], score: float) -> Payload:
    raw = {"score": score, "logit": round(float(np.log(score / (1 - score))), 6)}
    return {
        "id": f"{draft}.{at}",
        "label": label,
        "xyxy": xyxy,
        "confidence": round(score * 0.9, 6),
        "no_edit": round(score * 0.7, 6),
        "raw": raw,
    }


def detection(draft: str = "d", seed: int = 0) -> Payload:
    """Four boxes far apart, in descending score."""
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.uniform(0.3, 0.98, 4).round(6))[::-1]
    corners = [(20.0 + 150 * i + rng.uniform(0, 20), 30.0 + rng.uniform(0, 100)) for i in range(4)]
    labels = [
        box(draft, i, ["cat", "dog", "cow", "fox"][int(rng.integers(4))], [x, y, x + 90, y + 120], float(score))
        for i, ((x, y), score) in enumerate(zip(corners, scores, strict=True))
    ]
    return {"image_size": [640, 320], "labels": labels}


def classification(draft: str = "d", seed: int = 0) -> Payload:
    rng = np.random.default_rng(seed)
    shares = np.sort(rng.dirichlet([3.0, 1, 1]).round(6))[::-1]
    names = rng.permutation(["cat", "dog", "cow", "fox"])[:3]
    labels = [
        {"id": f"{draft}.{i}", "label": str(name), "confidence": float(share), "raw": {"score": float(share), "logit": float(share)}}
        for i, (name, share) in enumerate(zip(names, shares, strict=True))
    ]
    return {"image_size": [64, 64], "labels": labels}


def transcription(text: str = "The quick fox. jumps over lazy dogs today", draft: str = "d", seed: int = 0) -> Payload:
    """One segment up to each full stop."""
    rng = np.random.default_rng(seed)
    segments, time = list[Payload](), 0.0
    for part in text.replace(". ", ".|").split("|"):
        words = []
        for word in part.split():
            words.append(
                {
                    "text": word,
                    "start": time,
                    "end": time + 0.4,
                    "confidence": round(float(rng.uniform(0.5, 1)), 6),
                    "raw": {"score": 0.9, "logit": 2.2},
                }
            )
            time = round(time + 0.4, 3)
        segments.append(
            {
                "id": f"{draft}.{len(segments)}",
                "start": words[0]["start"],
                "end": time,
                "text": part,
                "confidence": 0.8,
                "words": words,
                "raw": {},
            }
        )
    return {"duration": time, "language": "en", "text": " ".join(s["text"] for s in segments), "no_speech": False, "segments": segments}


def gold_of(payload: Payload) -> Payload:
    """The truth that makes a draft right."""
    if "segments" in payload:
        return {"text": payload["text"]}
    if "xyxy" in payload["labels"][0]:
        return {"boxes": [{"label": one["label"], "xyxy": list(one["xyxy"])} for one in payload["labels"]]}
    return {"label": payload["labels"][0]["label"]}
