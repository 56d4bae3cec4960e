"""Distinct files of ordinary sizes, made from the sample media: the same ones every time, the same bytes for raw and served."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from candor.predictions import Task
from candor.tasks import SPECS
from models.samples import Sample

IMAGES, CLIPS = 128, 32
_SIZE = (640, 480)
_MOST_BYTES = 200_000
_QUALITIES = (96, 93, 90, 86, 82, 75)
_GRAIN = 3.0  # of 255: what a camera's sensor adds, and enlarging took away


def make_files(samples: Sequence[Sample], folder: Path, images: int = IMAGES, clips: int = CLIPS) -> None:
    """Write `image-NNN.jpg` (640 x 480, 100 to 200 kB) and `audio-NNN.wav` (8 to 11 s, 16 bit) into the folder."""
    pictures = [Image.open(sample.path).convert("RGB") for sample in samples if sample.kind == "image"]
    recordings = [sample.path for sample in samples if sample.kind == "audio"]
    for i in range(images):
        (folder / f"image-{i:03}.jpg").write_bytes(vary_picture(pictures[i % len(pictures)], seed=i))
    for i in range(clips):
        (folder / f"audio-{i:03}.wav").write_bytes(vary_recording(recordings[i % len(recordings)], seed=i))


def files_of(folder: Path, task: Task) -> list[Path]:
    """Return the files that a task drafts, in order."""
    return sorted(folder.glob(f"{SPECS[task].media}-*"))


def vary_picture(picture: Image.Image, seed: int) -> bytes:
    """Return a JPEG of another part of the picture, with another grain."""
    rng = np.random.default_rng(seed)
    width, height = _crop(picture.size, rng.uniform(0.7, 1.0))
    left, top = int(rng.integers(picture.width - width + 1)), int(rng.integers(picture.height - height + 1))
    part = picture.resize(_SIZE, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    grainy = np.asarray(part, np.float32) + rng.normal(0, _GRAIN, (_SIZE[1], _SIZE[0], 3))
    image = Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8))
    for quality in _QUALITIES:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=quality)
        if data.tell() <= _MOST_BYTES:
            break
    return data.getvalue()


def _crop(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the largest size with the shape of `_SIZE` inside of `size`, scaled."""
    fit = min(size[0] / _SIZE[0], size[1] / _SIZE[1]) * scale
    return int(_SIZE[0] * fit), int(_SIZE[1] * fit)


def vary_recording(path: Path, seed: int) -> bytes:
    """Return a WAV of the recording cut at another place, somewhat softer. The source is 16 bit PCM."""
    rng = np.random.default_rng(seed)
    with wave.open(str(path)) as source:
        settings = source.getparams()
        sound = np.frombuffer(source.readframes(settings.nframes), np.int16).reshape(-1, settings.nchannels)
    begin, end = (int(rng.uniform(0, 1.5) * settings.framerate) for _ in range(2))
    cut = (sound[begin : len(sound) - end] * rng.uniform(0.7, 1.0)).astype(np.int16)
    data = io.BytesIO()
    with wave.open(data, "wb") as target:
        target.setparams(settings._replace(nframes=0))
        target.writeframes(cut.tobytes())
    return data.getvalue()
