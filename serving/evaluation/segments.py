"""Rows of segments: whether a whole segment is right, which the product of its words' confidences does not tell."""

from __future__ import annotations

import numpy as np

from calibration.features import SEGMENT_FEATURES, segment_features
from calibration.fit_words import SEGMENT_EVENT, fit_segments, judge_segments
from calibration.methods import Estimator
from candor.errors import InvalidRequest
from candor.predictions import Transcript
from serving.evaluation.evaluate import Run
from serving.evaluation.methods import Fitted
from serving.evaluation.rows import Rows, joined, label_rows, words_of

__all__ = ["SEGMENT_EVENT", "fitted_segments", "segment_rows"]

LEAST_SEGMENTS = 100
_LEAST_OF_A_KIND = 20
_SURE = -1e-9  # log of a product that is taken as less than one, so that its log-odds are finite


def segment_rows(run: Run, words: Estimator) -> Rows:
    """Judge the segments of every transcript. Their raw score is the product of their words' confidences."""
    assert run.normaliser is not None  # noqa: S101 - its caller has a model of transcription
    parts = []
    for index, (example, outcome) in enumerate(zip(run.folder.examples, run.outcomes, strict=True)):
        if not isinstance(outcome, Transcript) or not outcome.segments:
            continue
        judged = judge_segments(words_of(example, outcome, run.normaliser), [len(segment.words) for segment in outcome.segments])
        features = segment_features(outcome, words(outcome))
        product = np.minimum(features[:, SEGMENT_FEATURES.index("sum_logprob")], _SURE)
        rows = label_rows(index, example, product - np.log(-np.expm1(product)), np.exp(product), judged.correct)
        parts.append(rows.take(judged.counted))
    return joined(parts)


def fitted_segments(run: Run, rows: Rows, words: Estimator) -> Fitted:
    """Fit the segment model on rows of `segment_rows`.

    Raises:
        InvalidRequest: too few rows, or too few of one kind.
    """
    wrong = int((rows.correct == 0).sum())
    if len(rows.correct) < LEAST_SEGMENTS or min(wrong, len(rows.correct) - wrong) < _LEAST_OF_A_KIND:
        raise InvalidRequest(
            f"{len(rows.correct)} segments to fit on, {wrong} of them wrong; it takes {LEAST_SEGMENTS}, and {_LEAST_OF_A_KIND} of each kind"
        )
    features = np.zeros((len(rows.correct), len(SEGMENT_FEATURES)))
    for index in np.unique(rows.item):
        outcome, mine = run.outcomes[index], rows.item == index
        assert isinstance(outcome, Transcript)  # noqa: S101 - rows of segments come from transcripts
        features[mine] = segment_features(outcome, words(outcome))[rows.position[mine]]
    fit = fit_segments(features, rows.correct, rows.cluster)
    return Fitted("segment_logistic", fit.parameters(SEGMENT_FEATURES), fit.as_json())
