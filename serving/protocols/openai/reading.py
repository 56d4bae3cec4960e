"""Reads the form of a transcription request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from fastapi import Request

from candor.errors import InvalidRequest, MediaTooLarge
from serving.api.parsing import parsed_form
from serving.config import LimitSettings

Format = Literal["json", "text", "srt", "verbose_json", "vtt"]
Granularity = Literal["word", "segment"]
DEFAULT_MODEL = "whisper-1"  # the name that clients send where they name none: the server's own default
_GRANULARITIES = ("timestamp_granularities[]", "timestamp_granularities")
_IGNORED = frozenset({"language", "prompt", "temperature", "chunking_strategy", "include", "include[]"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One transcription request. `ignored` are fields that change nothing here."""

    data: bytes
    model: str | None
    format: Format
    granularities: tuple[Granularity, ...]
    stream: bool
    ignored: tuple[str, ...]


async def read(request: Request, limits: LimitSettings) -> Asked:
    """Read the form.

    Raises:
        InvalidRequest: a field is missing or wrong.
        MediaTooLarge: the file is over the limit.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise InvalidRequest("file: send a multipart/form-data form with the audio as `file`")
    form = await parsed_form(request, 1)
    try:
        fields = form.multi_items()
        data = await _file([value for name, value in fields if name == "file"], limits)
        texts = {name: value for name, value in fields if isinstance(value, str)}
        form_at, at = _one_of(texts, "response_format", get_args(Format), "json"), texts.get("stream", "false").lower()
        stream = at in ("true", "1")
        if stream and form_at != "json":
            raise InvalidRequest("stream: only response_format `json` is streamed; leave one of the two out")
        name = texts.get("model") or DEFAULT_MODEL
        return Asked(
            data=data,
            model=None if name == DEFAULT_MODEL else name,
            format=cast(Format, form_at),
            granularities=_granularities([value for name, value in fields if name in _GRANULARITIES]),
            stream=stream,
            ignored=tuple(sorted({name.removesuffix("[]") for name, value in texts.items() if name in _IGNORED and value})),
        )
    finally:
        await form.close()


async def _file(found: list[Any], limits: LimitSettings) -> bytes:
    if len(found) != 1 or isinstance(found[0], str):
        raise InvalidRequest("file: send exactly one, as a file")
    part = found[0]
    if part.size is not None and part.size > limits.item_bytes:
        raise MediaTooLarge(f"the file has {part.size:,} bytes; it may have {limits.item_bytes:,}")
    data: bytes = await part.read()
    return data


def _granularities(found: list[Any]) -> tuple[Granularity, ...]:
    for value in found:
        if value not in get_args(Granularity):
            raise InvalidRequest("timestamp_granularities: `word` or `segment`")
    return tuple(found) or ("segment",)


def _one_of(texts: dict[str, str], name: str, known: tuple[str, ...], default: str) -> str:
    value = texts.get(name) or default
    if value not in known:
        raise InvalidRequest(f"{name}: one of {', '.join(known)}")
    return value
