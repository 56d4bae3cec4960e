"""How good a model is on a labelled folder: mAP and AP50, top-1 and top-5, word error rate, each with an interval."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from calibration.correctness import MOST_BOXES, TrueBoxes, judge_boxes, judge_class
from calibration.intervals import SEED, Figure, draw_clusters, percentile_interval, ratio_interval
from calibration.measure import wilson
from calibration.words import Normaliser
from candor.errors import CandorError
from candor.predictions import Classification, Detections, Floats, Ints, Transcript
from serving.evaluation.examples import Example, LabelledFolder
from serving.evaluation.rows import Outcome, words_of

_IMAGE_RESAMPLES = 200
_TOP = 5


def quality(
    folder: LabelledFolder, outcomes: Sequence[Outcome], normaliser: Normaliser | None = None, threshold: float | None = None
) -> dict[str, Any]:
    """Return the task's quality figures as JSON values, over the items that did not fail.

    `threshold` is the score from which boxes are shown: what they miss is told too, as honest confidence could be bought by showing few.
    """
    done = [(example, o) for example, o in zip(folder.examples, outcomes, strict=True) if not isinstance(o, CandorError)]
    if folder.task == "detection":
        return _detection(folder, [(e, p) for e, p in done if isinstance(p, Detections)], threshold)
    if folder.task == "classification":
        return _classification([(e, p) for e, p in done if isinstance(p, Classification)])
    assert normaliser is not None  # noqa: S101 - its caller chose one
    return _transcription([(e, p) for e, p in done if isinstance(p, Transcript)], normaliser)


def as_json(figure: Figure) -> dict[str, float | None]:
    """Return value and interval of a figure without a noise floor."""
    return {name: None if value is None else round(value, 6) for name, value in asdict(figure).items() if not name.startswith("floor")}


def _classification(done: Sequence[tuple[Example, Classification]]) -> dict[str, Any]:
    def share(hits: int) -> dict[str, float | None]:
        return as_json(Figure(hits / len(done), *wilson(hits, len(done))))

    if not done:
        return {"images": 0}
    first = sum(judge_class(prediction, int(str(example.truth))) for example, prediction in done)
    top = sum(example.truth in np.argsort(-prediction.logits, kind="stable")[:_TOP] for example, prediction in done)
    return {"images": len(done), "top1": share(first), "top5": share(int(top)), "interval": "Wilson, 95 %, images as independent"}


def _transcription(done: Sequence[tuple[Example, Transcript]], normaliser: Normaliser) -> dict[str, Any]:
    judged = [(example, words_of(example, prediction, normaliser)) for example, prediction in done]

    def rate(source: str | None) -> dict[str, Any]:
        chosen = [(example, words) for example, words in judged if source in (None, example.source)]
        speakers = sorted({example.cluster for example, _ in chosen})
        errors = [sum(words.errors for example, words in chosen if example.cluster == speaker) for speaker in speakers]
        spoken = [sum(words.reference for example, words in chosen if example.cluster == speaker) for speaker in speakers]
        missed = sum(len(words.missed) for _, words in chosen)  # no displayed word stands for them: no confidence warns of them
        counts = {"recordings": len(chosen), "words": sum(spoken), "missed_words": missed, "clusters": len(speakers)}
        return {**as_json(ratio_interval(np.array(errors, np.float64), np.array(spoken, np.float64))), **counts}

    sources = sorted({example.source for example, _ in judged} - {""})
    return {
        "wer": rate(None),
        "wer_by_source": {source: rate(source) for source in sources},
        "normaliser": normaliser.as_json(),
        "interval": "bootstrap over speakers (over recordings where none is named), 95 %",
    }


def _detection(folder: LabelledFolder, done: Sequence[tuple[Example, Detections]], threshold: float | None) -> dict[str, Any]:
    classes = sorted(folder.judged_classes or ())
    found = sum(len(prediction.score) for _, prediction in done)
    judged = sum(int(np.isin(prediction.class_index, classes).sum()) for _, prediction in done)
    crowd = sum(int(truth.crowd.sum()) for example, _ in done if isinstance(truth := example.truth, TrueBoxes))
    true = sum(len(truth.crowd) for example, _ in done if isinstance(truth := example.truth, TrueBoxes))
    counts = {"images": len(done), "true_boxes": true - crowd, "crowd_regions": crowd, "boxes": found, "boxes_not_judged": found - judged}
    if not done or not classes:
        return counts
    precision, sheets = _coco(done, classes)
    resampled = [_resampled(sheets, level) for level in range(len(precision))]
    return {
        "map": as_json(_mean_of(precision, np.mean(resampled, axis=0))),
        "ap50": as_json(_mean_of(precision[:1], resampled[0])),
        **counts,
        **_shown(done, classes, threshold or 0.0),
        "interval": f"bootstrap over images, {_IMAGE_RESAMPLES} resamples, 95 %",
    }


def average_precision(folder: LabelledFolder, outcomes: Sequence[Outcome]) -> float | None:
    """Return COCO's mean average precision over IoU 0.5 to 0.95; None where nothing was to be found."""
    done = [(example, o) for example, o in zip(folder.examples, outcomes, strict=True) if isinstance(o, Detections)]
    values = [value for value in _coco(done, sorted(folder.judged_classes or ()))[0] if value is not None]
    return float(np.mean(values)) if values else None


