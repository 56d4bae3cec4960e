"""Words with times, from where in time each token was heard: the word boundaries of `whisper.timing`.

The rules (which token begins a word, dynamic time warping, punctuation that joins its neighbour, words too long at a pause) are
openai-whisper's, so that the times are those of `transcribe(word_timestamps=True)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candor.predictions import Floats

STEPS_PER_SECOND = 50  # places on Whisper's time grid
_JOINS_NEXT = "\"'“¿([{-"
_JOINS_PREVIOUS = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - wide marks too
_ENDS_SENTENCE = ".。!！?？"  # noqa: RUF001


@dataclass(slots=True)
class Spoken:
    """One word, with times in seconds from the beginning of its decoding pass until it is placed, then of the window.

    `text` is empty once it has joined a neighbour.
    """

    text: str
    tokens: int
    start: float
    end: float
    odds: float  # the least log-odds of its own tokens
    mean_probability: float
    own: int = 1  # how many tokens it had before punctuation joined it: those that the figures are of
    mean_logprob: float = 0.0
    entropy: float | None = None  # mean over its own tokens, nats


@dataclass(slots=True)
class Stretch:
    """A segment on its way, with times in seconds from the beginning of the window; they are moved to those of its words."""

    start: float
    end: float
    tokens: Sequence[int]  # text tokens
    text: str  # empty: nothing that is shown
    words: list[Spoken] = field(default_factory=list)


@cache
def warping() -> Callable[[Floats], tuple[Any, Any]]:
    """openai-whisper's dynamic time warping, compiled without its parallel option, which numba finds nothing to do for and warns of."""
    import numba  # noqa: PLC0415 - slow to import
    from whisper.timing import dtw_cpu  # noqa: PLC0415

    compiled: Callable[[Floats], tuple[Any, Any]] = numba.njit(nogil=True)(dtw_cpu.py_func)
    return compiled


def words_of(text: Sequence[int], odds: Floats, attention: Floats, tokenizer: Any, entropy: Floats | None = None) -> list[Spoken]:
    """Split text tokens into words and place them in time.

    Args:
        text: text tokens (n,).
        odds: their log-odds (n,).
        attention: where each was heard (n + 1, steps).
        tokenizer: a `whisper.tokenizer.Tokenizer` of the language.
        entropy: that of the distribution which each token was taken from, in nats (n,).
    """
    words, parts = tokenizer.split_to_word_tokens([*text, tokenizer.eot])
    if len(parts) <= 1:
        return []
    places, steps = warping()(-attention)
    begins = np.asarray(steps)[np.diff(np.asarray(places), prepend=-1) > 0] / STEPS_PER_SECOND
    edges = np.concatenate([[0], np.cumsum([len(part) for part in parts[:-1]])])
    probabilities, logprobs = 1 / (1 + np.exp(-odds)), -np.logaddexp(0, -odds)
    return [
        Spoken(
            text=words[i],
            tokens=len(parts[i]),
            start=float(begins[edges[i]]),
            end=float(begins[edges[i + 1]]),
            odds=float(odds[edges[i] : edges[i + 1]].min()),
            mean_probability=float(probabilities[edges[i] : edges[i + 1]].mean()),
            own=len(parts[i]),
            mean_logprob=float(logprobs[edges[i] : edges[i + 1]].mean()),
            entropy=None if entropy is None else float(entropy[edges[i] : edges[i + 1]].mean()),
        )
        for i in range(len(parts) - 1)
    ]


def place(stretches: Sequence[Stretch], words: Sequence[Spoken], offset: float, last_speech: float) -> float:
    """Give the words of one decoding pass to its segments, and trim words that hang over a pause.

    Args:
        stretches: the segments, changed in place.
        words: the words of all of them, in order.
        offset: where the pass began in the window, in seconds.
        last_speech: where the previous pass's speech ended in the window.

    Returns:
        Where speech ended.
    """
    usual = _usual_length(words)
    _trim_at_sentences(words, 2 * usual)
    _join_punctuation(words)
    following = iter(words)
    for stretch in stretches:
        taken = 0
        while taken < len(stretch.tokens) and (word := next(following, None)) is not None:
            taken += word.tokens
            if word.text:
                word.start, word.end = round(offset + word.start, 2), round(offset + word.end, 2)
                stretch.words.append(word)
        if stretch.words:
            _trim_at_pause(stretch, usual, last_speech)
            _agree(stretch, usual)
            last_speech = stretch.end
    spoken = [stretch.words[-1].end for stretch in stretches if stretch.words]
    return spoken[-1] if spoken else stretches[-1].end


def _usual_length(words: Sequence[Spoken]) -> float:
    """Median length of the words that have one, at most 0.7 s."""
    lengths: NDArray[np.float64] = np.array([word.end - word.start for word in words])
    lengths = lengths[lengths > 0]
    return min(0.7, float(np.median(lengths))) if len(lengths) else 0.0


def _trim_at_sentences(words: Sequence[Spoken], longest: float) -> None:
    for before, word in pairwise(words):
        if longest and word.end - word.start > longest:
            if word.text in _ENDS_SENTENCE:
                word.end = word.start + longest
            elif before.text in _ENDS_SENTENCE:
                word.start = word.end - longest


def _join_punctuation(words: Sequence[Spoken]) -> None:
    """Let opening marks join the word after them and closing marks the word before; the joined one is left without text."""
    after = len(words) - 1
    for i in range(len(words) - 2, -1, -1):
        if words[i].text.startswith(" ") and words[i].text.strip() in _JOINS_NEXT:
            _join(words[after], words[i], words[i].text + words[after].text)
        else:
            after = i
    before = 0
    for i in range(1, len(words)):
        if not words[before].text.endswith(" ") and words[i].text in _JOINS_PREVIOUS:
            _join(words[before], words[i], words[before].text + words[i].text)
        else:
            before = i


def _join(word: Spoken, mark: Spoken, text: str) -> None:
    word.text, mark.text = text, ""
    word.tokens, mark.tokens = word.tokens + mark.tokens, 0


def _trim_at_pause(stretch: Stretch, usual: float, last_speech: float) -> None:
    """After a pause, a first word (or two) of more than twice the usual length has the pause in it: keep its end."""
    longest, first = 2 * usual, stretch.words[0]
    second = stretch.words[1] if len(stretch.words) > 1 else None
    if first.end - last_speech <= 4 * usual:
        return
    if first.end - first.start <= longest and (second is None or second.end - first.start <= 2 * longest):
        return
    if second is not None and second.end - second.start > longest:
        first.end = second.start = max(second.end / 2, second.end - longest)
    first.start = max(0.0, first.end - longest)


def _agree(stretch: Stretch, usual: float) -> None:
    """Let segment and words agree on where they begin and end: the segment's timestamp wins where a word hangs far over it."""
    first, last = stretch.words[0], stretch.words[-1]
    if stretch.start < first.end and stretch.start - 0.5 > first.start:
        first.start = max(0.0, min(first.end - usual, stretch.start))
    else:
        stretch.start = first.start
    if stretch.end > last.start and stretch.end + 0.5 < last.end:
        last.end = max(last.start + usual, stretch.end)
    else:
        stretch.end = last.end
