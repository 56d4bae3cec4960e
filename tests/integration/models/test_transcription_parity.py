"""The transcript of a recording is that of openai-whisper run on it alone."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
import torch
from whisper.audio import log_mel_spectrogram, pad_or_trim
from whisper.tokenizer import get_tokenizer

from candor.conformance import differences, predict
from candor.families import LoadedModel
from candor.predictions import Transcript, Word
from models.catalog import Installed
from tests.integration.models.speech import Utterance, clip, decoded, reference, transcribed_alone, utterances

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
        for word, other in zip(words(ours), words(alone), strict=True):
            assert word.tokens == other.tokens
            assert word.mean_logprob == pytest.approx(other.mean_logprob, abs=2e-3)
            assert word.entropy == pytest.approx(other.entropy, abs=5e-3)


def test_the_sample_clip_is_that_of_openai_whisper(model: LoadedModel, installed: Callable[[str], Installed]) -> None:
    ours = transcribe(model, [clip()], batch=1)[0]
    theirs = transcribed_alone(installed(NAME), clip(), word_timestamps=True)
    assert "ask not what your country can do for you" in ours.text
    assert_same_text(ours, theirs)
    assert_same_words(ours, theirs)


def test_the_figures_of_words_are_those_of_the_logits_of_openai_whisper(model: LoadedModel, installed: Callable[[str], Installed]) -> None:
    ours = words(transcribe(model, [clip()], batch=1)[0])
    tokenizer = get_tokenizer(multilingual=False)
    theirs = transcribed_alone(installed(NAME), clip())
    text = [token for segment in theirs["segments"] for token in segment["tokens"] if token < tokenizer.eot]
    mel = pad_or_trim(
        log_mel_spectrogram(decoded(clip()), padding=480_000)[:, :-3000], 3000
    )  # zero after the content, as transcribe has it
    begin = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
    with torch.inference_mode():
        logits = reference(installed(NAME).folder)(mel[None], torch.tensor([[*begin, *text]]))[0]
    every = logits[len(begin) - 1 : -1, : tokenizer.eot].double().log_softmax(-1)
    logprobs, entropy = every[range(len(text)), text].tolist(), -(every.exp() * every).sum(-1)
    spoken, parts = tokenizer.split_to_word_tokens([*text, tokenizer.eot])
    place = 0
    for word, part in zip(spoken[:-1], parts[:-1], strict=True):
        own = slice(place, place := place + len(part))
        if word.strip() not in {",", "."}:  # punctuation that joins a word leaves it its figures
            found = ours.pop(0)
            assert found.text.strip(",.") == word.strip()
            assert found.tokens == len(part)
            assert found.mean_logprob == pytest.approx(mean(logprobs[own]), abs=2e-3)
            assert found.entropy == pytest.approx(float(entropy[own].mean()), abs=5e-3)
    assert ours == []
