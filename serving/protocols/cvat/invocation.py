"""A call of a function as CVAT makes it, and what it gets: one frame, one list of shapes or tags."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic_core import from_json

from candor.drafts import Draft
from candor.errors import CandorError, InvalidRequest, MediaTooLarge
from candor.tasks import SPECS
from serving.protocols.cvat.functions import CONFIDENCE, SHAPES

T = TypeVar("T")

_DEFAULT_SECONDS = 30.0  # that CVAT waits, where it does not say so
_MOST_SECONDS = 600.0  # whatever it says: the frame is held that long
_PAUSE = 1.0  # seconds before what failed for a passing reason is tried again, where it does not say when


@dataclass(frozen=True, slots=True)
class Call:
    """What CVAT sends: the encoded frame, and the least confidence that it wants, where somebody set one."""

    image: bytes
    threshold: float | None

    @property
    def item(self) -> str:
        """Return the item that the frame is: CVAT gives neither a name nor a number with it."""
        return hashlib.sha256(self.image).hexdigest()


def read_call(body: bytes, most_bytes: int) -> Call:
    """Read the body of a call.

    Raises:
        InvalidRequest: it is none.
        MediaTooLarge: the frame has more bytes than an item may have.
    """
    try:
        told = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    if not isinstance(told, dict) or not isinstance(text := told.get("image"), str):
        raise InvalidRequest('the body must be an object with the frame as base64: {"image": "…"}')
    if len(text) // 4 * 3 > most_bytes + 3:
        raise MediaTooLarge(f"the frame has about {len(text) // 4 * 3:,} bytes; an item may have {most_bytes:,}")
    try:
        image = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"image: {error}") from error
    return Call(image, _threshold(told.get("threshold")))


def _threshold(given: Any) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise InvalidRequest("threshold: send a number from 0 to 1")
    return float(given)


def seconds_of(header: str | None) -> float:
    """Return how long CVAT waits, by its header `X-Nuclio-Invoke-Timeout`, less what the way back may take."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)s", header or "")
    seconds = min(float(found[1]), _MOST_SECONDS) if found else _DEFAULT_SECONDS
    return max(0.1, seconds - min(1.0, seconds / 10))


async def patiently(work: Callable[[], Awaitable[T]], deadline: float) -> T:
    """Return what `work` does, tried again where it fails for a passing reason: CVAT drops a whole job for one call that fails.

    Raises:
        CandorError: it fails for good, or would be tried again after the deadline only.
    """
    clock = asyncio.get_running_loop().time
    while True:
        try:
            return await work()
        except CandorError as error:
            pause = _PAUSE if error.retry_after is None else error.retry_after
            if not error.retryable or clock() + pause >= deadline:
                raise
            await asyncio.sleep(pause)


def shapes_of(draft: Draft, threshold: float | None) -> list[dict[str, Any]]:
    """Return a draft as CVAT takes it: every box as a rectangle, or the first class as a tag.

    The threshold is held against confidences; where there are none it is not applied, since a raw score is not one.
    """
    shown = SPECS[draft.task].judged(draft.as_wire())
    kept = (label for label in shown if threshold is None or label["confidence"] is None or label["confidence"] >= threshold)
    return [_annotation(label, SHAPES[draft.task]) for label in kept]


def _annotation(label: Mapping[str, Any], shape: str) -> dict[str, Any]:
    found = {"label": label["label"], "type": shape, **({"points": label["xyxy"]} if shape == "rectangle" else {})}
    if label["confidence"] is None:
        return found
    text = f"{label['confidence']:.4f}"
    return {**found, "confidence": text, "attributes": [{"name": CONFIDENCE, "value": text}]}
