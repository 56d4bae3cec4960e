"""Reads what Roboflow's clients ask: models, thresholds and images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from candor.errors import InvalidRequest, NoItems, TooManyItems
from serving.config import LimitSettings
from serving.protocols.asking import decoded, of_bytes, of_url
from serving.requests import Item

NAME_ALONE = "1"  # the version of a model id that stands for what the model's name alone does

LOOKED_AT = 64 * 1024  # bytes of a body in which its key is looked for: Roboflow's clients put it first
_KEY = re.compile(rb'"api_key"\s*:\s*"([!#-\[\]-~]{1,256})"')  # an inner text's own quotes are escaped


@dataclass(frozen=True, slots=True)
class Filter:
    """Which of a draft's labels are wanted."""

    least: float = 0.0  # confidence
    classes: tuple[str, ...] = ()  # none: all
    most: int | None = None


def key_in(beginning: bytes) -> str | None:
    """Return the key that the beginning of a body names, before it is known who sends it: so it is not parsed."""
    found = _KEY.search(beginning, 0, LOOKED_AT)
    return found[1].decode() if found else None


def model_of(model_id: str) -> str:
    """Return the model that an id means: `name/1` is `name`, `name/alias` is `name@alias`."""
    name, _, version = model_id.strip("/").partition("/")
    return name if version in ("", NAME_ALONE) else f"{name}@{version}"


def filter_of(body: Mapping[str, Any], *, older: bool = False) -> Filter:
    """Read the thresholds, as numbers of JSON or as words of a query. The `older` form may tell a confidence in per cent.

    Raises:
        InvalidRequest: one is not what it should be, or asks for what is not here.
    """
    if body.get("visualize_predictions") is True or str(body.get("format") or "json") not in ("json", "None"):
        raise InvalidRequest("pictures are not drawn here: leave out `visualize_predictions` and `format`")
    classes = body.get("class_filter") or body.get("classes") or ()
    classes = [one.strip() for one in classes.split(",")] if isinstance(classes, str) else classes
    if not isinstance(classes, (list, tuple)) or not all(isinstance(one, str) for one in classes):
        raise InvalidRequest("class_filter: a list of labels")
    most = _number(body, "max_detections")
    return Filter(_threshold(body, 1.0 if older else float("inf")), tuple(classes), None if most is None else max(0, int(most)))


def _threshold(body: Mapping[str, Any], percent_from: float) -> float:
    if body.get("confidence") in ("best", "default"):
        return 0.0
    least = _number(body, "confidence")
    if least is None:
        return 0.0
    least = least / 100 if least >= percent_from else least
    if not 0 <= least <= 1:
        raise InvalidRequest("confidence: a number from 0 to 1, `best` or `default`")
    return least


def _number(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and abs(number := float(value)) < 1e9:
            return number
    except (ValueError, OverflowError):
        pass
    raise InvalidRequest(f"{name}: a number")


def images_of(image: Any, limits: LimitSettings) -> tuple[list[Item], bool]:
    """Return the images and whether they came as a list.

    Raises:
        CandorError: there is none, there are too many, or one is not what it should be.
    """
    if not isinstance(image, list):
        return [_image(image, limits)], False
    if not image:
        raise NoItems("image: send at least one")
    if len(image) > limits.items:
        raise TooManyItems(f"{len(image)} images; one request takes at most {limits.items}: send several requests")
    return [_image(one, limits) for one in image], True


def _image(image: Any, limits: LimitSettings) -> Item:
    value = image.get("value") if isinstance(image, dict) else None
    if not isinstance(image, dict) or not isinstance(value, str) or image.get("type") not in ("base64", "url"):
        raise InvalidRequest('image: send {"type": "base64", "value": "…"} or {"type": "url", "value": "…"}, or a list of them')
    return of_url(value, "image") if image["type"] == "url" else of_bytes(decoded(value, limits.item_bytes), "image")
