"""Real speech for the tests of transcription, and openai-whisper alone, to compare with."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from models.audio import Samples, open_audio
from models.catalog import Installed
from models.samples import samples
from serving.config import Settings, cache_home
from tests.shared_data import shared_data


@dataclass(frozen=True)
class Utterance:
    """One labelled recording."""

    name: str
    text: str
    seconds: float
    data: bytes


def clip() -> bytes:
    """11 s of speech that every machine can fetch."""
    return next(sample.path for sample in samples(cache_home(Settings())) if sample.kind == "audio").read_bytes()


def utterances(count: int, *, longest: float = 30.0) -> list[Utterance]:
    """Return labelled recordings spread over all speakers; the test is skipped where they are absent."""
    folder = shared_data("transcription")
    with (folder / "transcripts.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["seconds"]) <= longest]
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]
    return [Utterance(row["file"], row["text"], float(row["seconds"]), (folder / row["file"]).read_bytes()) for row in chosen]


def decoded(data: bytes) -> Samples:
    return np.concatenate(list(open_audio(data, 7200).blocks))


@cache
def reference(folder: Path) -> Any:
    """Whisper tiny.en as openai-whisper itself builds it, of the same weights."""
    import whisper.timing  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415

    from models.families._whisper_words import warping  # noqa: PLC0415

    dims = json.loads((folder / "manifest.json").read_text())["input"]["dims"]
    model = whisper.model.Whisper(whisper.model.ModelDimensions(**dims))
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True)
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS["tiny.en"])
    whisper.timing.dtw_cpu = warping()  # the same function; its own compilation takes 15 s more
    return model.eval()


def transcribed_alone(installed: Installed, data: bytes, **options: Any) -> dict[str, Any]:
    """What `whisper.transcribe` makes of a recording: greedy, temperature 0."""
    import whisper  # noqa: PLC0415

    model = reference(installed.folder)
    answer: dict[str, Any] = whisper.transcribe(model, decoded(data), temperature=0.0, language="en", fp16=False, verbose=None, **options)
    return answer
