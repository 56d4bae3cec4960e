"""What a family returns: predictions with raw scores and the logits behind them, before any calibration.

These are frozen values in plain NumPy. They know nothing of HTTP, databases or calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Task: TypeAlias = Literal["detection", "transcription", "classification"]
TASKS: tuple[Task, ...] = ("detection", "transcription", "classification")

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes of one image, in descending score. Pixels of the image after EXIF rotation.

    `logit` is the log-odds of the score that is displayed (after objectness x class, NMS and top-k), never clipped to a
    rounded probability: calibration works on it.
    """

    image_size: tuple[int, int]  # width, height
    xyxy: Floats  # (n, 4)
    class_index: Ints  # (n,)
    score: Floats  # (n,)
    logit: Floats  # (n,)
    reconstructed: bool = False  # True where only probabilities were to be had and the logits are their log-odds

    def __post_init__(self) -> None:
        n = len(self.score)
        if self.xyxy.shape != (n, 4) or self.class_index.shape != (n,) or self.logit.shape != (n,):
            raise ValueError(f"arrays disagree: {self.xyxy.shape}, {self.class_index.shape}, {self.score.shape}, {self.logit.shape}")


@dataclass(frozen=True, slots=True)
class Classification:
    """Logits of one image over the label set."""

    image_size: tuple[int, int]  # width, height
    logits: Floats  # (k,)
    reconstructed: bool = False  # True where only probabilities were to be had and the logits are their logarithms


@dataclass(frozen=True, slots=True)
class Word:
    """One displayed word with its times in seconds from the start of the audio.

    The figures are those of the word's own tokens, without the punctuation that joined it. A family that does not know one of the
    later ones leaves it out: calibration then takes it as saying nothing.
    """

    text: str
    start: float
    end: float
    score: float  # the least token probability of the word
    logit: float  # its log-odds, from the token log-probabilities, unclipped
    mean_probability: float  # what openai-whisper calls `probability`
    tokens: int = 1
    mean_logprob: float | None = None  # mean log-probability of the tokens: the logarithm of their geometric mean
    entropy: float | None = None  # mean entropy of the distributions that the tokens were taken from, in nats


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of speech. Figures of the decoding window that it stands in are kept for calibration."""

    text: str
    start: float
    end: float
    words: tuple[Word, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float = 0.0  # of decoding: above 0 where the family fell back to sampling


@dataclass(frozen=True, slots=True)
class Transcript:
    """The transcription of one recording. No segments: no speech was found."""

    duration: float  # seconds
    language: str  # ISO 639-1
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The displayed text of the whole recording."""
        return " ".join(segment.text.strip() for segment in self.segments).strip()


Prediction: TypeAlias = Detections | Classification | Transcript
