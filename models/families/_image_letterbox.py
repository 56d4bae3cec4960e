"""Letterboxing: an image scaled to fit a fixed size, its proportions kept, the rest filled with gray."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from candor.predictions import Floats

_GRAY = 114  # what detectors are trained with around their pictures
cv2.setNumThreads(0)  # parallelism comes from items


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How one image was placed, exactly as Ultralytics' `LetterBox(auto=False)` does it."""

    image_size: tuple[int, int]  # width, height
    inner: tuple[int, int]  # width, height of the scaled image
    left: int
    top: int

    @classmethod
    def fit(cls, image_size: tuple[int, int], size: tuple[int, int], *, center: bool = True) -> Letterbox:
        """Place an image of `image_size` in `size` (both width, height), in the middle or in the upper left corner."""
        scale = min(size[1] / image_size[1], size[0] / image_size[0])
        inner = (max(round(image_size[0] * scale), 1), max(round(image_size[1] * scale), 1))
        left, top = (round((size[axis] - inner[axis]) / 2 - 0.1) if center else 0 for axis in (0, 1))
        return cls(image_size, inner, left, top)

    @classmethod
    def stretch(cls, image_size: tuple[int, int], size: tuple[int, int]) -> Letterbox:
        """Place an image of `image_size` all over `size` (both width, height), whatever becomes of its proportions."""
        return cls(image_size, size, 0, 0)

    def apply(self, image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the image (height, width, 3) in its frame of `size` (width, height)."""
        frame = np.full((size[1], size[0], 3), _GRAY, np.uint8)
        scaled = image if self.inner == self.image_size else cv2.resize(image, self.inner, interpolation=cv2.INTER_LINEAR)
        frame[self.top : self.top + self.inner[1], self.left : self.left + self.inner[0]] = scaled
        return frame

    def restore(self, boxes: Floats) -> Floats:
        """Return boxes (n, 4) xyxy in pixels of the frame as pixels of the image, clipped to it."""
        shift = np.array([self.left, self.top] * 2)
        scale = np.array([self.inner[axis] / self.image_size[axis] for axis in (0, 1)] * 2)
        bounds = np.array([*self.image_size] * 2, np.float64)
        return np.asarray(np.clip((boxes - shift) / scale, 0.0, bounds))
