"""The tensor work of Whisper for a batch of windows: encode, decode greedily, and read word alignments.

The modules and weights are openai-whisper's; the loop around them is ours, because its own keeps its cache in hooks on the shared
modules, walks the rows of a batch one by one, wants prompts of one length, and goes on with rows that have ended. Nothing here
changes the model, so that calls on several threads don't disturb one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor

from models.families._whisper_rules import Rules, Vocabulary

_MEDIAN_WIDTH = 7  # openai-whisper's smoothing of attention over time, in steps
_ROWS = 128  # positions whose logits over the vocabulary are in memory at once
_WORTH_DROPPING = 0.75  # share of rows still going at which the others are dropped: it costs a copy of what is kept


@dataclass(frozen=True, slots=True)
class Said:
    """What greedy decoding made of one window."""

    tokens: list[int]  # without the end-of-text token
    avg_logprob: float
    no_speech_prob: float


@dataclass(frozen=True, slots=True)
class Heard:
    """A teacher-forced reading of one window's text."""

    odds: NDArray[np.float64]  # (n,) log-odds of each text token among the text tokens
    entropy: NDArray[np.float64]  # (n,) of the distribution over the text tokens that each was taken from, in nats
    attention: NDArray[np.float64]  # (n + 1, steps) where in time each token was heard; the last row is the end


@dataclass(slots=True)
class Encoded:
    """A batch of encoded windows: per decoder layer, keys and values (rows, heads, 1500, width)."""

    cross: list[tuple[Tensor, Tensor]]

    def keep(self, rows: Tensor) -> Encoded:
        """The same, of these rows only."""
        return Encoded([(keys[rows], values[rows]) for keys, values in self.cross])


@dataclass(slots=True)
class _Past:
    """Keys and values of the tokens so far, per layer, in buffers (rows, heads, room, width)."""

    keys: list[Tensor]
    values: list[Tensor]
    length: int
    absent: Tensor | None  # (rows, room) True where a row's prompt is padded on the left; None: nowhere

    def mask(self, start: int, end: int) -> Tensor | None:
        """What tokens `start` to `end` may look at, (rows, 1, n, end); None where plain causality says it all."""
        if self.absent is None:
            return None
        present = ~self.absent[:, None, None, :end]
        if end - start == 1:
            return present
        # Padding looks at itself: a row of attention with nothing to look at is NaN.
        square = torch.ones(end, end, dtype=torch.bool, device=present.device)
        return ((square.tril() & present) | torch.eye(end, dtype=torch.bool, device=present.device))[:, :, start:]

    def keep(self, rows: Tensor) -> None:
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
        if self.absent is not None:
            self.absent = self.absent[rows]


