"""Transcripts word by word: the least edits between two lists of words, and how far two people's transcripts agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

import numpy as np

Normalise: TypeAlias = Callable[[str], str]
_EDGES = ".,;:!?\"'()[]-\u2013\u2014\u2026"
_CELLS = 16_000_000  # of one table of costs: longer texts are cut at what they share
WordEdit: TypeAlias = Literal["kept", "substituted", "deleted", "inserted"]


def plain(text: str) -> str:
    """The least normaliser: case and punctuation at the edges of words do not count. A task's own is better where it is at hand."""
    return " ".join(word for word in (part.strip(_EDGES) for part in text.casefold().split()) if word)


@dataclass(frozen=True, slots=True)
class WordStep:
    """One step from the first text to the second: `first` and `second` are the words' positions, None where there is no word."""

    kind: WordEdit
    first: int | None
    second: int | None


def align(first: Sequence[str], second: Sequence[str]) -> tuple[WordStep, ...]:
    """Return the steps of a shortest edit from one list of words to another; substitutions before deletions where both are shortest.

    Texts too long for one table are cut at the runs of words that they share, and what lies between is aligned alone: the edit is then
    right, but may not be the shortest.

    Source: Wagner and Fischer, "The string-to-string correction problem" (JACM, 1974).
    """
    steps = list[WordStep]()
    for i, j, m, n in _parts(first, second):
        part = _shortest(first[i : i + m], second[j : j + n])
        steps += [WordStep(one.kind, _moved(one.first, i), _moved(one.second, j)) for one in part]
    return tuple(steps)


def edits(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many words must be substituted, deleted or inserted."""
    return sum(step.kind != "kept" for step in align(first, second))


def _moved(position: int | None, by: int) -> int | None:
    return None if position is None else position + by


def _parts(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Return start and length in both lists of parts that can be aligned each for itself."""
    if (len(first) + 1) * (len(second) + 1) <= _CELLS:
        return [(0, 0, len(first), len(second))]
    side = int(_CELLS**0.5) - 1
    parts = []
    for _, a0, a1, b0, b1 in SequenceMatcher(a=first, b=second, autojunk=True).get_opcodes():
        for step in range(0, max(a1 - a0, b1 - b0), side):
            i, j = min(a0 + step, a1), min(b0 + step, b1)
            parts.append((i, j, min(side, a1 - i), min(side, b1 - j)))
    return parts


def _shortest(first: Sequence[str], second: Sequence[str]) -> list[WordStep]:
    if list(first) == list(second):
        return [WordStep("kept", i, i) for i in range(len(first))]
    costs = _costs(first, second)
    steps, i, j = list[WordStep](), len(first), len(second)
    while i or j:
        if i and j and costs[i, j] == costs[i - 1, j - 1] + (first[i - 1] != second[j - 1]):
            i, j = i - 1, j - 1
            steps.append(WordStep("kept" if first[i] == second[j] else "substituted", i, j))
        elif i and costs[i, j] == costs[i - 1, j] + 1:
            i -= 1
            steps.append(WordStep("deleted", i, None))
        else:
            j -= 1
            steps.append(WordStep("inserted", None, j))
    return steps[::-1]


def disagreement(first: str, second: str, normalise: Normalise = plain) -> float:
    """Return the symmetric word error rate 2 edits / (|A| + |B|), 1 at most; 0 where both are empty.

    One person's words are no truth, so neither length is the measure.
    """
    a, b = normalise(first).split(), normalise(second).split()
    return min(1.0, 2 * edits(a, b) / (len(a) + len(b))) if a or b else 0.0


def transcript_agreement(pairs: Sequence[tuple[str, str]], normalise: Normalise = plain) -> float | None:
    """Return 1 - symmetric word error rate over all pairs of transcripts together; None where there are no words."""
    words = [(normalise(a).split(), normalise(b).split()) for a, b in pairs]
    total = sum(len(a) + len(b) for a, b in words)
    return 1 - min(1.0, 2 * sum(edits(a, b) for a, b in words) / total) if total else None


def _costs(first: Sequence[str], second: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    """Return the least number of edits between each two beginnings. Row by row: insertions are a running minimum."""
    costs = np.zeros((len(first) + 1, len(second) + 1), np.int32)
    columns = np.arange(len(second) + 1)
    costs[0] = columns
    words = np.array(second, dtype=object)
    for i, word in enumerate(first, 1):
        row = costs[i - 1] + 1
        if len(second):
            row[1:] = np.minimum(row[1:], costs[i - 1, :-1] + (words != word))
        costs[i] = np.minimum.accumulate(row - columns) + columns
    return costs
