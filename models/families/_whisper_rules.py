"""Which token Whisper may say next: openai-whisper's suppressed tokens and timestamp rules, for a whole batch at once.

The rules are those of `whisper.decoding` (SuppressBlank, SuppressTokens, ApplyTimestampRules), which walk the rows of a batch one
by one and wait for the device at each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_LATEST_START = 50  # a window's first timestamp is at most 1.0 s


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The token numbers that decoding needs."""

    eot: int
    sot_prev: int
    no_speech: int
    no_timestamps: int
    timestamps: int  # <|0.00|>; every later number is a timestamp
    suppressed: tuple[int, ...]
    blank: tuple[int, ...]  # not said first: a space, or nothing at all

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """Read them from a `whisper.tokenizer.Tokenizer`; they are the same for every language."""
        marks = (tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm)
        return cls(
            eot=tokenizer.eot,
            sot_prev=tokenizer.sot_prev,
            no_speech=tokenizer.no_speech,
            no_timestamps=tokenizer.no_timestamps,
            timestamps=tokenizer.timestamp_begin,
            suppressed=tuple(sorted({*tokenizer.non_speech_tokens, *marks, tokenizer.no_speech, tokenizer.no_timestamps})),
            blank=(*tokenizer.encode(" "), tokenizer.eot),
        )


class Rules:
    """The state of a batch of rows being decoded; `allow` masks, `said` moves on."""

    def __init__(self, vocabulary: Vocabulary, rows: int, device: torch.device) -> None:
        self._v = vocabulary
        self._suppressed = torch.tensor(vocabulary.suppressed, device=device)
        self._steps = 0
        self._last = torch.zeros(rows, dtype=torch.bool, device=device)  # the latest token is a timestamp
        self._before = torch.ones(rows, dtype=torch.bool, device=device)  # so is the one before it, or there is none
        self._time = torch.full((rows,), -1, device=device)  # the latest timestamp, in steps of 0.02 s; -1: none yet

    def allow(self, logits: Tensor) -> None:
        """Set the logits (rows, vocabulary) of what may not be said next to -inf, in place."""
        v, never = self._v, -torch.inf
        logits[:, self._suppressed] = never
        times = logits[:, v.timestamps :]
        if self._steps == 0:
            logits[:, list(v.blank)] = never
            logits[:, : v.timestamps] = never
            times[:, _LATEST_START + 1 :] = never
            return
        # Timestamps come in pairs, the end of a segment and the start of the next, except before the end of the text.
        closed = self._last & ~self._before
        logits[:, : v.eot].masked_fill_(closed[:, None], never)
        times.masked_fill_((self._last & self._before)[:, None], never)
        # Time goes on: the next segment may start where the last one ended, but no segment ends where it started.
        past = torch.where(closed, self._time, self._time + 1)
        times.masked_fill_(torch.arange(times.shape[1], device=times.device) < past[:, None], never)
        # Where all timestamps together are likelier than any one other token, a timestamp it is.
        likelier = times.logsumexp(-1) > logits[:, : v.timestamps].amax(-1)
        logits[:, : v.timestamps].masked_fill_(likelier[:, None], never)

    def said(self, tokens: Tensor) -> None:
        """Take in the tokens (rows,) that were chosen."""
        self._before = self._last if self._steps > 0 else torch.ones_like(self._last)
        self._last = tokens >= self._v.timestamps
        self._time = torch.where(self._last, tokens - self._v.timestamps, self._time)
        self._steps += 1

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self._last, self._before, self._time = self._last[rows], self._before[rows], self._time[rows]
