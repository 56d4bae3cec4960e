from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.features import SEGMENT_FEATURES, WORD_FEATURES, segment_features, word_features
from candor.predictions import Floats, Segment, Transcript, Word


def word(text: str, logit: float, start: float = 0.0, end: float = 1.0, **figures: Any) -> Word:
    return Word(text, start, end, 0.5, logit, 0.5, **figures)


def transcript(*segments: Segment) -> Transcript:
    return Transcript(60.0, "en", segments)


def column(rows: Floats, names: tuple[str, ...], name: str) -> list[float]:
    return list(rows[:, names.index(name)])


FIRST = Segment(
    "It cost $21.",
    1.0,
    3.0,
    (
        word("It", 4.0, 1.0, 1.5, tokens=1, mean_logprob=-0.02, entropy=0.1),
        word(" cost", 2.0, 1.5, 2.5, tokens=1, mean_logprob=-0.13, entropy=0.5),
        word("$21.", -1.0, 2.5, 3.0, tokens=3, mean_logprob=-1.5, entropy=2.0),
    ),
    -0.3,
    0.2,
    1.2,
)
SECOND = Segment("Then", 5.0, 5.5, (word("Then", 0.5, 5.0, 5.4, tokens=2, mean_logprob=-0.5, entropy=1.0),), -1.2, 0.5, 3.0, 0.4)


def test_the_features_of_words_are_those_computed_by_hand() -> None:
    rows = word_features(transcript(FIRST, SECOND))
    expected = {
        "least_logit": [4, 2, -1, 0.5],
        "mean_logprob": [-0.02, -0.13, -1.5, -0.5],
        "entropy": [0.1, 0.5, 2, 1],
        "log_tokens": [0, 0, math.log(3), math.log(2)],
        "previous_logit": [4, 4, 2, -1],
        "next_logit": [2, -1, 0.5, 0.5],
        "window_logprob": [-0.3, -0.3, -0.3, -1.2],
        "no_speech_logit": [math.log(0.25)] * 3 + [0],
        "repetitive": [0, 0, 0, 1],
        "fallback": [0, 0, 0, 1],
        "seconds_per_character": [0.25, 0.25, 0.125, 0.1],
        "number": [0, 0, 1, 0],
    }
    assert tuple(expected) == WORD_FEATURES
    for name, values in expected.items():
        assert column(rows, WORD_FEATURES, name) == pytest.approx(values), name


def test_the_features_of_segments_are_those_computed_by_hand() -> None:
    silent = Segment("", 6.0, 7.0, (), -0.1, 0.9, 0.5)
    rows = segment_features(transcript(FIRST, silent, SECOND), np.array([0.9, 0.8, 0.5, 0.6]))
    expected = {
        "product_logit": [math.log(0.36 / 0.64), 20, math.log(1.5)],
        "sum_logprob": [math.log(0.36), 0, math.log(0.6)],
        "least_confidence": [0.5, 1, 0.6],
        "mean_confidence": [2.2 / 3, 1, 0.6],
        "words": [3, 0, 1],
        "window_logprob": [-0.3, -0.1, -1.2],
        "no_speech_logit": [math.log(0.25), math.log(9), 0],
        "compression_ratio": [1.2, 0.5, 3],
        "words_per_second": [1.5, 0, 2],
    }
    assert tuple(expected) == SEGMENT_FEATURES
    for name, values in expected.items():
        assert column(rows, SEGMENT_FEATURES, name) == pytest.approx(values), name


def test_what_a_family_does_not_know_is_the_same_in_all_rows() -> None:
    plain = replace(FIRST, words=tuple(word(one.text, one.logit) for one in FIRST.words))
    rows = word_features(transcript(plain))
    for name in ("mean_logprob", "entropy", "log_tokens", "fallback"):
        assert column(rows, WORD_FEATURES, name) == [0, 0, 0], name


def test_a_lone_word_is_its_own_neighbour() -> None:
    rows = word_features(transcript(replace(FIRST, words=(word("Hm", 1.5),))))
    assert column(rows, WORD_FEATURES, "previous_logit") == column(rows, WORD_FEATURES, "next_logit") == [1.5]


def test_nothing_said_has_no_rows() -> None:
    assert word_features(transcript()).shape == (0, len(WORD_FEATURES))
    assert segment_features(transcript(), np.zeros(0)).shape == (0, len(SEGMENT_FEATURES))


def test_confidences_that_are_not_one_per_word_are_refused() -> None:
    with pytest.raises(ValueError, match="2 confidences for 3 words"):
        segment_features(transcript(FIRST), np.ones(2))


def test_a_confidence_that_is_no_number_is_taken_as_none_at_all() -> None:
    row = segment_features(transcript(SECOND), np.array([math.nan]))
    assert column(row, SEGMENT_FEATURES, "sum_logprob") == [pytest.approx(math.log(1e-6))]
    assert column(row, SEGMENT_FEATURES, "least_confidence") == [pytest.approx(1e-6)]


anything = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, -1.0, 1e300, -1e300]))
maybe = st.one_of(st.none(), anything)
any_word = st.builds(
    Word,
    st.sampled_from(["", " ", "7", "word", "١٢"]),
    anything,
    anything,
    anything,
    anything,
    anything,
    st.integers(0, 10**6),
    maybe,
    maybe,
)
any_segment = st.builds(
    Segment, st.just("text"), anything, anything, st.lists(any_word, max_size=4).map(tuple), anything, anything, anything, anything
)


@settings(max_examples=40)
@given(st.lists(any_segment, max_size=4), st.data())
def test_everything_is_finite(segments: list[Segment], data: Any) -> None:
    said = transcript(*segments)
    words = sum(len(segment.words) for segment in segments)
    sure = np.array(data.draw(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=words, max_size=words)))
    for rows, n, names in ((word_features(said), words, WORD_FEATURES), (segment_features(said, sure), len(segments), SEGMENT_FEATURES)):
        assert rows.shape == (n, len(names))
        assert np.isfinite(rows).all()
        assert np.abs(rows).max(initial=0) <= 1000
