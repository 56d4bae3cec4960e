"""The transcript of a recording is that of openai-whisper run on it alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from candor.conformance import differences, predict
from candor.families import LoadedModel
from candor.predictions import Transcript, Word
from models.catalog import Installed
from tests.integration.models.speech import Utterance, clip, transcribed_alone, utterances

NAME = "whisper-tiny.en"
COUNT = 20

Reference = dict[str, Any]


@pytest.fixture(scope="module")
def model(loaded: Callable[[str], LoadedModel]) -> LoadedModel:
    return loaded(NAME)


def transcribe(model: LoadedModel, recordings: list[bytes], batch: int) -> list[Transcript]:
    found = predict(model, recordings, batch)
    assert all(isinstance(one, Transcript) for one in found)
    return found  # type: ignore[return-value]


def words(transcript: Transcript) -> list[Word]:
    return [word for segment in transcript.segments for word in segment.words]


def assert_same_text(ours: Transcript, theirs: Reference) -> None:
    assert ours.text == theirs["text"].strip()
    shown = [segment for segment in theirs["segments"] if segment["text"]]
    assert [segment.text for segment in ours.segments] == [segment["text"].strip() for segment in shown]
    for segment, other in zip(ours.segments, shown, strict=True):
        assert segment.avg_logprob == pytest.approx(other["avg_logprob"], abs=1e-3)
        assert segment.no_speech_prob == pytest.approx(other["no_speech_prob"], abs=1e-3)
        assert segment.compression_ratio == pytest.approx(other["compression_ratio"])


def assert_same_words(ours: Transcript, theirs: Reference) -> None:
    others = [word for segment in theirs["segments"] for word in segment["words"]]
    assert [word.text for word in words(ours)] == [word["word"].strip() for word in others]
    for word, other in zip(words(ours), others, strict=True):
        assert word.start == pytest.approx(other["start"], abs=0.021)
        assert word.end == pytest.approx(other["end"], abs=0.021)
        assert word.mean_probability == pytest.approx(other["probability"], abs=2e-3)


@pytest.fixture(scope="module")
def spoken() -> list[Utterance]:
    return utterances(COUNT)


@pytest.fixture(scope="module")
def batched(model: LoadedModel, spoken: list[Utterance]) -> list[Transcript]:
    return transcribe(model, [one.data for one in spoken], batch=8)


def test_texts_words_and_times_are_those_of_openai_whisper(
    installed: Callable[[str], Installed], spoken: list[Utterance], batched: list[Transcript]
) -> None:
    same_passes = 0
    for one, ours in zip(spoken, batched, strict=True):
        theirs = transcribed_alone(installed(NAME), one.data, word_timestamps=True)
        if all(segment["seek"] == 0 for segment in theirs["segments"]):
            assert_same_words(ours, theirs)
            same_passes += 1
        else:  # with word_timestamps openai-whisper begins a second pass elsewhere; our passes are those without
            theirs = transcribed_alone(installed(NAME), one.data)
        assert_same_text(ours, theirs)
        assert ours.duration == pytest.approx(one.seconds, abs=0.01)
    assert same_passes >= COUNT - 4


def test_a_batch_changes_nothing(model: LoadedModel, spoken: list[Utterance], batched: list[Transcript]) -> None:
    for ours, alone in zip(batched[::5], transcribe(model, [one.data for one in spoken[::5]], batch=1), strict=True):
        assert differences(ours, alone) == ""
        assert len(words(ours)) == len(words(alone))


def test_the_sample_clip_is_that_of_openai_whisper(model: LoadedModel, installed: Callable[[str], Installed]) -> None:
    ours = transcribe(model, [clip()], batch=1)[0]
    theirs = transcribed_alone(installed(NAME), clip(), word_timestamps=True)
    assert "ask not what your country can do for you" in ours.text
    assert_same_text(ours, theirs)
    assert_same_words(ours, theirs)
