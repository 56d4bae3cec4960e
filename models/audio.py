"""Decode any audio container into a stream of 16 kHz mono float32 blocks, in memory that does not grow with the recording.

The samples are those of `ffmpeg -ac 1 -ar 16000 -f s16le`, divided by 32768, as `whisper.load_audio` reads them; no ffmpeg program
is needed. Each call opens its own decoder, so that any number of threads may decode at once.

What a file says of its own length is believed only for containers that write it down. For the others (mp3, aac, ogg, live
recordings) the packets are counted first, undecoded. A file that ends before the length that it declares, or that holds a packet
which can't be decoded, is refused rather than drafted in part: a transcript that silently lacks its end can't be told from a whole one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from candor.errors import MediaTooLarge, UndecodableAudio

RATE = 16_000  # samples per second of every decoded block
_RATES = (2_000, 800_000)  # no recorder is outside; a file that claims to be could make one block, or the resampler, as large as memory
_BROKEN_AT_START = 10  # packets

Samples: TypeAlias = NDArray[np.float32]

# Containers whose bytes are all in the file. Playlists (hls, dash, concat) are left out: they would open other files and addresses.
_CONTAINERS = (
    "wav,w64,flac,mp3,ogg,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,aac,aiff,caf,au,amr,asf,avi,flv,mpegts,mpeg,ac3,eac3,wv,ape,tta,"
    "dsf,gsm,opus,truehd,dts,voc,iff,sox,rm,spx"
)
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}

# Containers that write their length down, and by how many seconds what is decoded may fall short of it.
_DECLARED = {"wav": 0.05, "w64": 0.05, "flac": 0.05, "aiff": 0.05, "caf": 0.5, "au": 0.05, "mov": 0.5, "matroska": 0.5}


@dataclass(slots=True)
class Recording:
    """One recording on its way through the decoder. `blocks` is consumed once."""

    blocks: Iterator[Samples] = field(default_factory=lambda: iter(()))
    declared: float | None = None  # seconds, where the container says so
    samples: int = 0  # decoded so far

    @property
    def seconds(self) -> float:
        """Length of what has been decoded so far."""
        return self.samples / RATE


def open_audio(data: bytes, limit: float) -> Recording:
    """Open encoded audio; its blocks are decoded as they are asked for.

    Args:
        data: the bytes of one audio file, or of a video file with sound; its first audio stream is taken.
        limit: the longest recording that is taken, in seconds.

    Raises:
        UndecodableAudio: no audio can be found in it. The blocks raise it too, at the place where the audio turns out to be broken.
        MediaTooLarge: it is longer than `limit`. The blocks raise it where the length could not be known before.
    """
    if not data:
        raise UndecodableAudio("the item is empty: send the bytes of an audio file")
    if missing := _missing_from_wav(data):
        raise UndecodableAudio(f"the file is cut off: its header promises {missing} bytes of samples more; send the whole file")
    recording = Recording()
    with _open(data) as container:
        stream = _audio_stream(container)
        kind = container.format.name.split(",")[0]
        if kind in _DECLARED:
            recording.declared = _declared_seconds(container, stream)
        length = recording.declared if recording.declared is not None else _counted_seconds(container, stream, limit)
    if length > limit:
        raise _too_long(limit)
    recording.blocks = _blocks(data, recording, limit, _DECLARED.get(kind, 0.0))
    return recording


def _missing_from_wav(data: bytes) -> int:
    """How many bytes of samples a WAV header promises beyond the end of the file, which ffmpeg passes over in silence."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return 0
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8
        if name == b"data":
            # A recorder that writes to a pipe can't come back to fill the size in.
            return 0 if size >= 0x7FFFFF00 else max(0, place + size - len(data))
        place += size + size % 2
    return 0


def _too_long(limit: float) -> MediaTooLarge:
    return MediaTooLarge(f"the recording is longer than the limit of {limit:.0f} s: cut it into shorter ones")


def _open(data: bytes) -> InputContainer:
    try:
        return av.open(io.BytesIO(data), mode="r", options=_OPTIONS, metadata_errors="ignore")
    except (FFmpegError, ValueError) as error:
        raise UndecodableAudio("the bytes are no audio file of a known kind (wav, flac, mp3, ogg, opus, m4a, webm, …)") from error


def _audio_stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise UndecodableAudio(f"the {container.format.name} file has no audio stream")
    stream = container.streams.audio[0]
    if stream.codec_context is None:  # despite its type: a codec that ffmpeg has no decoder for
        raise UndecodableAudio(f"the {container.format.name} file's audio is of a kind that can't be decoded")
    stream.codec_context.thread_count = 1  # parallelism comes from items
    if stream.codec_context.name == "flac":
        stream.codec_context.options = {"err_detect": "crccheck+explode"}  # it has checksums, which ffmpeg passes over by itself
    return stream


def _declared_seconds(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def _counted_seconds(container: InputContainer, stream: AudioStream, limit: float) -> float:
    """Add up the lengths of the packets, without decoding them, until the limit is passed."""
    base = float(stream.time_base or 0)
    total = 0.0
    try:
        for packet in container.demux(stream):
            total += (packet.duration or 0) * base
            if total > limit:
                break
    except FFmpegError:
        pass  # decoding meets the same fault, and says where
    return total


def _blocks(data: bytes, recording: Recording, limit: float, shortfall: float) -> Iterator[Samples]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with _open(data) as container:
        for frame in _frames(container, recording):
            for block in _resampled(resampler, frame, recording):
                recording.samples += len(block)
                if recording.samples > limit * RATE:
                    raise _too_long(limit)
                yield block
    if not recording.samples:
        raise UndecodableAudio("the file holds no audio samples")
    if recording.declared is not None and recording.seconds < recording.declared - shortfall:
        raise UndecodableAudio(
            f"the file is cut off: it declares {recording.declared:.2f} s and holds {recording.seconds:.2f} s; send the whole file"
        )


def _frames(container: InputContainer, recording: Recording) -> Iterator[AudioFrame | None]:
    """Decoded frames, then None to flush the resampler."""
    stream = _audio_stream(container)
    broken = 0
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except FFmpegError:
                broken += 1
                if recording.samples or broken > _BROKEN_AT_START:
                    raise
                continue  # a stream that was joined in the middle begins with broken packets
            for frame in frames:
                yield _checked(frame)
    except FFmpegError as error:
        raise _broken(recording) from error
    yield None


def _broken(recording: Recording) -> UndecodableAudio:
    return UndecodableAudio(f"the audio is broken after {recording.seconds:.2f} s that could be decoded; send the whole file again")


def _checked(frame: AudioFrame) -> AudioFrame:
    if not _RATES[0] <= frame.sample_rate <= _RATES[1]:
        raise UndecodableAudio(f"the audio has {frame.sample_rate} samples per second: {_RATES[0]} to {_RATES[1]} are taken")
    if frame.format.name.startswith(("flt", "dbl")) and not np.isfinite(frame.to_ndarray()).all():
        raise UndecodableAudio("the audio holds samples that are NaN or infinite")
    frame.pts = None  # a gap in the clock is not a gap in the samples
    return frame


def _resampled(resampler: av.AudioResampler, frame: AudioFrame | None, recording: Recording) -> Iterator[Samples]:
    try:
        resampled = resampler.resample(frame)
    except (FFmpegError, ValueError) as error:
        raise _broken(recording) from error
    for part in resampled:
        yield part.to_ndarray()[0].astype(np.float32) / np.float32(32768)
