from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from serving.evaluation.noise import noise_of, signal_to_noise


def recording(path: Path, noise: float) -> Path:
    """Two seconds: a tone half of the time, over noise of this amplitude."""
    rng = np.random.default_rng(0)
    at = np.arange(32_000) / 16_000
    sound = 0.3 * np.sin(2 * np.pi * 440 * at) * (at % 1 < 0.5) + noise * rng.normal(size=len(at))
    data = io.BytesIO()
    with wave.open(data, "wb") as opened:
        opened.setparams((1, 2, 16_000, 0, "NONE", ""))
        opened.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    path.write_bytes(data.getvalue())
    return path


def test_known_levels() -> None:
    assert signal_to_noise(np.array([1.0] * 50 + [0.01] * 50)) == pytest.approx(20)
    assert signal_to_noise(np.zeros(10)) == 0


def test_a_tone_over_noise(tmp_path: Path) -> None:
    found = [noise_of(recording(tmp_path / f"{noise}.wav", noise)) for noise in (0.1, 0.01)]
    assert found[0] == pytest.approx(10 * np.log10(1 + 0.045 / 0.01), abs=0.7)
    assert found[1] == pytest.approx(10 * np.log10(1 + 0.045 / 0.0001), abs=0.7)


def test_what_can_not_be_heard_has_no_ratio(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    assert np.isnan(noise_of(tmp_path / "text.wav"))
    assert np.isnan(noise_of(tmp_path / "missing.wav"))