class Net:
    """An openai-whisper model, and what a batch needs of it."""

    def __init__(self, model: Any, vocabulary: Vocabulary, heads: Sequence[tuple[int, int]], dtype: torch.dtype) -> None:
        """`heads` are the (layer, head) pairs of cross-attention that follow the words in time."""
        self._encoder, self._decoder, self._dims = model.encoder, model.decoder, model.dims
        self._v = vocabulary
        self._heads = [[head for layer, head in heads if layer == i] for i in range(model.dims.n_text_layer)]
        self._dtype = dtype
        self.device: torch.device = model.decoder.token_embedding.weight.device

    def encode(self, mels: NDArray[np.float32]) -> Encoded:
        """Encode windows (n, mels, 3000)."""
        batch = torch.from_numpy(mels).to(self.device, self._dtype)
        # On a CPU a batch gains nothing in the encoder, and its big blocks of memory cost page faults.
        parts = [window[None] for window in batch] if self.device.type == "cpu" else [batch]
        encoded = torch.cat([self._encoder(part) for part in parts])
        return Encoded([(self._split(b.cross_attn.key(encoded)), self._split(b.cross_attn.value(encoded))) for b in self._decoder.blocks])

    def _split(self, x: Tensor) -> Tensor:
        """(rows, n, state) -> (rows, heads, n, width)"""
        return x.view(*x.shape[:2], self._dims.n_text_head, -1).transpose(1, 2).contiguous()

    def languages(self, encoded: Encoded, sot: int, tokens: Sequence[int]) -> list[int]:
        """Return, for each row, the position in `tokens` of its likeliest language."""
        start = torch.full((encoded.cross[0][0].shape[0], 1), sot, device=self.device)
        hidden = self._forward(start, torch.zeros_like(start), encoded, self._fresh(start, 1))
        found: list[int] = self._logits(hidden[:, 0])[:, list(tokens)].argmax(-1).tolist()
        return found

    def decode(self, encoded: Encoded, prompts: Sequence[Sequence[int]], no_speech_at: int) -> list[Said]:
        """Decode greedily, as `whisper.decode` does at temperature 0 with timestamps.

        Args:
            encoded: the windows.
            prompts: the tokens that each row begins with; they may differ in length.
            no_speech_at: which prompt token, counted from the end (-1 is the last), tells whether there is speech.
        """
        width, context = max(map(len, prompts)), self._dims.n_text_ctx
        most = torch.tensor([min(context // 2, context + 1 - len(prompt)) for prompt in prompts], device=self.device)
        tokens = torch.tensor([[self._v.eot] * (width - len(p)) + list(p) for p in prompts], device=self.device)
        lacking = torch.tensor([width - len(prompt) for prompt in prompts], device=self.device)
        positions = (torch.arange(width, device=self.device) - lacking[:, None]).clamp(min=0)
        longest = int(most.max())
        past = self._fresh(tokens, width + longest, lacking)
        batch = _Batch(Rules(self._v, len(prompts), self.device), most, longest, self._v.eot)
        silent: list[float] = []
        for step in range(longest):
            hidden = self._forward(tokens, positions, encoded, past)
            if step == 0:
                silent = self._logits(hidden[:, no_speech_at]).softmax(-1)[:, self._v.no_speech].tolist()
            tokens = batch.choose(self._logits(hidden[:, -1]))
            left = int(batch.going.sum())
            if not left:
                break
            positions = positions[:, -1:] + 1
            if left <= _WORTH_DROPPING * len(tokens):
                rows = batch.drop()
                past.keep(rows)
                encoded, tokens, positions = encoded.keep(rows), tokens[rows], positions[rows]
        return batch.said(silent)

    def listen(self, encoded: Encoded, begin: Sequence[Sequence[int]], texts: Sequence[Sequence[int]], steps: Sequence[int]) -> list[Heard]:
        """Read each row's text again, all tokens at once, for their probabilities and where in time they were heard.

        Args:
            encoded: the windows.
            begin: the tokens before each row's text, as many in every row.
            texts: the text tokens of each row, without timestamps.
            steps: how many steps of 0.02 s of each window are content.
        """
        room = max(len(text) for text in texts) + len(begin[0]) + 1
        spoken = [[*start, *text] for start, text in zip(begin, texts, strict=True)]
        tokens = torch.tensor([row + [self._v.eot] * (room - len(row)) for row in spoken], device=self.device)
        positions = torch.arange(room, device=self.device).expand_as(tokens)
        seen: list[Tensor] = []
        hidden = self._forward(tokens, positions, encoded, self._fresh(tokens, room), seen)
        weights = torch.cat(seen, dim=1)
        heard = []
        for row, text in enumerate(texts):
            first, end = len(begin[row]) - 1, len(begin[row]) + len(text)
            odds, entropy = self._sureness(hidden[row, first : end - 1], torch.tensor(text, device=self.device))
            heard.append(Heard(odds, entropy, _followed(weights[row, :, : end + 1, : max(1, steps[row])], first)))
        return heard

    def _sureness(self, hidden: Tensor, tokens: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How sure the model is of each token among all text tokens, from logits: (n, state), (n,) -> two (n,).

        Its log-odds, which never saturate, and the entropy of the distribution that it was taken from, in nats.
        """
        odds, entropy = [], []
        for start in range(0, len(tokens), _ROWS):
            chosen = tokens[start : start + _ROWS]
            logits = self._logits(hidden[start : start + _ROWS])[:, : self._v.eot]
            own = logits.gather(-1, chosen[:, None])[:, 0].double()
            logprobs = logits.log_softmax(-1)
            entropy.append(-torch.linalg.vecdot(logprobs.exp(), logprobs).double().cpu().numpy())
            others = logits.scatter_(-1, chosen[:, None], -torch.inf).logsumexp(-1).double()
            odds.append((own - others).cpu().numpy())
        return np.concatenate(odds), np.concatenate(entropy)

    def _fresh(self, tokens: Tensor, room: int, lacking: Tensor | None = None) -> _Past:
        """Empty buffers for `room` positions; `lacking` says by how many each row's prompt is shorter than the longest."""
        heads, state = self._dims.n_text_head, self._dims.n_text_state
        shape = (len(tokens), heads, room, state // heads)

        def buffers() -> list[Tensor]:
            return [torch.empty(shape, dtype=self._dtype, device=self.device) for _ in range(self._dims.n_text_layer)]

        absent = None
        if lacking is not None and bool(lacking.any()):
            absent = torch.arange(room, device=self.device) < lacking[:, None]
        return _Past(buffers(), buffers(), 0, absent)

    def _logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self._decoder.token_embedding.weight).float()

    def _forward(self, tokens: Tensor, positions: Tensor, encoded: Encoded, past: _Past, seen: list[Tensor] | None = None) -> Tensor:
        """Run the decoder on (rows, n) further tokens -> (rows, n, state). `seen` collects the attention of the alignment heads."""
        x = (self._decoder.token_embedding(tokens) + self._decoder.positional_embedding[positions]).to(self._dtype)
        start, end = past.length, past.length + tokens.shape[1]
        mask = past.mask(start, end)
        for layer, block in enumerate(self._decoder.blocks):
            normed = block.attn_ln(x)
            keys, values = past.keys[layer], past.values[layer]
            keys[:, :, start:end] = self._split(block.attn.key(normed))
            values[:, :, start:end] = self._split(block.attn.value(normed))
            query, causal = self._split(block.attn.query(normed)), mask is None and end - start > 1
            mixed = F.scaled_dot_product_attention(query, keys[:, :, :end], values[:, :, :end], attn_mask=mask, is_causal=causal)
            x = x + block.attn.out(_merged(mixed))
            query = self._split(block.cross_attn.query(block.cross_attn_ln(x)))
            if seen is not None and self._heads[layer]:
                seen.append(_attention(query[:, self._heads[layer]], encoded.cross[layer][0][:, self._heads[layer]]))
            x = x + block.cross_attn.out(_merged(F.scaled_dot_product_attention(query, *encoded.cross[layer])))
            x = x + block.mlp(block.mlp_ln(x))
        past.length = end
        hidden: Tensor = self._decoder.ln(x)
        return hidden


class _Batch:
    """What greedy decoding has chosen so far, and which rows go on. Rows that ended are dropped when enough of them have."""

    def __init__(self, rules: Rules, most: Tensor, longest: int, eot: int) -> None:
        rows = len(most)
        self._rules, self._most, self._eot, self._steps = rules, most, eot, 0
        self._row = torch.arange(rows, device=most.device)  # where the rows that are left stood at first
        self.going = torch.ones(rows, dtype=torch.bool, device=most.device)
        self._tokens = torch.full((rows, longest), eot, device=most.device)
        self._total = torch.zeros(rows, device=most.device)

    def choose(self, logits: Tensor) -> Tensor:
        """Choose the likeliest allowed token of each row; return them as (rows, 1)."""
        self._rules.allow(logits)
        chosen = logits.argmax(-1)
        chosen = torch.where(self.going, chosen, self._eot)
        logprob = logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)
        self._total[self._row] += torch.where(self.going, logprob, 0.0)
        self._tokens[self._row, self._steps] = chosen
        self._rules.said(chosen)
        self._steps += 1
        self.going = self.going & (chosen != self._eot) & (self._steps < self._most)
        return chosen[:, None]

    def drop(self) -> Tensor:
        """Go on with the rows that have not ended; return their places among the present rows."""
        rows = self.going.nonzero()[:, 0]
        self._row, self._most, self.going = self._row[rows], self._most[rows], self.going[rows]
        self._rules.keep(rows)
        return rows

    def said(self, silent: Sequence[float]) -> list[Said]:
        """Return the result of every row, in their first order."""
        texts = [row[: row.index(self._eot)] if self._eot in row else row for row in self._tokens.tolist()]
        return [Said(text, total / (len(text) + 1), s) for text, total, s in zip(texts, self._total.tolist(), silent, strict=True)]


def _merged(x: Tensor) -> Tensor:
    """(rows, heads, n, width) -> (rows, n, state)"""
    return x.transpose(1, 2).flatten(start_dim=2)


def _attention(query: Tensor, keys: Tensor) -> Tensor:
    """Attention before its softmax, (rows, heads, n, steps)."""
    scale = query.shape[-1] ** -0.25
    weights: Tensor = (query * scale) @ (keys * scale).transpose(-1, -2)
    return weights.float()


def _followed(weights: Tensor, first: int) -> NDArray[np.float64]:
    """Where in time each token was heard: openai-whisper's reading of raw attention (heads, tokens, steps) -> (tokens - first - 1, steps).

    Softmax over the content, standardised over the tokens, smoothed over time by a median, averaged over the heads.
    """
    shares = weights.softmax(-1)
    deviation, mean = torch.std_mean(shares, dim=-2, keepdim=True, unbiased=False)
    standard = ((shares - mean) / deviation)[:, first:-1]
    margin = _MEDIAN_WIDTH // 2
    if standard.shape[-1] > margin:
        standard = F.pad(standard, (margin, margin), mode="reflect").unfold(-1, _MEDIAN_WIDTH, 1).median(-1).values
    return standard.mean(0).double().cpu().numpy()
