"""Resize and crop for classifiers, with Pillow alone: what timm's evaluation transform does, for processes without torch."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from candor.errors import InvalidRequest

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
CropMode = Literal["center", "squash"]


def crop(image: NDArray[np.uint8], size: tuple[int, int], crop_pct: float, mode: CropMode, interpolation: str) -> NDArray[np.uint8]:
    """Return the middle of the resized image.

    Args:
        image: (height, width, 3)
        size: width and height of the result; `center` needs a square.
        crop_pct: share of the resized image that is kept.
        mode: `center` scales the shorter side, `squash` both sides each on its own.
        interpolation: `bicubic`, `bilinear`, `lanczos` or `nearest`, always with antialiasing.

    Raises:
        InvalidRequest: there is no such way of resizing.
    """
    if interpolation not in _FILTERS or mode not in ("center", "squash") or (mode == "center" and size[0] != size[1]):
        raise InvalidRequest(
            f"images can't be resized so: interpolation {interpolation!r} ({', '.join(_FILTERS)}), crop_mode {mode!r} (center, for a "
            f"square, or squash), size {size[0]} x {size[1]}"
        )
    height, width = image.shape[:2]
    scaled = (math.floor(size[0] / crop_pct), math.floor(size[1] / crop_pct))
    if mode == "center":
        side = scaled[0]
        scaled = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    left, top = (round((scaled[axis] - size[axis]) / 2) for axis in (0, 1))
    resized = Image.fromarray(image).resize(scaled, _FILTERS[interpolation])
    return np.asarray(resized.crop((left, top, left + size[0], top + size[1])))
