from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.audio import RATE, Samples
from models.speech import FRAME, WINDOW_FRAMES, WINDOW_SAMPLES, Cutter, Cutting, Window, silero, windows

HOW = Cutting()
SECOND = RATE // FRAME  # frames


def loudness(frame: Samples) -> float:
    """A detector for tests: a frame's first sample is its probability of speech."""
    return float(frame[0])


def recorded(probabilities: list[float]) -> Samples:
    return np.repeat(np.array(probabilities, np.float32), FRAME)


def cut(probabilities: list[float], how: Cutting = HOW) -> list[tuple[int, int]]:
    cutter = Cutter(how)
    spans = [span for probability in probabilities if (span := cutter.hear(probability))]
    return [*spans, *([last] if (last := cutter.end()) else [])]


def spoken(probabilities: list[float], how: Cutting = HOW) -> list[int]:
    """The frames of speech, by the rule with two thresholds."""
    speaking, found = False, []
    for frame, probability in enumerate(probabilities):
        speaking = probability >= (how.off if speaking else how.on)
        if speaking:
            found.append(frame)
    return found


# Runs of one probability each: what a detector says of speech, pauses and noise. Sampling frame by frame would never make 30 s of speech.
runs = st.lists(st.tuples(st.integers(1, 1200), st.floats(0, 1, width=32)), max_size=30)


def flat(parts: list[tuple[int, float]]) -> list[float]:
    return [probability for length, probability in parts for _ in range(length)]


@settings(max_examples=80, deadline=None)
@given(runs)
@example([(WINDOW_FRAMES - 1, 0.9), (1, 0.4)])  # the least likely frame is the last: what is left holds nothing
@example([(WINDOW_FRAMES - 3, 0.9), (3, 0.1), (200, 0.0)])
@example([(WINDOW_FRAMES - 7, 0.9), (6, 0.1), (1, 0.05), (400, 0.0), (50, 0.9)])
@example([(400, 0.9), (20, 0.0), (2000, 0.9)])
def test_no_speech_is_lost_and_no_window_is_too_long(parts: list[tuple[int, float]]) -> None:
    probabilities = flat(parts)
    spans = cut(probabilities)
    for start, end in spans:
        assert 0 <= start < end <= len(probabilities)
        assert end - start <= WINDOW_FRAMES
    for (_, end), (start, _) in pairwise(spans):
        assert end <= start
    inside = {frame for start, end in spans for frame in range(start, end)}
    lost = [frame for frame in spoken(probabilities) if frame not in inside]
    # What is left out is a click: fewer frames than speech has, a long silence around them.
    clicks = np.split(np.array(lost), np.flatnonzero(np.diff(lost) >= HOW.silence) + 1) if lost else []
    assert all(len(click) < HOW.least for click in clicks), lost


