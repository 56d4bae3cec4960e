"""Writes a transcript's segments as subtitles, SubRip (.srt) or WebVTT (.vtt): short cues that follow one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

LINE = 42  # characters that are read at a glance
LINES = 2
_PAUSE = 1.5  # seconds of silence after which a new cue begins


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines of text on the screen, from `start` to `end` in milliseconds."""

    start: int
    end: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Word:
    text: str  # with the space before it, where there is one
    start: float
    end: float


def to_srt(segments: Sequence[Mapping[str, Any]]) -> str:
    """Return the segments of a transcription draft as the text of an .srt file; empty where there is no speech."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{chr(10).join(cue.lines)}\n\n"
        for number, cue in enumerate(cues(segments), start=1)
    )


def to_vtt(segments: Sequence[Mapping[str, Any]]) -> str:
    """Return the segments of a transcription draft as the text of a .vtt file; its head alone where there is no speech."""
    blocks = (
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{escape(chr(10).join(cue.lines), quote=False)}\n\n" for cue in cues(segments)
    )
    return "WEBVTT\n\n" + "".join(blocks)


def cues(segments: Sequence[Mapping[str, Any]]) -> list[Cue]:
    """Cut segments into cues of at most two lines, at words. No cue begins before the one before it ends, and none is empty."""
    found: list[Cue] = []
    for segment in segments:
        for words in _cut(_words(segment)):
            earliest = found[-1].end if found else 0
            start = max(_ms(words[0].start), earliest)
            end = max(_ms(words[-1].end), start + 1)
            found.append(Cue(start, end, tuple(_wrapped(words))))
    return found


def _words(segment: Mapping[str, Any]) -> list[_Word]:
    """Return a segment's words as they stand in its text, so that a language without spaces gets none."""
    text, position, found = _one_line(str(segment["text"])), 0, []
    for word in segment.get("words", ()):
        written = _one_line(str(word["text"]))
        at = text.find(written, position) if written else -1
        if at < 0:
            continue
        found.append(_Word(text[position : at + len(written)], float(word["start"]), float(word["end"])))
        position = at + len(written)
    if rest := text[position:].rstrip():  # also the whole text, where no word times are known
        start, end = (found[-1].end, found[-1].end) if found else (float(segment["start"]), float(segment["end"]))
        found.extend(_spread(rest, start, max(start, end)))
    return found


def _spread(text: str, start: float, end: float) -> Iterator[_Word]:
    """Give the words of a text without times even shares of the time, by their letters."""
    parts = text.split(" ")
    each = (end - start) / max(1, len(text))
    position = 0
    for index, part in enumerate(parts):
        written = part if index == 0 else f" {part}"
        if written.strip():
            yield _Word(written, start + position * each, start + (position + len(written)) * each)
        position += len(written)


def _cut(words: Sequence[_Word]) -> Iterator[list[_Word]]:
    """Cut words where two lines are full, or after a pause."""
    cue: list[_Word] = []
    for word in words:
        if cue and (len(_wrapped([*cue, word])) > LINES or word.start - cue[-1].end > _PAUSE):
            yield cue
            cue = []
        cue.append(word)
    if cue:
        yield cue


def _wrapped(words: Sequence[_Word]) -> list[str]:
    """Wrap words into lines; a word that is longer than a line has one of its own."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word.text.rstrip()) > LINE:
            lines.append(word.text.strip())
        else:
            lines[-1] = (lines[-1] + word.text).lstrip()
    return [line for line in lines if line]


def _one_line(text: str) -> str:
    """Return text without line breaks, which would end a cue, and without an arrow, which would begin one."""
    return " ".join(text.replace("-->", "→").split())


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _clock(ms: int, point: str) -> str:
    seconds, thousandths = divmod(ms, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{point}{thousandths:03}"