def coco_matches(folder: LabelledFolder, outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """Return how many boxes are right at IoU 0.5, and how many count, by COCO's own code."""
    done = [(example, o) for example, o in zip(folder.examples, outcomes, strict=True) if isinstance(o, Detections)]
    sheets = _coco(done, sorted(folder.judged_classes or ()))[1]
    counted = [~sheet.ignored[0] for sheet in sheets]
    return sum(int((sheet.hit[0] & kept).sum()) for sheet, kept in zip(sheets, counted, strict=True)), sum(
        int(kept.sum()) for kept in counted
    )


def _shown(done: Sequence[tuple[Example, Detections]], classes: Sequence[int], threshold: float) -> dict[str, Any]:
    """Return how many of the boxes that are shown are right, and how many of the true ones are found (crowds aside)."""
    right, counted, true = np.zeros((3, len(done)))
    for index, (example, prediction) in enumerate(done):
        assert isinstance(example.truth, TrueBoxes)  # noqa: S101 - read_folder pairs them
        judged, shown = judge_boxes(prediction, example.truth), prediction.score >= threshold
        shown &= judged.counted & np.isin(prediction.class_index, classes)
        right[index], counted[index] = (judged.correct & shown).sum(), shown.sum()
        true[index] = (~example.truth.crowd).sum()
    return {
        "shown": {
            "threshold": threshold,
            "boxes": int(counted.sum()),
            "precision": as_json(ratio_interval(right, counted)),
            "recall": as_json(ratio_interval(right, true)),
            "missed_per_image": as_json(ratio_interval(true - right, np.ones(len(done)))),
        }
    }


def _mean_of(precision: Sequence[float | None], resampled: Floats) -> Figure:
    values = [value for value in precision if value is not None]
    kept = resampled[np.isfinite(resampled)]
    if not values:
        return Figure(None)
    return Figure(float(np.mean(values)), *(percentile_interval(kept) if len(kept) else (None, None)))


class Sheet:
    """One class as pycocotools matched it: detections of all images in descending score, matches at each IoU level."""

    def __init__(self, by_image: Sequence[dict[str, Any] | None]) -> None:
        used = [(index, sheet) for index, sheet in enumerate(by_image) if sheet is not None]
        self.images = len(by_image)
        self.true = np.zeros(self.images)
        for index, sheet in used:
            self.true[index] = np.count_nonzero(np.asarray(sheet["gtIgnore"]) == 0)
        score = np.concatenate([sheet["dtScores"] for _, sheet in used] or [np.zeros(0)])
        order = np.argsort(-score, kind="mergesort")
        self.image: Ints = np.concatenate([np.full(len(sheet["dtScores"]), index) for index, sheet in used] or [np.zeros(0, int)])[order]
        self.hit = _stacked([sheet["dtMatches"] for _, sheet in used])[:, order] > 0
        self.ignored = _stacked([sheet["dtIgnore"] for _, sheet in used])[:, order] > 0

    def precision(self, level: int, drawn: Floats) -> Floats:
        """Average precision at one IoU level for each resample; `drawn` (r, images) says how often each image counts.

        The mean over 101 recall levels of the highest precision at that recall or above; NaN where no true box was drawn.
        """
        true = drawn @ self.true
        weight = drawn[:, self.image] * ~self.ignored[level]
        hits, all_ = np.cumsum(weight * self.hit[level], axis=1), np.cumsum(weight, axis=1)
        best = np.maximum.accumulate((hits / np.maximum(all_, np.spacing(1)))[:, ::-1], axis=1)[:, ::-1]
        levels = np.linspace(0, 1, 101)
        answer: Floats = np.full(len(drawn), np.nan)
        for row in np.flatnonzero(true > 0):
            at = np.searchsorted(hits[row] / true[row], levels, side="left")
            answer[row] = best[row][at[at < len(best[row])]].sum() / len(levels)
        return answer


def _stacked(parts: Sequence[Any]) -> Floats:
    return np.asarray(np.concatenate(parts, axis=1), np.float64) if parts else np.zeros((10, 0))


def _resampled(sheets: Sequence[Sheet], level: int) -> Floats:
    """Mean over classes of the average precision, in each resample of the images."""
    drawn = draw_clusters(sheets[0].images, _IMAGE_RESAMPLES, SEED)
    by_class = np.array([sheet.precision(level, drawn) for sheet in sheets])
    counted = np.isfinite(by_class).sum(axis=0)
    sums = np.nansum(by_class, axis=0)
    return np.asarray(np.where(counted > 0, sums / np.maximum(counted, 1), np.nan))


def _coco(done: Sequence[tuple[Example, Detections]], classes: Sequence[int]) -> tuple[list[float | None], list[Sheet]]:
    """Run COCO's evaluation; return its mean AP at each IoU from 0.5 to 0.95, and its matches by class for resampling."""
    from pycocotools.coco import COCO  # noqa: PLC0415 - slow to import
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        truth = COCO()
        truth.dataset = _truth_document([example.truth for example, _ in done if isinstance(example.truth, TrueBoxes)], classes)
        truth.createIndex()
        results = _results([prediction for _, prediction in done], classes)
        found = truth.loadRes(results) if results else COCO()
        if not results:
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        run = COCOeval(truth, found, "bbox")
        run.params.areaRng, run.params.areaRngLbl, run.params.maxDets = [[0, 1e10]], ["all"], [MOST_BOXES]
        run.evaluate()
        run.accumulate()
    precision = [level[level > -1] for level in run.eval["precision"]]
    sheets = [Sheet(run.evalImgs[start : start + len(done)]) for start in range(0, len(run.evalImgs), len(done))]
    return [float(values.mean()) if values.size else None for values in precision], sheets


def _truth_document(truths: Sequence[TrueBoxes], classes: Sequence[int]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image, truth in enumerate(truths):
        for (x0, y0, x1, y1), category, crowd in zip(truth.xyxy.tolist(), truth.class_index.tolist(), truth.crowd.tolist(), strict=True):
            box = [x0, y0, x1 - x0, y1 - y0]
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3]}
            annotations.append({**entry, "iscrowd": int(crowd)})
    return {
        "info": {},
        "images": [{"id": image} for image in range(len(truths))],
        "categories": [{"id": index} for index in classes],
        "annotations": annotations,
    }


def _results(predictions: Sequence[Detections], classes: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": int(category), "bbox": [x0, y0, x1 - x0, y1 - y0], "score": float(score)}
        for image, found in enumerate(predictions)
        for (x0, y0, x1, y1), category, score in zip(found.xyxy.tolist(), found.class_index, found.score, strict=True)
        if category in classes
    ]
