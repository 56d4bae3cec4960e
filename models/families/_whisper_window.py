"""One window of speech on its way through decoding: what `whisper.transcribe(temperature=0)` does with what the model said.

A window may take several passes: where the model stops before the content ends, the rest is decoded again, with what was said so
far as its prompt. The rules for silence, for segments and for where the next pass begins are openai-whisper's, so that the text of
a window is the text that `transcribe` gives for it alone. There is no fallback to other temperatures: a result must not be random.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candor.predictions import Segment, Word
from models.families._whisper_mel import FRAMES
from models.families._whisper_net import Said
from models.families._whisper_rules import Vocabulary
from models.families._whisper_words import STEPS_PER_SECOND, Spoken, Stretch, place

_FRAMES_PER_SECOND = 100
_FRAMES_PER_STEP = _FRAMES_PER_SECOND // STEPS_PER_SECOND
_SILENT = 0.6  # silence, where the model says so with this probability
_SURE = -1.0  # unless the mean log-probability of what it said is above this
_MOST_PASSES = 50  # each moves on by at least one step; no speech needs so many


@dataclass(frozen=True, slots=True)
class SpeechWindow:
    """One unit for the device."""

    mel: NDArray[np.float32]  # (mels, 3000), zero after the content
    frames: int  # of content, 10 ms each
    offset: float  # seconds from the beginning of the recording


@dataclass(frozen=True, slots=True)
class Transcribed:
    """What was said in one window, with times in seconds from the beginning of the recording."""

    segments: tuple[Segment, ...]
    language: str


@dataclass(slots=True)
class Pass:
    """The state of a window between passes."""

    unit: SpeechWindow
    tokenizer: Any
    seek: int = 0  # frames done
    passes: int = 0
    said: list[int] = field(default_factory=list)  # tokens of earlier passes, timestamps too: the prompt
    segments: list[Segment] = field(default_factory=list)
    last_speech: float = 0.0
    open: list[Stretch] = field(default_factory=list)  # segments of this pass
    begun: int = 0  # where this pass began, in frames
    result: Said | None = None  # of this pass

    @property
    def unfinished(self) -> bool:
        """Whether content is left to decode."""
        return self.seek < self.unit.frames and self.passes < _MOST_PASSES

    @property
    def steps(self) -> int:
        """The content of this pass on Whisper's time grid."""
        return self.size // _FRAMES_PER_STEP

    @property
    def size(self) -> int:
        """Frames of content that this pass decodes."""
        return self.unit.frames - self.begun

    def mel(self) -> NDArray[np.float32]:
        """The encoder's input for the next pass."""
        if not self.seek:
            return self.unit.mel
        rest = np.zeros_like(self.unit.mel)
        rest[:, : FRAMES - self.seek] = self.unit.mel[:, self.seek :]
        return rest

    def prompt(self, vocabulary: Vocabulary, context: int) -> list[int]:
        """The tokens that the next pass begins with."""
        earlier = [vocabulary.sot_prev, *self.said[-(context // 2 - 1) :]] if self.said else []
        return [*earlier, *self.tokenizer.sot_sequence]

    def take(self, result: Said, vocabulary: Vocabulary) -> list[int]:
        """Take in what the model said in this pass; return its text tokens, which `hear` wants to be heard again."""
        self.begun, self.passes, self.open, self.result = self.seek, self.passes + 1, [], result
        if result.no_speech_prob > _SILENT and result.avg_logprob <= _SURE:
            self.seek = self.unit.frames
            return []
        for start, end, tokens in self._divided(result.tokens, vocabulary.timestamps):
            text = [token for token in tokens if token < vocabulary.eot]
            spoken = self.tokenizer.decode(text).strip() if start != end else ""
            self.open.append(Stretch(start, end, text, spoken))
            self.said.extend(tokens if spoken else ())
        return [token for stretch in self.open for token in stretch.tokens]

    def _divided(self, tokens: Sequence[int], stamps: int) -> list[tuple[float, float, Sequence[int]]]:
        """Divide a pass at pairs of timestamps into (start, end, tokens), and move `seek` to where the next pass begins."""
        stamped = [token >= stamps for token in tokens]
        ends = [i for i in range(1, len(tokens)) if stamped[i - 1] and stamped[i]]
        closed = stamped[-2:] == [False, True]
        offset = self.begun / _FRAMES_PER_SECOND
        if not ends:
            latest = next((token - stamps for token in reversed(tokens) if token >= stamps), 0)
            length = latest / STEPS_PER_SECOND if latest else self.size / _FRAMES_PER_SECOND
            self.seek += self.size
            return [(offset, offset + length, tokens)]
        # One timestamp at the end says that nothing follows it; else what follows the last pair was cut off, and is decoded again.
        self.seek += self.size if closed else (tokens[ends[-1] - 1] - stamps) * _FRAMES_PER_STEP
        parts = [tokens[i:j] for i, j in zip([0, *ends], [*ends, *([len(tokens)] if closed else [])], strict=False)]
        return [(offset + (part[0] - stamps) / STEPS_PER_SECOND, offset + (part[-1] - stamps) / STEPS_PER_SECOND, part) for part in parts]

    def hear(self, words: Sequence[Spoken]) -> None:
        """Finish the pass with its words."""
        if self.result is None or not self.open:
            return
        self.last_speech = place(self.open, words, self.begun / _FRAMES_PER_SECOND, self.last_speech)
        text = self.tokenizer.decode(self.result.tokens).strip().encode()
        figures = (self.result.avg_logprob, self.result.no_speech_prob, len(text) / len(zlib.compress(text)))
        self.segments.extend(self._segment(stretch, *figures) for stretch in self.open if stretch.text)

    def _segment(self, stretch: Stretch, avg_logprob: float, no_speech_prob: float, compression_ratio: float) -> Segment:
        offset = self.unit.offset
        words = tuple(
            Word(
                text=word.text.strip(),
                start=offset + word.start,
                end=offset + word.end,
                score=1 / (1 + math.exp(-word.odds)) if word.odds > 0 else math.exp(word.odds) / (1 + math.exp(word.odds)),
                logit=word.odds,
                mean_probability=word.mean_probability,
                tokens=word.own,
                mean_logprob=word.mean_logprob,
                entropy=word.entropy,
            )
            for word in stretch.words
        )
        return Segment(stretch.text, offset + stretch.start, offset + stretch.end, words, avg_logprob, no_speech_prob, compression_ratio)
