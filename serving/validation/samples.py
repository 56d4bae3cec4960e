"""Items to try a model on: pictures and speech made in code, so that they are there on every machine, and no use to anyone."""

from __future__ import annotations

import io
import wave

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.signal import lfilter

from candor.predictions import Task

_RATE = 16_000
_SEED = 7
_SIZES = ((640, 480), (1, 1), (1500, 3), (3, 900), (320, 320), (97, 211))  # width, height
_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240), (530, 1840, 2480))  # Hz of the formants
_BANDWIDTHS = (80, 100, 140)
BAD = (b"", b"no media", b"\x89PNG\r\n\x1a\n" + b"\0" * 40)


def made(task: Task) -> list[bytes]:
    """Return good items of a task."""
    if task == "transcription":
        return [_wav(_speech(seconds)) for seconds in (2.0, 6.0, 3.5)]
    return [_png(_picture(width, height)) for width, height in _SIZES]


def _picture(width: int, height: int) -> NDArray[np.uint8]:
    """Soft colours with a few shapes: a bright frame, a dark disc, some noise."""
    random = np.random.default_rng(_SEED + width * height)
    y, x = np.mgrid[0:height, 0:width]
    slopes = np.stack([x / width, y / height, (x + y) / (width + height)], axis=-1)
    image = 60 + 140 * slopes + random.normal(0, 6, (height, width, 3))
    frame = (abs(x - width * 0.3) < width * 0.15) & (abs(y - height * 0.5) < height * 0.3)
    disc = (x - width * 0.7) ** 2 + (y - height * 0.4) ** 2 < (0.2 * min(width, height)) ** 2
    image[frame] = (230, 210, 90)
    image[disc] = (30, 40, 70)
    return np.clip(image, 0, 255).astype(np.uint8)


def _png(image: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def _speech(seconds: float) -> NDArray[np.float64]:
    """Vowels and hisses from a buzzing source: no words, but speech to a voice detector."""
    random = np.random.default_rng(_SEED)
    times = np.arange(int(seconds * _RATE)) / _RATE
    turns = np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * times)) / _RATE
    buzz = np.convolve(np.diff(np.floor(turns), prepend=0.0) > 0, np.exp(-np.arange(60) / 12), "same")
    out, length = np.zeros(len(times)), int(0.22 * _RATE)
    for number, start in enumerate(range(0, len(times), length)):
        part = buzz[start : start + length] + random.normal(0, 0.003, len(buzz[start : start + length]))
        if number % 3 == 2:
            part = 0.3 * part + random.normal(0, 0.05, len(part))
        for formant, bandwidth in zip(_VOWELS[number % len(_VOWELS)], _BANDWIDTHS, strict=True):
            radius = np.exp(-np.pi * bandwidth / _RATE)
            part = lfilter([1.0], [1.0, -2 * radius * np.cos(2 * np.pi * formant / _RATE), radius**2], part)
            part = part / (abs(part).max() + 1e-9)
        out[start : start + length] = part * np.sqrt(np.hanning(len(part)))
    return 0.3 * out


def _wav(samples: NDArray[np.float64]) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return out.getvalue()
