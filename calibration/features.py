"""What the word and segment models of transcription look at, computed from a transcript alone.

Every feature is finite: it is held between the bounds of its column, and a figure that is NaN, or that the family does not give, takes
the column's neutral value. A feature that is the same in all rows gets no weight in a fit, so that a family without it loses nothing.
The first feature of either is the log-odds of the raw score: what is left where the others tell nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import logit

from candor.predictions import Floats, Segment, Transcript, Word

REPETITIVE = 2.4  # a window's text that compresses better than this runs in circles (openai-whisper's threshold)
_LEAST_CONFIDENCE = 1e-6  # of a word, where its logarithm is taken
_SURE = -1e-9  # logarithm of a product that is taken as less than one, so that its log-odds are finite
_digit = re.compile(r"\d").search


class Column(NamedTuple):
    """One feature: its name, its bounds, and what it is where it is not known."""

    name: str
    least: float
    most: float
    neutral: float = 0.0


_WORD = (
    Column("least_logit", -30, 30),  # log-odds of the least token probability
    Column("mean_logprob", -30, 0),  # logarithm of the geometric mean of the token probabilities
    Column("entropy", 0, 15),  # mean over the tokens, nats; a vocabulary of 52,000 has at most 10.9
    Column("log_tokens", 0, 5),
    Column("previous_logit", -30, 30),  # least_logit of the word before; of the first word, its own
    Column("next_logit", -30, 30),  # of the word after; of the last word, its own
    Column("window_logprob", -10, 0),  # avg_logprob of the decoding window
    Column("no_speech_logit", -14, 14),  # log-odds that the window has no speech: six digits of probability
    Column("repetitive", 0, 1),  # the window's compression ratio is above 2.4
    Column("fallback", 0, 1),  # it was decoded at a temperature above 0
    Column("seconds_per_character", 0, 2),
    Column("number", 0, 1),  # it has a digit
)
_SEGMENT = (
    Column("product_logit", -20, 20),  # log-odds of the product of the words' confidences
    Column("sum_logprob", -200, 0),  # logarithm of that product
    Column("least_confidence", 0, 1, 1.0),
    Column("mean_confidence", 0, 1, 1.0),
    Column("words", 0, 1000),
    Column("window_logprob", -10, 0),
    Column("no_speech_logit", -14, 14),
    Column("compression_ratio", 0, 10, 1.0),
    Column("words_per_second", 0, 10),  # nobody says more; of no duration: that
)

WORD_FEATURES = tuple(column.name for column in _WORD)
SEGMENT_FEATURES = tuple(column.name for column in _SEGMENT)


def word_features(transcript: Transcript) -> Floats:
    """Return (w, len(WORD_FEATURES)): one row per word, over all segments in order."""
    segments = transcript.segments
    words = [word for segment in segments for word in segment.words]
    rows = np.empty((len(words), len(_WORD)))
    if not words:
        return rows
    own = _of_words(words)
    rows[:, :4] = own[:, :4]
    rows[1:, 4], rows[0, 4] = own[:-1, 0], own[0, 0]
    rows[:-1, 5], rows[-1, 5] = own[1:, 0], own[-1, 0]
    rows[:, 6:10] = np.repeat(_of_windows(segments), [len(segment.words) for segment in segments], axis=0)
    rows[:, 3] = np.log(np.maximum(own[:, 3], 1))
    rows[:, 10:] = own[:, 4:]
    return _held(rows, _WORD_BOUNDS)


def segment_features(transcript: Transcript, words: Floats) -> Floats:
    """Return (s, len(SEGMENT_FEATURES)), given each word's confidence (w,). One that is NaN is taken as none at all.

    Raises:
        ValueError: not one confidence per word.
    """
    segments = transcript.segments
    counts = np.array([len(segment.words) for segment in segments], np.int64)
    if len(words) != counts.sum():
        raise ValueError(f"{len(words)} confidences for {counts.sum()} words")
    rows = np.empty((len(segments), len(_SEGMENT)))
    if not segments:
        return rows
    of, sure = np.repeat(np.arange(len(segments)), counts), np.fmax(words, _LEAST_CONFIDENCE)
    least = np.ones(len(segments))
    np.minimum.at(least, of, sure)
    rows[:, 1] = np.bincount(of, np.log(sure), len(segments))
    product = np.minimum(rows[:, 1], _SURE)
    rows[:, 0] = product - np.log(-np.expm1(product))
    rows[:, 2] = least
    rows[:, 3] = np.where(counts, np.bincount(of, sure, len(segments)) / np.maximum(counts, 1), np.nan)
    rows[:, 4] = counts
    own = np.array([(s.avg_logprob, s.no_speech_prob, s.compression_ratio, s.end - s.start) for s in segments], np.float64)
    rows[:, 5] = own[:, 0]
    rows[:, 6] = logit(own[:, 1])
    rows[:, 7] = own[:, 2]
    rows[:, 8] = counts / np.maximum(own[:, 3], 1e-3)
    return _held(rows, _SEGMENT_BOUNDS)


def _of_words(words: Sequence[Word]) -> Floats:
    """The figures of each word alone, (w, 6); NaN where the family gives none. One flat list: NumPy is slow to read nested ones."""
    found: list[float] = []
    for word in words:
        text = word.text.strip()
        mean = math.nan if word.mean_logprob is None else word.mean_logprob
        entropy = math.nan if word.entropy is None else word.entropy
        found += (word.logit, mean, entropy, word.tokens, (word.end - word.start) / (len(text) or 1), _digit(text) is not None)
    return np.array(found, np.float64).reshape(len(words), 6)


def _of_windows(segments: Sequence[Segment]) -> Floats:
    """The figures of the decoding window that each segment stands in, (s, 4): they are the same for all its words."""
    found = np.array([(s.avg_logprob, s.no_speech_prob, s.compression_ratio > REPETITIVE, s.temperature > 0) for s in segments], np.float64)
    found[:, 1] = logit(found[:, 1])
    return found


class _Bounds(NamedTuple):
    least: Floats
    most: Floats
    neutral: Floats

    @classmethod
    def of(cls, columns: Sequence[Column]) -> _Bounds:
        return cls(*np.array([(column.least, column.most, column.neutral) for column in columns]).T)


_WORD_BOUNDS, _SEGMENT_BOUNDS = _Bounds.of(_WORD), _Bounds.of(_SEGMENT)


def _held(rows: Floats, bounds: _Bounds) -> Floats:
    """Hold every feature in its bounds; NaN becomes neutral."""
    np.clip(rows, bounds.least, bounds.most, out=rows)
    unknown = np.isnan(rows)
    return np.where(unknown, bounds.neutral, rows) if unknown.any() else rows
