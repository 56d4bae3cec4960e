from __future__ import annotations

import contextlib
import io
from typing import Any

import jiwer
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from whisper_normalizer.english import EnglishTextNormalizer

from calibration.correctness import TrueBoxes
from calibration.words import normaliser_for
from candor.errors import UnreadableItem
from candor.predictions import Detections
from serving.evaluation.quality import quality
from serving.evaluation.rows import Outcome
from tests.unit.serving.evaluation.made import boxes, example, folder, image_class, spoken, true_boxes

A, B, C = [0.0, 0, 10, 10], [20.0, 20, 40, 40], [60.0, 60, 80, 80]


def by_pycocotools(truths: list[TrueBoxes], found: list[Detections]) -> tuple[float, float]:
    """mAP and AP50 as COCO prints them, from COCO's own files and its own default settings."""

    def wide(box: Any) -> list[float]:
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    annotations = [
        {"image_id": i, "category_id": int(c), "bbox": wide(b), "area": float(np.prod(wide(b)[2:])), "iscrowd": int(w)}
        for i, truth in enumerate(truths)
        for b, c, w in zip(truth.xyxy, truth.class_index, truth.crowd, strict=True)
    ]
    results = [
        {"image_id": i, "category_id": int(c), "bbox": wide(b), "score": float(s)}
        for i, one in enumerate(found)
        for b, c, s in zip(one.xyxy, one.class_index, one.score, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truths))],
            "categories": [{"id": i} for i in range(3)],
            "annotations": [{"id": i + 1, **one} for i, one in enumerate(annotations)],
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[0]), float(run.stats[1])


def drawn(seed: int, images: int = 12) -> tuple[list[TrueBoxes], list[Detections]]:
    rng = np.random.default_rng(seed)

    def corners(n: int) -> Any:
        start = rng.integers(0, 60, size=(n, 2))
        return np.concatenate([start, start + rng.integers(10, 40, size=(n, 2))], axis=1).astype(np.float64)

    truths = [TrueBoxes(corners(4), rng.integers(3, size=4), rng.random(4) < 0.15) for _ in range(images)]
    found = []
    for truth in truths:
        near = truth.xyxy + rng.normal(scale=3, size=truth.xyxy.shape)
        score = rng.random(8)
        order = np.argsort(-score)
        places, classes = np.concatenate([near, corners(4)])[order], np.concatenate([truth.class_index, rng.integers(3, size=4)])[order]
        found.append(Detections((100, 100), places, classes, score[order], np.zeros(8)))
    return truths, found


@pytest.mark.parametrize("seed", range(4))
def test_map_and_ap50_are_pycocotools_own(seed: int) -> None:
    truths, found = drawn(seed)
    report = quality(folder("detection", [example(f"{i}.jpg", truth) for i, truth in enumerate(truths)]), found)
    expected = by_pycocotools(truths, found)
    assert (report["map"]["value"], report["ap50"]["value"]) == pytest.approx(expected, abs=1e-6)
    for name in ("map", "ap50"):
        assert report[name]["low"] < report[name]["value"] < report[name]["high"]
    assert report["crowd_regions"] == sum(int(truth.crowd.sum()) for truth in truths) > 0


def test_the_resampled_average_precision_equals_pycocotools_on_images_written_out_again() -> None:
    from serving.evaluation.quality import _coco  # noqa: PLC0415 - the interval stands on it

    truths, found = drawn(5, images=6)
    times = [2, 0, 1, 3, 1, 0]
    _, sheets = _coco([(example(f"{i}.jpg", t), f) for i, (t, f) in enumerate(zip(truths, found, strict=True))], [0, 1, 2])
    by_class = [sheet.precision(0, np.array([times], np.float64))[0] for sheet in sheets]
    again = [i for i, count in enumerate(times) for _ in range(count)]
    expected = by_pycocotools([truths[i] for i in again], [found[i] for i in again])[1]
    assert np.nanmean(by_class) == pytest.approx(expected, abs=0.02)  # equal scores may stand in another order


