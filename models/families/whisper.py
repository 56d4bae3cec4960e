"""Family `whisper`: every size of OpenAI's Whisper, through the modules of the package openai-whisper.

A recording becomes windows of speech of at most 30 s (`models.speech`); windows of different recordings share a batch. The text of
a window is that of `whisper.transcribe(window, temperature=0)`, and its words have the times of `word_timestamps=True`. A
recording of at most 30 s is one window, so that its text is that of openai-whisper run on it alone.

`manifest.input`:
    dims: the fields of `whisper.model.ModelDimensions`.
    alignment_heads: [layer, head] pairs of cross-attention that follow the words in time.
    language: a code such as `en`, or null: each window's is detected, and the most frequent one is reported for the recording.

Decoding is greedy, without a fallback to other temperatures, so that a draft can be repeated. Where the model runs in circles,
`compression_ratio` is above 2.4; it is kept with the segment for calibration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candor.errors import InvalidRequest, ModelUnavailable, UnsafeArtifact
from candor.families import Adopted, Device, MediaLimits, PreparedItem
from candor.manifest import Manifest
from candor.predictions import Prediction, Task, Transcript
from models.audio import RATE, Recording, open_audio
from models.speech import WINDOW_SAMPLES, silero, windows

if TYPE_CHECKING:
    from models.families._whisper_window import SpeechWindow, Transcribed

_OPTIONS = frozenset({"language", "size", "alignment_heads", "dims"})


class WhisperModel:
    """One Whisper model in memory."""

    # Nothing in the model changes during a call. On a CPU, though, two calls at once would only take each other's threads.
    concurrent_infer: bool

    def __init__(self, manifest: Manifest, artifact: Path, device: Device) -> None:
        import torch  # noqa: PLC0415 - seconds to import, and only this family's process needs it

        from models.families._whisper_run import Runner  # noqa: PLC0415
        from models.families._whisper_source import WEIGHTS  # noqa: PLC0415

        dims = manifest.input.get("dims")
        if not isinstance(dims, Mapping) or not manifest.input.get("alignment_heads"):
            raise UnsafeArtifact(f"the manifest of {manifest.name} lacks input.dims or input.alignment_heads")
        if device.name.startswith("cuda") and not torch.cuda.is_available():
            raise ModelUnavailable(f"device {device.name} is configured, but torch sees no GPU here: use `cpu` or `auto`")
        self._mels = int(dims["n_mels"])
        self._language: str | None = manifest.input.get("language")
        self._runner: Runner | None = Runner(manifest.input, artifact / WEIGHTS, device)
        self.concurrent_infer = device.name.startswith("cuda")

    def warmup(self) -> None:
        """Run the whole way of a window once, words included: their time warping is compiled at its first call."""
        self._running.warmup()

    def memory(self) -> int:
        """Bytes of weights."""
        held: int = self._running.memory()
        return held

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        """Open the recording; its windows are decoded, cut and turned into spectrograms as they are asked for."""
        recording = open_audio(data, limits.seconds)
        return PreparedItem(units=self._units(recording), context=recording)

    def _units(self, recording: Recording) -> Iterator[SpeechWindow]:
        from models.families._whisper_mel import log_mel  # noqa: PLC0415 - needs the package openai-whisper
        from models.families._whisper_window import SpeechWindow  # noqa: PLC0415

        for window in windows(recording.blocks, silero()):
            mel, frames = log_mel(window.samples[:WINDOW_SAMPLES], self._mels)
            yield SpeechWindow(mel, frames, window.start / RATE)

    def cost(self, unit: Any) -> float:
        """Every window costs the same: the encoder always takes 30 s."""
        return 1.0

    def infer(self, units: Sequence[Any]) -> list[Any]:
        """Transcribe a batch of windows."""
        return list(self._running.transcribe(units))

    def finish(self, item: PreparedItem, results: Sequence[Any]) -> Prediction:
        """Join the windows of a recording."""
        found: Sequence[Transcribed] = results
        heard = Counter(window.language for window in found if window.segments) or Counter(window.language for window in found)
        language = self._language or (heard.most_common(1)[0][0] if heard else "en")
        return Transcript(
            duration=item.context.seconds,
            language=language,
            segments=tuple(segment for window in found for segment in window.segments),
        )

    def close(self) -> None:
        """Let go of the weights."""
        from models.families._device import release  # noqa: PLC0415

        self._runner = None
        release()

    @property
    def _running(self) -> Any:
        if self._runner is None:
            raise ModelUnavailable("the model was closed")
        return self._runner


class WhisperFamily:
    """Family `whisper`."""

    name = "whisper"
    tasks: frozenset[Task] = frozenset({"transcription"})

    def adopt(self, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        """Take in an official size or a local openai-whisper checkpoint; `_whisper_source.take_in` describes the options."""
        _require()
        from models.families._whisper_source import take_in  # noqa: PLC0415

        if unknown := sorted(set(options) - _OPTIONS):
            raise InvalidRequest(f"unknown options {', '.join(unknown)} of the family whisper: it has {', '.join(sorted(_OPTIONS))}")
        described, licence = take_in(source, folder, options)
        return Adopted(input=described, licence=licence)

    def load(self, manifest: Manifest, artifact: Path, device: Device) -> WhisperModel:
        """Load a version."""
        _require()
        return WhisperModel(manifest, artifact, device)


def _require() -> None:
    try:
        import whisper  # noqa: F401, PLC0415
    except ImportError as error:
        raise ModelUnavailable("the package openai-whisper is not installed: pip install openai-whisper") from error
