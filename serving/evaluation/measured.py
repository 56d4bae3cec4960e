"""Everything that is measured on the test rows of a calibration, as the record keeps it and the report draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.alternatives import FitRows, HeldOutRows, alternatives
from calibration.bands import reliability
from calibration.correctness import TrueBoxes
from calibration.detection_figures import Objects, ShownBoxes, detection_figures
from calibration.methods import Estimator, top_logit
from calibration.refinement import figure_json, refinement
from calibration.slices import slices, terciles, worst
from calibration.word_figures import word_figures
from candor.manifest import Manifest
from candor.predictions import Classification, Detections, Floats
from serving.evaluation.evaluate import Comparison, Run, class_losses, compared
from serving.evaluation.examples import LabelledFolder
from serving.evaluation.noise import noise_of
from serving.evaluation.rows import Rows, sides_of

_LEAST_OF_CLASS = 100  # rows from which a class is a slice of its own


def top_logits(rows: Rows) -> Floats:
    """Return one logit of each row: for classification the top label's log-odds."""
    if rows.truth is None:
        return rows.logits
    return np.array([top_logit(Classification((1, 1), row)) for row in rows.logits])


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found on the test rows: the comparison that the verdict is about, and all figures of the record."""

    comparison: Comparison
    figures: dict[str, Any]


def measure(run: Run, estimator: Estimator, fit_rows: Rows, rows: Rows, *, task: bool = True) -> Measured:
    """Measure test rows that have confidences.

    Args:
        run: what the rows came from.
        estimator: what gave the confidences.
        fit_rows: what the methods beside it are fitted on.
        rows: the test rows.
        task: give the task's own figures too; a further event has none.
    """
    assert rows.confidence is not None  # noqa: S101 - its caller attached them
    comparison = compared(rows, class_losses(estimator, rows))
    figures = comparison.as_json()
    beside = alternatives(
        FitRows(top_logits(fit_rows), fit_rows.score, fit_rows.correct),
        HeldOutRows(top_logits(rows), rows.score, rows.correct, rows.cluster),
        rows.confidence,
        estimator.method,
    )
    cut = slices(rows.confidence, rows.correct, rows.cluster, attributes(rows, run.folder, run.manifest))
    lowest = worst(cut)
    return Measured(
        comparison,
        {
            "before": figures.pop("raw"),
            "after": figures.pop("confidence"),
            **figures,
            "methods": beside["methods"],
            "method_differences": beside["differences"],
            "constant_loses": beside["constant_loses"],
            "refinement": {name: figure_json(figure) for name, figure in refinement(rows.confidence, rows.correct, rows.cluster).items()},
            "task": _of_task(run, rows) if task else {},
            "slices": [one.as_json() for one in cut],
            "worst_slice": lowest.as_json() if lowest else None,
            "reliability": {"before": reliability(rows.score, rows.correct), "after": reliability(rows.confidence, rows.correct)},
        },
    )


def _of_task(run: Run, rows: Rows) -> dict[str, Any]:
    """Return the figures that only this task has, with their counts."""
    assert rows.confidence is not None  # noqa: S101 - `measure` looked
    if run.manifest.task == "transcription":
        return word_figures(rows.confidence, rows.correct, rows.cluster).as_json()
    if rows.iou is None or rows.matched is None or rows.class_index is None:
        return {}
    return detection_figures(ShownBoxes(rows.confidence, rows.class_index, rows.iou, rows.matched, rows.cluster), _objects(run)).as_json()


def _objects(run: Run) -> Objects:
    """Return what is really there in the test images that were drafted, crowd regions aside."""
    classes, clusters = [np.zeros(0, np.int64)], [np.zeros(0, np.str_)]
    for example, outcome, side in zip(run.folder.examples, run.outcomes, sides_of(run.folder), strict=True):
        if side == "test" and isinstance(outcome, Detections) and isinstance(example.truth, TrueBoxes):
            kept = example.truth.class_index[~example.truth.crowd]
            classes.append(kept)
            clusters.append(np.full(len(kept), example.cluster))
    return Objects(np.concatenate(classes), np.concatenate(clusters))


def attributes(rows: Rows, folder: LabelledFolder, manifest: Manifest) -> dict[str, NDArray[np.str_]]:
    """Return what rows are sliced by: each attribute's value of each row."""
    found: dict[str, NDArray[np.str_]] = {}
    sources = np.array([example.source for example in folder.examples], np.str_)[rows.item]
    if len(np.unique(sources)) > 1:
        found["source"] = sources
    if rows.size is not None and len(np.unique(rows.size)) > 3:
        found["size"] = terciles(rows.size)
    if manifest.task == "transcription" and len(rows.item):
        heard = {int(index): noise_of(folder.examples[index].path) for index in np.unique(rows.item)}
        if np.isfinite(list(heard.values())).any():
            found["signal to noise"] = terciles([heard[int(index)] for index in rows.item], ("low", "middling", "high"))
    if rows.class_index is not None and manifest.labels:
        counts = np.bincount(rows.class_index, minlength=len(manifest.labels))
        names = np.array(
            [name if many >= _LEAST_OF_CLASS else "all other classes" for name, many in zip(manifest.labels, counts, strict=True)]
        )
        found["class"] = names[rows.class_index]
    return found
