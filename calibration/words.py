"""The correctness rule of transcription: which displayed words are right, found on normalised text and mapped back.

Normalising may split a word ("won't" becomes "will not"), join many ("twenty one dollars and fifty cents" becomes "$21.50") or drop
one ("uh"). So both texts are normalised whole, aligned, and each displayed word is judged by the normalised tokens it gave rise to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache, lru_cache
from importlib.metadata import version

import jiwer
import numpy as np
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from calibration.correctness import Outcomes

WORD_EVENT = (
    "the word is a correct word in the alignment of the normalised text with the normalised reference (substituted or inserted: wrong); "
    "a word that normalises to nothing is not counted"
)


@dataclass(frozen=True)
class Normaliser:
    """A pinned text normaliser: another version may judge the same words otherwise."""

    name: str
    version: str
    apply: Callable[[str], str]

    def as_json(self) -> dict[str, str]:
        """Return name and version as JSON values."""
        return {"name": self.name, "version": self.version}


@cache
def normaliser_for(language: str) -> Normaliser:
    """Return the normaliser of whisper-normalizer for an ISO 639-1 code: the English one, else the basic one."""
    chosen = EnglishTextNormalizer if language == "en" else BasicTextNormalizer
    remembered = lru_cache(maxsize=65_536)(chosen())  # words come again, and a call takes a tenth of a millisecond
    return Normaliser(f"whisper_normalizer.{chosen.__name__}", version("whisper-normalizer"), remembered)


@dataclass(frozen=True, slots=True)
class JudgedWords:
    """One recording judged: each displayed word's outcome, and the counts behind its word error rate.

    `missed` holds, for each reference word that no word stands for, how many displayed words come before it.
    """

    outcomes: Outcomes
    errors: int  # substitutions, insertions and deletions of normalised tokens
    reference: int  # normalised tokens of the reference
    missed: tuple[int, ...]


def judge_words(words: Sequence[str], text: str, reference: str, normaliser: Normaliser) -> JudgedWords:
    """Judge the displayed words of one recording, in order. `text` is its displayed text, `reference` what was really said.

    An empty reference makes every word wrong: invented text is what a confidence must warn of.
    """
    tokens, truth = normaliser.apply(text).split(), normaliser.apply(reference).split()
    owned = _owners([normaliser.apply(word).split() for word in words], tokens)
    right, missed, errors = _align(truth, tokens)
    of_word: list[list[bool]] = [[] for _ in words]
    for token, owners in enumerate(owned):
        for word in owners:
            of_word[word].append(right[token])
    counted = np.array([bool(found) for found in of_word], np.bool_)
    correct = np.array([bool(found) and all(found) for found in of_word], np.bool_)
    return JudgedWords(Outcomes(correct, counted), errors, len(truth), _before(missed, owned, len(words)))


def _align(truth: Sequence[str], tokens: Sequence[str]) -> tuple[list[bool], list[int], int]:
    """Return whether each token is right, the token index at which each missed reference word would stand, and the errors."""
    right = [False] * len(tokens)
    missed: list[int] = []
    if not truth or not tokens:
        return right, [0] * len(truth), len(truth) + len(tokens)
    found = jiwer.process_words(" ".join(truth), " ".join(tokens))
    for chunk in found.alignments[0]:
        if chunk.type == "equal":
            right[chunk.hyp_start_idx : chunk.hyp_end_idx] = [True] * (chunk.hyp_end_idx - chunk.hyp_start_idx)
        elif chunk.type == "delete":
            missed += [chunk.hyp_start_idx] * (chunk.ref_end_idx - chunk.ref_start_idx)
    return right, missed, found.substitutions + found.insertions + found.deletions


def _owners(per_word: Sequence[Sequence[str]], tokens: Sequence[str]) -> list[list[int]]:
    """Return, for each token of the whole text, the displayed words that it came from.

    Where the words normalised one by one give other tokens than the text as a whole, the two lists are aligned, and the words of a
    block that differs own all tokens of that block together. A token that came from no word belongs to the word before it.
    """
    flat = [(token, word) for word, made in enumerate(per_word) for token in made]
    if [token for token, _ in flat] == list(tokens):
        return [[word] for _, word in flat]
    owned: list[list[int]] = [[] for _ in tokens]
    matcher = SequenceMatcher(a=[token for token, _ in flat], b=list(tokens), autojunk=False)
    for kind, a0, a1, b0, b1 in matcher.get_opcodes():
        for position in range(b0, b1):
            if kind == "equal":
                owned[position] = [flat[a0 + position - b0][1]]
            elif kind == "replace":
                owned[position] = sorted({word for _, word in flat[a0:a1]})
            elif flat:
                owned[position] = [flat[max(a0 - 1, 0)][1]]
    return owned


def _before(missed: Sequence[int], owned: Sequence[Sequence[int]], words: int) -> tuple[int, ...]:
    """Turn token positions into counts of displayed words before them."""
    return tuple(min(owned[at], default=0) if at < len(owned) else words for at in missed)
