"""One error planted in the words of a draft that is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from review.honeypots import ErrorKind, Payload, Planted, Sources, drawn_from, said

_LIKE = 5  # candidates that sound like the word
_MOST = 2_000  # words of natural drafts that are looked at
_TRIES = 20
_SHORTEST = 0.08  # seconds that an inserted word takes from the one before it, at least


@dataclass(frozen=True, slots=True)
class _Place:
    """A word of the draft: its segment and position there, and its position among all normalised words."""

    segment: int
    word: int
    at: int


def plant(
    kind: ErrorKind, payload: Mapping[str, Any], gold: str, sources: Sources, rng: np.random.Generator
) -> tuple[Payload, Planted] | None:
    """Plant one error of a kind; None where this draft has no place for it."""
    places = _places(payload, sources)
    words = [word for draft in sources.drafts for segment in draft["segments"] for word in segment["words"]]
    if not places or not words:
        return None
    place = places[int(rng.integers(len(places)))]
    segments = [{**segment, "words": [dict(word) for word in segment["words"]]} for segment in payload["segments"]]
    spoken = segments[place.segment]["words"]
    like = words[int(rng.integers(len(words)))]
    true = sources.normalise(spoken[place.word]["text"])
    if kind == "word_missing":
        shown, truth, at = None, true, place.at
        _remove(spoken, place.word)
    elif kind == "word_substituted":
        new = _instead(spoken[place.word]["text"], words, sources, rng)
        if new is None:
            return None
        shown, truth, at = sources.normalise(new), true, place.at
        old = spoken[place.word]
        spoken[place.word] = {"text": new, "start": old["start"], "end": old["end"], **said(like)}
    elif kind == "word_inserted":
        fitting = (one for one in (like, *_some(words, rng)) if _fits(_bare(one), place, spoken, sources))
        if (model := next(fitting, None)) is None:
            return None
        new = _bare(model)
        shown, truth, at = sources.normalise(new), None, place.at + 1
        _insert(spoken, place.word, new, model)
    else:
        return None
    changed = _with_texts(payload, segments)
    return changed, Planted(kind, None, {"text": changed["text"], "word": shown}, {"text": gold, "word": truth}, at)


def _places(payload: Mapping[str, Any], sources: Sources) -> list[_Place]:
    """Return words that can be changed: one normalised word each, unlike their neighbours, in segments whose text is their words'."""
    segments = payload["segments"]
    if str(payload["text"]).split() != [part for one in segments for part in str(one["text"]).split()]:
        return []
    made = [[sources.normalise(word["text"]).split() for word in segment["words"]] for segment in segments]
    flat = [token for segment in made for tokens in segment for token in tokens]
    if sources.normalise(str(payload["text"])).split() != flat:
        return []  # words that only together make a normalised one can't be told apart
    found, at = [], 0
    for s, segment in enumerate(segments):
        whole = str(segment["text"]).split() == [str(word["text"]) for word in segment["words"]]
        for w, tokens in enumerate(made[s]):
            alone = len(tokens) == 1 and tokens[0] not in (*flat[max(at - 1, 0) : at], *flat[at + 1 : at + 2])
            if whole and alone and len(segment["words"]) > 1:
                found.append(_Place(s, w, at))
            at += len(tokens)
    return found


def _instead(word: str, pool: Sequence[Mapping[str, Any]], sources: Sources, rng: np.random.Generator) -> str | None:
    """Return a wrong word with the case and punctuation of the right one: along the confusions, else one that is written alike."""
    true = sources.normalise(word)
    other = drawn_from({name: weight for name, weight in sources.confusion.get(true, {}).items() if name != true}, rng)
    if other is None:
        normal = {sources.normalise(str(one["text"])) for one in pool[:_MOST]}
        names = sorted(name for name in normal if name and name != true and len(name.split()) == 1)
        near = get_close_matches(true, names, n=_LIKE, cutoff=0.5) or names
        other = drawn_from(dict.fromkeys(near, 1.0), rng)
    if other is None or sources.normalise(other).split() in ([], [true]):
        return None
    bare = word.strip(".,;:!?\"'()")
    start = word.index(bare) if bare else 0
    other = other.capitalize() if bare[:1].isupper() else other
    return f"{word[:start]}{other}{word[start + len(bare) :]}"


def _some(words: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> list[Mapping[str, Any]]:
    return [words[int(i)] for i in rng.integers(len(words), size=_TRIES)]


def _bare(word: Mapping[str, Any]) -> str:
    return str(word["text"]).strip(".,;:!?").lower()


def _fits(new: str, place: _Place, spoken: Sequence[Mapping[str, Any]], sources: Sources) -> bool:
    neighbours = {sources.normalise(str(one["text"])) for one in spoken[place.word : place.word + 2]}
    return len(sources.normalise(new).split()) == 1 and sources.normalise(new) not in neighbours


def _remove(spoken: list[dict[str, Any]], at: int) -> None:
    """Drop a word; its time goes to a neighbour, as in a model that did not hear it. A capital or a full stop moves on."""
    gone = spoken.pop(at)
    text = str(gone["text"])
    if at:
        spoken[at - 1]["end"] = gone["end"]
        tail = text[len(text.rstrip(".,;:!?")) :]
        if tail and not str(spoken[at - 1]["text"]).endswith(tuple(".,;:!?")):
            spoken[at - 1]["text"] += tail
    else:
        spoken[0]["start"] = gone["start"]
        first = str(spoken[0]["text"])
        if text[:1].isupper():
            spoken[0]["text"] = first[:1].upper() + first[1:]


def _insert(spoken: list[dict[str, Any]], after: int, text: str, like: Mapping[str, Any]) -> None:
    """Put a word after another, whose time it shares."""
    before = spoken[after]
    start, end = float(before["start"]), float(before["end"])
    cut = round(max(start, end - max((end - start) / 2, _SHORTEST)), 3)
    tail = str(before["text"])[len(str(before["text"]).rstrip(".,;:!?")) :]
    if tail:
        before["text"] = str(before["text"])[: -len(tail)]
    before["end"] = cut
    spoken.insert(after + 1, {"text": text + tail, "start": cut, "end": end, **said(like)})


def _with_texts(payload: Mapping[str, Any], segments: list[dict[str, Any]]) -> Payload:
    """Return the payload with the texts of segments and draft made of their words."""
    for segment, old in zip(segments, payload["segments"], strict=True):
        if segment["words"] != old["words"]:
            segment["text"] = " ".join(str(word["text"]) for word in segment["words"])
    return {**payload, "segments": segments, "text": " ".join(str(segment["text"]) for segment in segments)}
