"""The built-in detector's boxes are those of OpenCV's Darknet importer on the same weights, recorded by recordings/record_opencv.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from candor.conformance import check, predict
from candor.families import LoadedModel, MediaLimits
from candor.predictions import Detections
from tests.integration.models.images import BAD

RECORD = json.loads((Path(__file__).parent / "recordings" / "opencv_yolov3_tiny.json").read_text())
PIXELS = 0.01
SCORE = 1e-4


def pairs(xyxy: NDArray[Any], classes: NDArray[Any], score: NDArray[Any], others: dict[str, NDArray[Any]]) -> tuple[float, float]:
    """Pair each box with the nearest of its class; return how far apart the worst pair is, in pixels and in score."""
    pixels = scores = 0.0
    for box, class_index, value in zip(xyxy, classes, score, strict=True):
        same = others["class_index"] == class_index
        assert same.any(), f"OpenCV has no box of class {class_index}"
        away = np.abs(others["xyxy"][same] - box).max(1)
        pixels = max(pixels, away.min())
        scores = max(scores, abs(others["score"][same][away.argmin()] - value))
    return float(pixels), float(scores)


def recorded(name: str, size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    found = {key: np.array(value) for key, value in RECORD["pictures"][name].items()}
    found["xyxy"] = np.clip(found["xyxy"], 0, [*size, *size])
    return found


@pytest.fixture(params=sorted(RECORD["pictures"]))
def picture(request: pytest.FixtureRequest, named_pictures: dict[str, bytes]) -> tuple[str, bytes]:
    name: str = request.param
    return name, named_pictures[name]


def test_every_candidate_is_opencvs(loaded: Callable[[str], LoadedModel], picture: tuple[str, bytes]) -> None:
    model, (name, data) = loaded("yolov3-tiny"), picture
    item = model.prepare(data, MediaLimits())
    (candidates,) = model.infer(list(item.units))
    score = 1 / (1 + np.exp(-candidates.logit))
    ours = {"xyxy": item.context.restore(candidates.xyxy), "class_index": candidates.class_index, "score": score}
    theirs = recorded(name, item.context.image_size)
    above = score > RECORD["least_score"] + SCORE
    surely = theirs["score"] > RECORD["least_score"] + SCORE
    for one, other in (
        ({key: value[above] for key, value in ours.items()}, theirs),
        ({key: value[surely] for key, value in theirs.items()}, ours),
    ):
        assert len(one["score"]) > 0
        pixels, scores = pairs(one["xyxy"], one["class_index"], one["score"], other)
        assert pixels < PIXELS
        assert scores < SCORE


def test_every_box_is_opencvs(loaded: Callable[[str], LoadedModel], picture: tuple[str, bytes]) -> None:
    name, data = picture
    (found,) = predict(loaded("yolov3-tiny"), [data], batch=1)
    assert isinstance(found, Detections)
    surely = found.score > RECORD["least_score"] + SCORE
    pixels, scores = pairs(found.xyxy[surely], found.class_index[surely], found.score[surely], recorded(name, found.image_size))
    assert pixels < PIXELS
    assert scores < SCORE
    assert found.score[0] == pytest.approx(max(RECORD["pictures"][name]["score"]), abs=SCORE)


def test_the_built_in_model_passes_the_conformance_suite(loaded: Callable[[str], LoadedModel], pictures: list[bytes]) -> None:
    assert check(loaded("yolov3-tiny"), pictures, BAD)
