"""Recordings made on the spot, in the containers that people send."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from models.audio import Samples

KINDS = {  # file name's end -> container, codec
    "wav": ("wav", "pcm_s16le"),
    "flac": ("flac", "flac"),
    "mp3": ("mp3", "libmp3lame"),
    "ogg": ("ogg", "libopus"),
    "m4a": ("mp4", "aac"),
    "webm": ("webm", "libopus"),
}


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encode(channels: NDArray[np.float32], kind: str, rate: int = 16_000) -> bytes:
    """Encode (samples,) or (channels, samples) of float32."""
    container_name, codec = KINDS[kind]
    planes = np.atleast_2d(channels)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(planes)]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_name) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        for start in range(0, planes.shape[1], 4096):
            part = np.ascontiguousarray(planes[:, start : start + 4096])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def wav_header(size: int, rate: int = 16_000, kind: int = 1, bits: int = 16, channels: int = 1) -> bytes:
    """A plain WAV header that promises `size` bytes of samples; kind 1 is whole numbers, 3 is floats."""
    block = channels * bits // 8
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, rate * block, block, bits)
    return b"RIFF" + struct.pack("<I", min(size + 36, 2**32 - 1)) + b"WAVE" + head + b"data" + struct.pack("<I", size)


def float_wav(samples: Samples) -> bytes:
    return wav_header(samples.nbytes, kind=3, bits=32) + samples.tobytes()