def test_what_is_shown_and_what_is_missed() -> None:
    data = folder(
        "detection", [example("a", true_boxes((A, 0, False), (B, 0, False), (C, 1, True))), example("b", true_boxes((A, 0, False)))]
    )
    found = [boxes((A, 0, 0.9), (A, 0, 0.8), (C, 1, 0.7), (B, 0, 0.2)), boxes()]
    shown = quality(data, found, None, 0.25)["shown"]
    assert (shown["threshold"], shown["boxes"]) == (0.25, 2)  # the box in the crowd is not counted, the low one is not shown
    assert shown["precision"]["value"] == pytest.approx(1 / 2)
    assert shown["recall"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert shown["missed_per_image"]["value"] == pytest.approx(1.0)
    assert quality(data, found, None, 0.1)["shown"]["recall"]["value"] == pytest.approx(2 / 3, abs=1e-6)


def test_no_boxes_at_all_is_a_precision_of_nothing() -> None:
    report = quality(folder("detection", [example("a", true_boxes((A, 0, False)))]), [boxes()], None, 0.25)
    assert (report["ap50"]["value"], report["shown"]["recall"]["value"], report["shown"]["precision"]["value"]) == (0.0, 0.0, None)


def test_boxes_of_classes_that_nobody_labelled_are_counted_and_not_judged() -> None:
    data = folder("detection", [example("a", true_boxes((A, 0, False)))], judged_classes=[0])
    report = quality(data, [boxes((A, 0, 0.5), (A, 2, 0.9))], None, 0.25)
    assert (report["ap50"]["value"], report["boxes"], report["boxes_not_judged"]) == (1.0, 2, 1)
    assert report["shown"]["precision"]["value"] == 1.0


def test_top1_and_top5_of_the_images_that_did_not_fail() -> None:
    data = folder("classification", [example(f"{i}.jpg", 1) for i in range(4)])
    outcomes: list[Outcome] = [
        image_class(0, 1, 2, 3, 4, 5, -1),
        image_class(0, 9, 1, 1, 1, 1, 1),
        image_class(1, 0, 2, 3, 4, 5, 9),
        UnreadableItem(),
    ]
    report = quality(data, outcomes)
    assert report["images"] == 3
    assert report["top1"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert report["top5"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert 0 < report["top1"]["low"] < 1 / 3 < report["top1"]["high"] < 1


TEXTS = [
    ("s1", "radio", "the cat sat on the mat", "The cat sat on a mat."),
    ("s1", "radio", "twenty one dollars", "$21"),
    ("s2", "radio", "I won't go there", "I will go"),
    ("s2", "phone", "hello", ""),
    ("s3", "phone", "", "Thank you."),
    ("s3", "phone", "the colour of it", "The color of it all"),
]


def test_the_word_error_rate_is_jiwers() -> None:
    data = folder("transcription", [example(f"{i}.flac", text, speaker, source) for i, (speaker, source, text, _) in enumerate(TEXTS)])
    report = quality(data, [spoken(heard) for *_, heard in TEXTS], normaliser_for("en"))
    normal = EnglishTextNormalizer()

    def rate(source: str | None) -> float:
        chosen = [(normal(text), normal(heard)) for _, its, text, heard in TEXTS if source in (None, its)]
        return float(jiwer.wer([text for text, _ in chosen], [heard for _, heard in chosen]))

    assert report["wer"]["value"] == pytest.approx(rate(None), abs=1e-6)
    assert {name: found["value"] for name, found in report["wer_by_source"].items()} == pytest.approx(
        {"phone": rate("phone"), "radio": rate("radio")}, abs=1e-6
    )
    assert (report["wer"]["recordings"], report["wer"]["clusters"]) == (6, 3)
    assert report["wer"]["missed_words"] == 3  # "not", "there" and "hello"
    assert report["normaliser"]["version"] == "0.1.15"


def test_speakers_are_drawn_and_not_recordings() -> None:
    # One speaker has all the errors: with his recordings drawn one by one, the interval would not reach the other's rate.
    data = folder("transcription", [example(f"{i}.flac", "one", "bad" if i < 10 else "good") for i in range(20)])
    report = quality(data, [spoken("two" if i < 10 else "one") for i in range(20)], normaliser_for("en"))
    assert (report["wer"]["low"], report["wer"]["value"], report["wer"]["high"]) == (0.0, 0.5, 1.0)
