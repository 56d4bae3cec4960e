from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import CandorError, MediaTooLarge, UndecodableAudio
from models import audio
from models.audio import RATE, Samples, open_audio
from tests.unit.models.recordings import KINDS, encode, float_wav, tone, wav_header


def decode(data: bytes, limit: float = 7200) -> Samples:
    return np.concatenate(list(open_audio(data, limit).blocks))


def pitch(samples: Samples) -> float:
    """The loudest frequency, in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE / len(samples))


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("kind", KINDS)
def test_every_container_gives_the_same_sound(kind: str, rate: int) -> None:
    samples = decode(encode(tone(2, rate), kind, rate))
    assert samples.dtype == np.float32
    assert len(samples) / RATE == pytest.approx(2, abs=0.15)  # lossy codecs pad
    assert pitch(samples) == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(samples[4000:-4000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_lossless_audio_comes_out_sample_for_sample(kind: str) -> None:
    samples = np.round(np.random.default_rng(1).uniform(-1, 1, RATE) * 32767).astype(np.int16)
    assert np.array_equal(decode(encode((samples / np.float32(32768)).astype(np.float32), kind)) * 32768, samples)


def test_other_rates_are_resampled() -> None:
    for rate in (8_000, 22_050, 44_100):
        samples = decode(encode(tone(1, rate), "wav", rate))
        assert abs(len(samples) - RATE) <= 2
        assert np.abs(samples[800:-800] - tone(1)[800 : len(samples) - 800]).max() < 0.01


def test_channels_are_mixed() -> None:
    assert np.abs(decode(encode(np.stack([tone(1), -tone(1)]), "wav"))).max() < 1e-3
    assert np.abs(decode(encode(np.stack([tone(1), tone(1)]), "wav")) - tone(1)).max() < 1e-3
    assert pitch(decode(encode(np.stack([tone(1)] * 6), "flac"))) == pytest.approx(440, abs=1)


def test_a_recording_knows_its_length_while_it_is_decoded() -> None:
    recording = open_audio(encode(tone(3), "flac"), 7200)
    assert (recording.declared, recording.seconds) == (3.0, 0.0)
    list(recording.blocks)
    assert recording.seconds == 3.0


NOISE = np.random.default_rng(7).bytes(20_000)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 4096,
        b"this is a text that someone has named speech.wav\n" * 40,
        NOISE,
        b"RIFF\x24\0\0\0WAVE",
        b"\x89PNG\r\n\x1a\n" + NOISE,
    ],
    ids=["empty", "zeros", "text", "noise", "header", "picture"],
)
def test_what_is_no_audio_is_refused(data: bytes) -> None:
    with pytest.raises(UndecodableAudio):
        decode(data)


def test_a_playlist_opens_nothing_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(encode(tone(1), "wav"))
    for playlist in (f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n", f"ffconcat version 1.0\nfile '{secret}'\n"):
        with pytest.raises(UndecodableAudio, match="no audio file of a known kind"):
            decode(playlist.encode())


@pytest.mark.parametrize("kind", ["wav", "flac", "m4a"])
def test_a_file_that_is_cut_off_is_refused(kind: str) -> None:
    data = encode(np.random.default_rng(3).uniform(-0.5, 0.5, 4 * RATE).astype(np.float32), kind)
    with pytest.raises(UndecodableAudio):
        decode(data[: len(data) * 3 // 4])


def test_a_wav_says_how_much_of_it_is_missing() -> None:
    with pytest.raises(UndecodableAudio, match="promises 1000 bytes"):
        open_audio(encode(tone(1), "wav")[:-1000], 7200)


def test_a_wav_from_a_pipe_has_no_size_and_is_taken() -> None:
    samples = (tone(1) * 32767).astype("<i2").tobytes()
    for unknown in (0xFFFFFFFF, 0x7FFFFFFF):
        assert len(decode(wav_header(unknown) + samples)) == RATE


def test_a_wav_without_samples_is_refused() -> None:
    with pytest.raises(UndecodableAudio):
        decode(wav_header(0))


def test_broken_packets_are_refused_and_say_where() -> None:
    data = bytearray(encode(tone(10), "flac"))
    middle = len(data) // 2
    data[middle : middle + 2000] = b"\xff" * 2000
    with pytest.raises(UndecodableAudio, match=r"broken after [1-9]\.\d+ s|cut off"):
        decode(bytes(data))


def test_damage_that_a_checksum_shows_is_refused() -> None:
    whole = encode(np.random.default_rng(5).uniform(-0.5, 0.5, 2 * RATE).astype(np.float32), "flac")
    for place in np.linspace(0.2, 0.8, 10):
        data = bytearray(whole)
        data[round(len(data) * place)] ^= 0x10
        with pytest.raises(UndecodableAudio):
            decode(bytes(data))


def test_a_stream_joined_in_the_middle_is_taken() -> None:
    whole = encode(tone(5), "mp3")
    assert pitch(decode(whole[len(whole) // 3 :])) == pytest.approx(440, abs=1)


class Damaged:
    """A container whose first packets can't be decoded."""

    def __init__(self, inner: Any, broken: int) -> None:
        self._inner = inner
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def demux(self, stream: Any) -> Iterator[Any]:
        for number, packet in enumerate(self._inner.demux(stream)):
            yield self if number < self._broken else packet

    def decode(self) -> None:
        raise av.error.InvalidDataError(1, "broken")


