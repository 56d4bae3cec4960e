"""What the word and segment models of transcription look at, computed from a transcript alone."""

from __future__ import annotations

from candor.predictions import Floats, Transcript

WORD_FEATURES = ("least_logit", "mean_logprob")
SEGMENT_FEATURES = ("least_logit", "words")


def word_features(transcript: Transcript) -> Floats:
    """Return (w, len(WORD_FEATURES)): one row per word, over all segments in order."""
    raise NotImplementedError


def segment_features(transcript: Transcript, words: Floats) -> Floats:
    """Return (s, len(SEGMENT_FEATURES)), given each word's confidence (w,)."""
    raise NotImplementedError
