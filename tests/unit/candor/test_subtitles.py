from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from candor.subtitles import LINE, LINES, cues, to_srt, to_vtt

_BLOCK = re.compile(r"(\d+)\n(\d\d+):(\d\d):(\d\d),(\d{3}) --> (\d\d+):(\d\d):(\d\d),(\d{3})\n((?:.+\n)+)\n")

WORD = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=60)


@st.composite
def segments(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Segments as the API gives them: words in order, times that may overlap or run backwards a little."""
    found: list[dict[str, Any]] = []
    now = draw(st.floats(0, 40_000))
    for texts in draw(st.lists(st.lists(WORD, min_size=1, max_size=30), max_size=4)):
        words, start = [], now
        for text in texts:
            begin = max(0.0, now + draw(st.floats(-0.5, 3)))
            now = begin + draw(st.floats(0, 2))
            words.append({"text": text, "start": round(begin, 3), "end": round(now, 3)})
        timed = draw(st.booleans())
        found.append({"text": " ".join(texts), "start": start, "end": now, "words": words if timed else []})
    return found


def parse(srt: str) -> list[tuple[int, int, str]]:
    """Read an .srt file strictly: start and end in milliseconds, and the text in one line."""
    found: list[tuple[int, int, str]] = []
    position = 0
    while position < len(srt):
        match = _BLOCK.match(srt, position)
        assert match, srt[position:]
        assert int(match[1]) == len(found) + 1
        start, end = (int(match[i]) * 3_600_000 + int(match[i + 1]) * 60_000 + int(match[i + 2]) * 1000 + int(match[i + 3]) for i in (2, 6))
        assert int(match[3]) < 60
        assert int(match[4]) < 60
        found.append((start, end, " ".join(match[10].splitlines())))
        position = match.end()
    return found


@given(segments())
def test_times_never_run_back_and_all_words_are_there(given_segments: list[dict[str, Any]]) -> None:
    read = parse(to_srt(given_segments))
    assert [(cue.start, cue.end) for cue in cues(given_segments)] == [(start, end) for start, end, _ in read]
    for start, end, _ in read:
        assert start < end
    for (_, end, _), (start, _, _) in pairwise(read):
        assert end <= start
    said = " ".join(segment["text"].replace("-->", "→") for segment in given_segments)
    assert " ".join(text for _, _, text in read).split() == said.split()


@given(segments())
def test_cues_fit_the_screen(given_segments: list[dict[str, Any]]) -> None:
    for cue in cues(given_segments):
        assert len(cue.lines) <= LINES
        for line in cue.lines:
            assert len(line) <= LINE or " " not in line  # a longer word can't be cut


def test_a_short_segment_is_one_cue() -> None:
    words = [{"text": "Hello", "start": 0.48, "end": 0.9}, {"text": "world.", "start": 0.9, "end": 3661.0016}]
    assert to_srt([{"text": "Hello world.", "start": 0, "end": 4, "words": words}]) == "1\n00:00:00,480 --> 01:01:01,002\nHello world.\n\n"
    assert to_srt([]) == ""


def test_a_long_segment_is_cut_at_words_and_pauses() -> None:
    words: list[dict[str, Any]] = []
    for i in range(24):
        start = i + (5 if i >= 8 else 0)
        words.append({"text": f"word{i:02}", "start": start, "end": start + 0.9})
    found = cues([{"text": " ".join(word["text"] for word in words), "start": 0, "end": 30, "words": words}])
    assert [(cue.start, cue.end) for cue in found] == [(0, 7900), (13000, 24900), (25000, 28900)]
    assert found[0].lines == ("word00 word01 word02 word03 word04 word05", "word06 word07")


def test_a_language_without_spaces_gets_none() -> None:
    words = [{"text": text, "start": i, "end": i + 1} for i, text in enumerate(["今日", "は", "晴れ"])]
    assert cues([{"text": "今日は晴れ。", "start": 0, "end": 3, "words": words}])[0].lines == ("今日は晴れ。",)


def test_web_subtitles_have_a_head_points_and_no_markup() -> None:
    segment = {"text": "Tom & <b>Jerry</b>", "start": 0, "end": 2, "words": []}
    assert to_vtt([segment]) == "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nTom &amp; &lt;b&gt;Jerry&lt;/b&gt;\n\n"
    assert to_vtt([]) == "WEBVTT\n\n"
