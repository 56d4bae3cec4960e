"""Writes a transcription draft in the formats of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from candor.drafts import Draft
from candor.subtitles import to_srt, to_vtt
from serving.protocols.openai.reading import Asked

Wire = Mapping[str, Any]


def written(draft: Draft, asked: Asked) -> tuple[bytes, str]:
    """Return the body of the answer and its content type."""
    wire = _wire(draft)
    text = wire["text"]
    if asked.stream:
        return _events(text), "text/event-stream"
    match asked.format:
        case "text":
            return f"{text}\n".encode(), "text/plain; charset=utf-8"
        case "srt":
            return to_srt(wire["segments"]).encode(), "application/x-subrip; charset=utf-8"
        case "vtt":
            return to_vtt(wire["segments"]).encode(), "text/vtt; charset=utf-8"
        case "verbose_json":
            return to_json(_verbose(wire, asked)), "application/json"
    return to_json({"text": text, **_own(wire)}), "application/json"


def _wire(draft: Draft) -> Wire:
    """The draft with the figures of its decoding, which clients read, where its labels are shown at all."""
    shown = draft.as_wire()
    return shown if shown["route"] == "from_scratch" else draft.as_wire(raw=True)


def _own(wire: Wire) -> dict[str, Any]:
    """What Candor says beside the transcript: keys that OpenAI's clients keep and don't read."""
    return {name: wire[name] for name in ("id", "model_version", "confidence_status", "calibration", "route")}


def _verbose(wire: Wire, asked: Asked) -> dict[str, Any]:
    segments: list[Wire] = wire["segments"]
    found: dict[str, Any] = {
        "task": "transcribe",
        "language": wire["language"],
        "duration": wire["duration"],
        "text": wire["text"],
        "usage": {"type": "duration", "seconds": wire["duration"]},
        **_own(wire),
    }
    if "segment" in asked.granularities:
        found["segments"] = [_segment(number, segment) for number, segment in enumerate(segments)]
    if "word" in asked.granularities:
        found["words"] = [_word(word) for segment in segments for word in segment["words"]]
    return found


def _segment(number: int, segment: Wire) -> dict[str, Any]:
    raw = segment.get("raw", {})
    return {
        "id": number,
        "seek": 0,
        "start": segment["start"],
        "end": segment["end"],
        "text": segment["text"],
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": raw.get("avg_logprob"),
        "compression_ratio": raw.get("compression_ratio"),
        "no_speech_prob": raw.get("no_speech_prob"),
        "confidence": segment["confidence"],
        "words": [_word(word) for word in segment["words"]],
    }


def _word(word: Wire) -> dict[str, Any]:
    return {"word": word["text"], "start": word["start"], "end": word["end"], "confidence": word["confidence"]}


def _events(text: str) -> bytes:
    """All of the text in one event: a draft is stored before any of it is shown."""
    events = ({"type": "transcript.text.delta", "delta": text}, {"type": "transcript.text.done", "text": text})
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), to_json(event)) for event in events)
