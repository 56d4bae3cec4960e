"""Transcripts with times: subtitles as .srt and .vtt, and Praat's TextGrid. A file for each recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from candor.subtitles import to_srt, to_vtt
from client.errors import BadOption
from client.exports.labelled import Labelled, Unfit
from client.exports.places import Places, made

Segments: TypeAlias = Sequence[Mapping[str, Any]]
Save: TypeAlias = Callable[[Path, Labelled, Segments], None]
_SHORTEST = 0.001  # seconds; Praat has no empty intervals


class Transcripts:
    """Writes each recording's file when it comes."""

    def __init__(self, folder: Path, suffix: str, save: Save) -> None:
        self._folder = folder
        self._save = save
        self.places = Places(suffix)

    def add(self, one: Labelled) -> None:
        """Write a recording's file.

        Raises:
            Unfit: its text has no times, as a person wrote it.
        """
        if one.segments is None:
            raise Unfit("without times")
        self._save(made(self._folder, self.places.of(one.item)), one, one.segments)

    def end(self) -> None:
        """Have written all."""

    def close(self) -> None:
        """Hold nothing."""


def srt(path: Path, _one: Labelled, segments: Segments) -> None:
    """Write SubRip."""
    path.write_text(to_srt(segments), encoding="utf-8", newline="")


def vtt(path: Path, _one: Labelled, segments: Segments) -> None:
    """Write WebVTT."""
    path.write_text(to_vtt(segments), encoding="utf-8", newline="")


def textgrid(path: Path, one: Labelled, segments: Segments) -> None:
    """Write a TextGrid in Praat's long form: tiers `segments` and `words`, and `confidence` along the words where they have any."""
    IntervalTier, Textgrid = _praatio()  # noqa: N806 - they are classes
    words = [word for segment in segments for word in segment.get("words", ())]
    end = max([one.duration or 0.0, _SHORTEST, *(float(part["end"]) for part in (*segments, *words))])
    tiers = {"segments": _intervals(segments, "text"), "words": _intervals(words, "text")}
    if any(word.get("confidence") is not None for word in words):
        tiers["confidence"] = _intervals(words, "confidence")
    grid = Textgrid(0.0, end)
    for name, intervals in tiers.items():
        grid.addTier(IntervalTier(name, intervals, 0.0, end))
    grid.save(str(path), "long_textgrid", includeBlankSpaces=True, reportingMode="error")


def textgrids(folder: Path) -> Transcripts:
    """Return what writes TextGrids.

    Raises:
        BadOption: praatio, which writes them, is not installed; told before the work, not after.
    """
    _praatio()
    return Transcripts(folder, ".TextGrid", textgrid)


def _praatio() -> tuple[Any, Any]:
    try:
        from praatio.textgrid import IntervalTier, Textgrid  # noqa: PLC0415 - an extra package, for this format alone
    except ModuleNotFoundError as error:
        raise BadOption("textgrid needs the package praatio: `pip install praatio`, or the extra `export`") from error
    return IntervalTier, Textgrid


def _intervals(parts: Iterable[Mapping[str, Any]], key: str) -> list[tuple[float, float, str]]:
    return [interval for interval in _apart(parts, key) if interval[2]]


def _apart(parts: Iterable[Mapping[str, Any]], key: str) -> Iterator[tuple[float, float, str]]:
    """Yield intervals in order, none into the next: one that has no room after the one before is left out."""
    latest = 0.0
    for part in parts:
        start, end = max(float(part["start"]), latest), float(part["end"])
        if end - start >= _SHORTEST / 2:
            value = part.get(key)
            yield start, end, "" if value is None else " ".join(str(value).split())
            latest = end
