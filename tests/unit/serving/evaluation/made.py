"""Folders, predictions and runs to test evaluation with: made by hand, without a model."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from calibration.correctness import TrueBoxes
from candor.manifest import Manifest
from candor.predictions import Classification, Detections, Segment, Task, Transcript, Word
from serving.evaluation.evaluate import Run
from serving.evaluation.examples import FILES, Example, LabelledFolder, Truth
from serving.evaluation.rows import Outcome, side

IMAGE = (100, 80)


def manifest(task: Task = "detection", **values: Any) -> Manifest:
    labels = () if task == "transcription" else ("cat", "dog", "owl")
    threshold = 0.25 if task == "detection" else None
    return Manifest(
        **{"name": "m", "task": task, "family": "fake", "files": {}, "labels": labels, "display_threshold": threshold, **values}
    )


def boxes(*found: tuple[Sequence[float], int, float]) -> Detections:
    """Boxes of (xyxy, class index, score)."""
    score = np.array([one[2] for one in found], np.float64)
    corners = np.array([one[0] for one in found], np.float64).reshape(-1, 4)
    return Detections(IMAGE, corners, np.array([one[1] for one in found], np.int64), score, logit(score))


def true_boxes(*true: tuple[Sequence[float], int, bool]) -> TrueBoxes:
    """True boxes of (xyxy, class index, crowd)."""
    corners = np.array([one[0] for one in true], np.float64).reshape(-1, 4)
    return TrueBoxes(corners, np.array([one[1] for one in true], np.int64), np.array([one[2] for one in true], np.bool_))


def image_class(*logits: float) -> Classification:
    return Classification(IMAGE, np.array(logits, np.float64))


def spoken(text: str, *logits: float, language: str = "en") -> Transcript:
    """A transcript in which each word has its logit (0 where none is given)."""
    words = tuple(
        Word(word, float(i), i + 0.5, float(expit(x)), x, 0.5)
        for i, (word, x) in enumerate(zip(text.split(), logits or [0.0] * len(text.split()), strict=True))
    )
    return Transcript(10.0, language, (Segment(text, 0.0, 10.0, words, -0.1, 0.0, 1.0),) if words else ())


def example(name: str, truth: Truth, cluster: str = "", source: str = "", size: tuple[int, int] | None = None) -> Example:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return Example(name, Path(name), sha256, cluster or sha256, truth, name, source, size)


def folder(task: Task, examples: Iterable[Example], judged_classes: Iterable[int] = (0, 1, 2)) -> LabelledFolder:
    return LabelledFolder(task, "made", Path("made"), tuple(examples), None, (), frozenset(judged_classes) if task == "detection" else None)


def run(pairs: Sequence[tuple[Example, Outcome]], task: Task, **values: Any) -> Run:
    return Run(folder(task, [one for one, _ in pairs]), manifest(task, **values), [outcome for _, outcome in pairs], 1.0)


def written(where: Path, task: Task, rows: Any, files: Iterable[str]) -> Path:
    """Write a labelled folder: `rows` is COCO's document, or a CSV's rows, its header first."""
    where.mkdir(exist_ok=True)
    for name in files:
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    if task == "detection":
        (where / FILES[task]).write_text(json.dumps(rows))
    else:
        with (where / FILES[task]).open("w", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows(rows)
    return where


def drawn_classes(n: int, temperature: float, seed: int = 0, k: int = 3, strength: float = 2.0) -> list[tuple[Example, Outcome]]:
    """Images whose logits are `temperature` times too large for the truths drawn from them."""
    rng = np.random.default_rng(seed)
    honest = strength * rng.normal(size=(n, k))
    truth = (honest + rng.gumbel(size=(n, k))).argmax(axis=1)
    return [(example(f"{i}.jpg", int(truth[i])), Classification(IMAGE, temperature * honest[i])) for i in range(n)]


def drawn_boxes(n: int, temperature: float, bias: float, seed: int = 0, each: int = 4) -> list[tuple[Example, Outcome]]:
    """Images of `each` boxes far apart, of which each is right with probability sigmoid(logit / temperature + bias)."""
    rng = np.random.default_rng(seed)
    pairs: list[tuple[Example, Outcome]] = []
    for i in range(n):
        x = np.sort(2 * rng.normal(size=each) + 0.5)[::-1]
        places = [[20.0 * j, 0, 20.0 * j + 10, 10] for j in range(each)]
        right = rng.random(each) < expit(x / temperature + bias)
        truth = true_boxes(*((place, 0, False) for place, is_right in zip(places, right, strict=True) if is_right))
        found = Detections(IMAGE, np.array(places, np.float64), np.zeros(each, np.int64), expit(x), x)
        pairs.append((example(f"{i}.jpg", truth), found))
    return pairs


def drawn_words(speakers: int, each: int, temperature: float, bias: float, seed: int = 0) -> list[tuple[Example, Outcome]]:
    """One recording per speaker, of `each` words that are right with probability sigmoid(logit / temperature + bias)."""
    rng = np.random.default_rng(seed)
    pairs: list[tuple[Example, Outcome]] = []
    for i in range(speakers):
        x = 2 * rng.normal(size=each) + 0.5
        right = rng.random(each) < expit(x / temperature + bias)
        # Every word is one of a kind, so that there is one alignment.
        said = [f"a{j}" if is_right else f"b{j}" for j, is_right in enumerate(right)]
        found = spoken(" ".join(f"a{j}" for j in range(each)), *x.tolist())
        pairs.append((example(f"{i}.flac", " ".join(said), cluster=f"speaker {i}"), found))
    return pairs


def sides(pairs: Sequence[tuple[Example, Outcome]]) -> tuple[list[int], list[int]]:
    """Positions of the examples that are fitted on, and of those that the test is made on."""
    found = [side(one.cluster) for one, _ in pairs]
    return [i for i, one in enumerate(found) if one == "fit"], [i for i, one in enumerate(found) if one == "test"]
