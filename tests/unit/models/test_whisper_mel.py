from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.audio import RATE, Samples
from models.families._whisper_mel import FRAMES, HOP, log_mel


def by_the_book(samples: Samples, mels: int) -> NDArray[np.float64]:
    """`whisper.log_mel_spectrogram(samples, padding=480_000)`, written down plainly in double precision."""
    package = find_spec("whisper")
    assert package is not None
    assert package.origin is not None
    with np.load(Path(package.origin).parent / "assets" / "mel_filters.npz", allow_pickle=False) as banks:
        filters = banks[f"mel_{mels}"].astype(np.float64)
    padded = np.pad(np.concatenate([samples, np.zeros(30 * RATE)]).astype(np.float64), 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::HOP][:-1]
    logs = np.log10(np.maximum(filters @ (np.abs(np.fft.rfft(frames * window)) ** 2).T, 1e-10))
    return np.asarray((np.maximum(logs, logs.max() - 8) + 4) / 4)


def sound(seconds: float) -> Samples:
    rng = np.random.default_rng(3)
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * (200 + 100 * time) * time) * (time % 1) + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.5, 3.217, 29.984, 30])
def test_the_figures_are_those_of_openai_whisper(seconds: float, mels: int) -> None:
    samples = sound(seconds)
    found, content = log_mel(samples, mels)
    assert found.shape == (mels, FRAMES)
    assert found.dtype == np.float32
    assert content == len(samples) // HOP
    assert np.abs(found[:, :content] - by_the_book(samples, mels)[:, :content]).max() < 1e-4
    assert not found[:, content:].any()


def test_loud_and_silent_windows() -> None:
    for samples in (np.zeros(RATE, np.float32), np.ones(RATE, np.float32), np.tile(np.array([1, -1], np.float32), RATE // 2)):
        found, content = log_mel(samples, 80)
        assert np.isfinite(found).all()
        assert np.abs(found[:, :content] - by_the_book(samples, 80)[:, :content]).max() < 2e-3


@pytest.mark.parametrize("count", [1, 159, 160, 161, 399])
def test_a_blink_is_a_window_too(count: int) -> None:
    found, content = log_mel(np.full(count, 0.1, np.float32), 80)
    assert content == count // HOP
    assert np.isfinite(found).all()