def test_a_stream_whose_beginning_is_lost_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data, broken, frames = encode(tone(5), "mp3"), 3, audio._frames
    monkeypatch.setattr(audio, "_frames", lambda container, recording: frames(Damaged(container, broken), recording))  # type: ignore[arg-type]
    assert len(decode(data)) > 4 * RATE
    broken = 30
    with pytest.raises(UndecodableAudio, match=r"broken after 0\.00 s"):
        decode(data)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    samples = tone(2)
    assert len(decode(float_wav(samples))) == 2 * RATE
    samples[20_000] = value
    with pytest.raises(UndecodableAudio, match="NaN or infinite"):
        decode(float_wav(samples))


@pytest.mark.parametrize("rate", [1, 100, 2_000_000_000])
def test_a_rate_that_would_blow_up_memory_is_refused(rate: int) -> None:
    with pytest.raises((UndecodableAudio, MediaTooLarge)):
        decode(wav_header(8000, rate=rate) + bytes(8000))


def count_frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the frames that are decoded."""
    seen: list[int] = []
    checked = audio._checked

    def counting(frame: av.AudioFrame) -> av.AudioFrame:
        seen.append(frame.samples)
        return checked(frame)

    monkeypatch.setattr(audio, "_checked", counting)
    return seen


def test_three_hours_are_refused_by_their_declared_length(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = count_frames(monkeypatch)
    three_hours = 3 * 3600 * RATE
    flac = bytearray(encode(tone(1), "flac"))
    assert int.from_bytes(flac[18:26], "big") & (2**36 - 1) == RATE  # where FLAC writes the number of samples
    flac[18:26] = (int.from_bytes(flac[18:26], "big") - RATE + three_hours).to_bytes(8, "big")
    with pytest.raises(MediaTooLarge, match="limit of 7200 s"):
        open_audio(bytes(flac), 7200)
    with pytest.raises(MediaTooLarge):
        open_audio(wav_header(3 * 3600 * 2000, rate=2000, bits=8) + bytes(3 * 3600 * 2000), 7200)
    assert not decoded


def test_a_long_mp3_is_refused_by_its_packets_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = count_frames(monkeypatch)
    with pytest.raises(MediaTooLarge):
        open_audio(encode(tone(30), "mp3"), 20)
    assert not decoded


def test_a_length_that_lies_does_not_pass_the_limit() -> None:
    samples = bytes(2 * RATE * 60)
    recording = open_audio(wav_header(0xFFFFFFFF) + samples, 7200)
    assert sum(map(len, recording.blocks)) == 60 * RATE
    with pytest.raises(MediaTooLarge):
        decode(wav_header(0xFFFFFFFF) + samples, limit=30)


def test_memory_does_not_grow_with_the_recording() -> None:
    def peak(seconds: int) -> int:
        data = encode(np.random.default_rng(0).uniform(-0.1, 0.1, seconds * RATE).astype(np.float32), "flac")
        tracemalloc.start()
        try:
            for _ in open_audio(data, 7200).blocks:
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(120) < 1.5 * peak(20) + 100_000


def test_many_threads_decode_at_once() -> None:
    data, lengths = encode(tone(5), "ogg"), []
    threads = [threading.Thread(target=lambda: lengths.append(len(decode(data)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(lengths)) == 1
    assert len(lengths) == 8


def test_a_reader_that_stops_early_leaves_nothing_open() -> None:
    recording = open_audio(encode(tone(20), "flac"), 7200)
    assert len(list(islice(recording.blocks, 2))) == 2
    recording.blocks.close()  # type: ignore[attr-defined]
    assert next(recording.blocks, None) is None


SHORT = {kind: encode(tone(1), kind) for kind in KINDS}


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_damaged_files_raise_only_our_errors(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(SHORT[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(damaged)))
    try:
        samples = decode(bytes(damaged[:cut]), limit=60)
    except CandorError:
        return
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1
