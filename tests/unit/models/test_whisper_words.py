from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.families._whisper_words import Spoken, Stretch, place


def said(*words: tuple[str, float, float]) -> list[Spoken]:
    return [Spoken(text, 1, start, end, 1.0, 0.7) for text, start, end in words]


def stretch(words: int, start: float, end: float) -> Stretch:
    return Stretch(start, end, list(range(words)), "text")


def placed(words: list[Spoken], *stretches: Stretch, offset: float = 0.0, last_speech: float = 0.0) -> list[tuple[str, float, float]]:
    place(stretches, words, offset, last_speech)
    return [(word.text, word.start, word.end) for one in stretches for word in one.words]


def test_words_go_to_the_segments_that_hold_their_tokens() -> None:
    words = said((" one", 0.0, 0.3), (" two", 0.3, 0.6), (" three", 1.0, 1.4))
    first, second = stretch(2, 0.0, 0.7), stretch(1, 1.0, 1.5)
    assert place([first, second], words, 10.0, 9.9) == 11.4
    assert [word.text for word in first.words] == [" one", " two"]
    assert [(word.text, word.start, word.end) for word in second.words] == [(" three", 11.0, 11.4)]


def test_punctuation_joins_its_neighbor() -> None:
    words = said((' "', 0.0, 0.1), (" one", 0.1, 0.4), (",", 0.4, 0.5), (" two", 0.5, 0.8), (".", 0.8, 0.9), ('"', 0.9, 1.0))
    whole = stretch(6, 0.0, 1.0)
    assert [text for text, _, _ in placed(words, whole)] == [' " one,', ' two."']
    assert sum(word.tokens for word in whole.words) == 6


def test_joined_punctuation_leaves_the_word_its_probability() -> None:
    words = [Spoken(" one", 2, 0.0, 0.4, 2.0, 0.9, 2, -0.1, 0.4), Spoken(".", 1, 0.4, 0.5, -3.0, 0.1, 1, -2.3, 3.0)]
    whole = stretch(3, 0.0, 0.5)
    place([whole], words, 0.0, 0.0)
    assert [(word.odds, word.mean_probability, word.mean_logprob, word.entropy) for word in whole.words] == [(2.0, 0.9, -0.1, 0.4)]
    assert [(word.tokens, word.own) for word in whole.words] == [(3, 2)]


def test_a_word_that_has_the_pause_before_it_is_trimmed() -> None:
    usual = [(f" w{i}", 5 + 0.3 * i, 5.3 + 0.3 * i) for i in range(6)]
    found = placed(said((" late", 1.0, 5.0), *usual), stretch(7, 1.0, 6.8))
    assert found[0][1:] == pytest.approx((4.4, 5.0))  # twice the usual length before its end


def test_the_segment_agrees_with_its_words() -> None:
    whole = stretch(2, 0.0, 9.0)
    place([whole], said((" one", 0.4, 0.7), (" two", 0.7, 1.0)), 0.0, 0.0)
    assert (whole.start, whole.end) == (0.4, 1.0)


def test_a_segment_without_words_keeps_its_times() -> None:
    empty = Stretch(3.0, 4.0, [], "")
    assert place([empty], [], 0.0, 0.0) == 4.0
    assert (empty.start, empty.end, empty.words) == (3.0, 4.0, [])


marks = st.sampled_from([" one", " two", "ing", ",", ".", ' "', " (", "。", "!", " -"])


@given(st.lists(st.tuples(marks, st.integers(0, 40)), min_size=1, max_size=12), st.data())
def test_no_word_is_lost_and_none_ends_before_it_begins(parts: list[tuple[str, int]], data: Any) -> None:
    words, at = [], 0
    for text, steps in parts:
        words.append(Spoken(text, 1, at / 50, (at + steps) / 50, 0.0, 0.5))
        at += steps
    cut = data.draw(st.integers(0, len(words)))
    stretches = [stretch(cut, 0.0, at / 100), stretch(len(words) - cut, at / 100, at / 50)]
    place(stretches, words, 0.0, 0.0)
    shown = [word for one in stretches for word in one.words]
    assert "".join(word.text for word in shown) == "".join(text for text, _ in parts)
    assert sum(word.tokens for word in shown) == len(words)
