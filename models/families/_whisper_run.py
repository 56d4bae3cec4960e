"""Transcribe batches of speech windows: passes of encode, decode and listen until every window is done."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from whisper.tokenizer import get_tokenizer

from candor.families import Device
from models.families._whisper_mel import FRAMES
from models.families._whisper_net import Encoded, Net
from models.families._whisper_rules import Vocabulary
from models.families._whisper_source import build
from models.families._whisper_window import Pass, SpeechWindow, Transcribed
from models.families._whisper_words import warping, words_of

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Runner:
    """A loaded model with its tokenizers."""

    def __init__(self, described: Mapping[str, Any], weights: Path, device: Device) -> None:
        where = torch.device(device.name)
        if where.type == "cuda" and device.memory_fraction is not None:
            torch.cuda.set_per_process_memory_fraction(device.memory_fraction, where)
        dtype = _DTYPES[device.dtype] if where.type == "cuda" else torch.float32  # a CPU gains nothing from half precision here
        model = build(described["dims"], weights, where, dtype)
        self._threads = device.threads if where.type == "cpu" else 1
        self._multilingual, self._languages = model.multilingual, model.languages
        self._language: str = described.get("language") or ""
        self._context: int = model.dims.n_text_ctx
        self._bytes: int = sum(tensor.nbytes for tensor in model.state_dict().values())
        self._tokenizer = cache(self._make_tokenizer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # openai-whisper leaves its vocabulary's file open, once
            self._vocabulary = Vocabulary.of(self._tokenizer("en"))
        heads = [(int(layer), int(head)) for layer, head in described["alignment_heads"]]
        self._net = Net(model, self._vocabulary, heads, dtype)
        self._mels: int = model.dims.n_mels

    def _make_tokenizer(self, language: str) -> Any:
        return get_tokenizer(self._multilingual, num_languages=self._languages, language=language, task="transcribe")

    def memory(self) -> int:
        """Bytes of weights."""
        return self._bytes

    def warmup(self) -> None:
        """Pay for compilation and caches: one pass over a second of nothing, and a time warp."""
        silence = SpeechWindow(np.zeros((self._mels, FRAMES), np.float32), 100, 0.0)
        self.transcribe([silence])
        tokenizer = self._tokenizer("en")
        text = tokenizer.encode(" Warm.")
        with torch.inference_mode():
            encoded = self._net.encode(silence.mel[None])
            heard = self._net.listen(encoded, [[*tokenizer.sot_sequence, tokenizer.no_timestamps]], [text], [50])
        words_of(text, heard[0].odds, heard[0].attention, tokenizer, heard[0].entropy)
        warping()

    def transcribe(self, units: Sequence[SpeechWindow]) -> list[Transcribed]:
        """Transcribe windows; each result is that of its window alone, up to float noise."""
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            encoded = self._net.encode(np.stack([unit.mel for unit in units]))
            languages = self._spoken(encoded, len(units))
            passes = [Pass(unit, self._tokenizer(language)) for unit, language in zip(units, languages, strict=True)]
            going = [one for one in passes if one.unfinished]
            if len(going) < len(passes):
                encoded = encoded.keep(torch.tensor([i for i, one in enumerate(passes) if one.unfinished], device=self._net.device))
            while going:
                self._pass(going, encoded)
                going = [one for one in going if one.unfinished]
                if going:
                    encoded = self._net.encode(np.stack([one.mel() for one in going]))
        return [Transcribed(tuple(one.segments), language) for one, language in zip(passes, languages, strict=True)]

    def _spoken(self, encoded: Encoded, rows: int) -> list[str]:
        """The language of each window: the given one, or the likeliest."""
        if self._language or not self._multilingual:
            return [self._language or "en"] * rows
        tokenizer = self._tokenizer("en")
        found = self._net.languages(encoded, tokenizer.sot, tokenizer.all_language_tokens)
        return [tokenizer.all_language_codes[place] for place in found]

    def _pass(self, going: Sequence[Pass], encoded: Encoded) -> None:
        """One pass over every window that has content left."""
        prompts = [one.prompt(self._vocabulary, self._context) for one in going]
        said = self._net.decode(encoded, prompts, -len(going[0].tokenizer.sot_sequence))
        texts = [one.take(result, self._vocabulary) for one, result in zip(going, said, strict=True)]
        spoken = [row for row, text in enumerate(texts) if text]
        heard = {}
        if spoken:
            begin = [[*going[row].tokenizer.sot_sequence, self._vocabulary.no_timestamps] for row in spoken]
            rows = torch.tensor(spoken, device=self._net.device)
            part = encoded if len(spoken) == len(going) else encoded.keep(rows)
            answers = self._net.listen(part, begin, [texts[row] for row in spoken], [going[row].steps for row in spoken])
            heard = dict(zip(spoken, answers, strict=True))
        for row, one in enumerate(going):
            reading = heard.get(row)
            one.hear(words_of(texts[row], reading.odds, reading.attention, one.tokenizer, reading.entropy) if reading else [])