@settings(max_examples=15, deadline=None)
@given(runs, st.integers(1, 5000))
def test_windows_are_the_samples_of_their_places(parts: list[tuple[int, float]], block: int) -> None:
    whole = recorded(flat(parts))
    whole = np.where(np.arange(len(whole)) % FRAME, np.arange(len(whole), dtype=np.float32), whole)  # every sample is another
    blocks = [whole[start : start + block * 16] for start in range(0, len(whole), block * 16)]
    found = list(windows(blocks, loudness))
    for window in found:
        assert len(window.samples) <= WINDOW_SAMPLES
        assert np.array_equal(window.samples, whole[window.start : window.start + len(window.samples)])
    if len(whole) > WINDOW_SAMPLES:
        assert [(w.start // FRAME, -(-(w.start + len(w.samples)) // FRAME)) for w in found] == cut(flat(parts))


def test_a_pause_is_cut_in_and_its_silence_left_out() -> None:
    spans = cut(flat([(600, 0.9), (60, 0.0), (600, 0.9)]))
    assert spans == [(0, 600 + HOW.pad), (660 - HOW.pad, 1260)]


def test_a_short_pause_is_shared() -> None:
    first, second = cut(flat([(600, 0.9), (10, 0.0), (600, 0.9)]))
    assert (first, second) == ((0, 605), (605, 1210))


def test_a_long_silence_ends_a_window() -> None:
    assert cut(flat([(100, 0.9), (HOW.silence + 5, 0.0), (100, 0.9)])) == [(0, 106), (224, 330)]


def test_speech_without_a_pause_is_cut_where_it_is_least_likely() -> None:
    spans = cut(flat([(700, 0.9), (1, 0.6), (900, 0.9)]))
    assert spans[:2] == [(0, 700), (700, 1601)]


def test_a_click_is_no_speech() -> None:
    assert cut(flat([(200, 0.0), (2, 0.9), (400, 0.0)])) == []
    assert cut(flat([(200, 0.0), (3, 0.9), (400, 0.0)])) == [(194, 209)]


def test_soft_speech_goes_on_but_does_not_begin() -> None:
    assert cut(flat([(50, 0.4)])) == []
    assert cut(flat([(5, 0.6), (50, 0.4)])) == [(0, 55)]


@pytest.mark.parametrize("seconds", [0.1, 5, 30])
def test_a_recording_of_one_window_is_whole(seconds: float) -> None:
    whole = recorded([0.0] * 50 + [0.9] * 50 + [0.0] * 900)[: round(seconds * RATE)]
    whole[:FRAME] = 0.9 if seconds < 1 else 0.0
    found = list(windows(np.array_split(whole, 7), lambda frame: 1.0))
    assert len(found) == 1
    assert found[0].start == 0
    assert np.array_equal(found[0].samples, whole)


def test_one_sample_more_than_a_window_is_cut() -> None:
    found = list(windows([np.full(WINDOW_SAMPLES + 1, 0.9, np.float32)], loudness))
    assert len(found) == 2
    assert sum(len(window.samples) for window in found) == WINDOW_SAMPLES + 1


@pytest.mark.parametrize("seconds", [0, 3, 90])
def test_silence_has_no_window(seconds: int) -> None:
    assert list(windows([np.zeros(seconds * RATE, np.float32)], loudness)) == []
    assert list(windows([], loudness)) == []


def test_the_real_detector_hears_no_speech_in_silence_noise_and_a_hum() -> None:
    quiet = np.zeros(2 * RATE, np.float32)
    noise = (np.random.default_rng(0).standard_normal(2 * RATE) * 0.02).astype(np.float32)
    hum = (0.3 * np.sin(2 * np.pi * 50 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    for sound in (quiet, noise, hum):
        assert list(windows([sound], silero())) == []


def test_detectors_do_not_hear_one_another() -> None:
    sound = (np.random.default_rng(1).standard_normal(RATE) * 0.2).astype(np.float32)
    alone = [silero()(sound[:FRAME])]
    one, other = silero(), silero()
    for _ in range(20):
        other(sound[FRAME : 2 * FRAME])
    assert one(sound[:FRAME]) == alone[0]


def test_listening_stops_when_speech_was_heard() -> None:
    heard = []

    def counting(frame: Samples) -> float:
        heard.append(len(frame))
        return 0.9

    list(windows([recorded([0.9] * 900)], counting))
    assert len(heard) == HOW.least


def speech(seconds: int) -> Iterator[Samples]:
    """Long speech with a pause now and then, made as it is asked for."""
    rng = np.random.default_rng(2)
    for _ in range(seconds):
        yield recorded([0.0] * SECOND if rng.random() < 0.1 else [0.9] * SECOND)


def test_memory_holds_about_one_window() -> None:
    tracemalloc.start()
    try:
        lengths = [len(window.samples) for window in windows(speech(300), loudness)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(lengths) > 250 * RATE
    assert peak < 4 * WINDOW_SAMPLES * 4  # bytes: the window being heard, the one just cut, and what they were made of


def test_windows_come_while_the_recording_goes_on() -> None:
    pulled = 0

    def counted() -> Iterator[Samples]:
        nonlocal pulled
        for block in speech(600):
            pulled += 1
            yield block

    first: Window = next(windows(counted(), loudness))
    assert first.start == 0
    assert pulled <= 32
