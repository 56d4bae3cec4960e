"""Whisper checkpoints that people have, read without running anything of them, and written down as safetensors."""

from __future__ import annotations

import base64
import gzip
import re
import struct
import tempfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeAlias

import numpy as np
import torch
import whisper
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from whisper.model import AudioEncoder, ModelDimensions, TextDecoder
from whisper.tokenizer import LANGUAGES

from candor.errors import InvalidRequest, ModelUnavailable, UnsafeArtifact

WEIGHTS = "model.safetensors"
_HEAD_WIDTH = 64  # of every size of Whisper
_MULTILINGUAL = 51_865  # tokens; the English-only models have one fewer
_VOCABULARIES = (51_864, _MULTILINGUAL, 51_866)
_MELS = (80, 128)
_AUDIO_CONTEXT = 1500  # steps of 0.02 s


class Network(torch.nn.Module):
    """openai-whisper's encoder and decoder, under the names of its checkpoints, without the rest of its `Whisper` class."""

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.dims = dims
        self.encoder = AudioEncoder(dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer)
        self.decoder = TextDecoder(dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)

    @property
    def multilingual(self) -> bool:
        """Whether it knows languages other than English."""
        return bool(self.dims.n_vocab >= _MULTILINGUAL)

    @property
    def languages(self) -> int:
        """How many languages its vocabulary has."""
        return int(self.dims.n_vocab - _MULTILINGUAL + 100 - self.multilingual)


State: TypeAlias = dict[str, Tensor]


def take_in(source: str, folder: Path, options: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Write a checkpoint's weights into `folder`; return `manifest.input` and the licence.

    `source` is an official size (`base.en`, `large-v3`, `turbo`, …) or the path of an openai-whisper checkpoint, `.pt` or
    `.safetensors`. Options:

    - `language`: the code of the language that is spoken. Left out, a multilingual model detects it.
    - `size`: the official size that a local file descends from; its attention heads then give the times of words.
    - `alignment_heads`: those heads themselves, as [layer, head] pairs.
    - `dims`: the dimensions, for a `.safetensors` whose heads are not 64 wide.
    """
    language = options.get("language")
    if language is not None and language not in LANGUAGES:
        raise InvalidRequest(f"options.language {language!r} is no language code that Whisper knows (en, de, zh, …)")
    official = source in whisper.available_models()
    if official:
        with tempfile.TemporaryDirectory() as temporary:
            state, dims = _checkpoint(_download(source, temporary))  # in memory before its file goes
    else:
        state, dims = _local(Path(source).expanduser(), options)
    dims = _agreed(state, {**dims, **options.get("dims", {})})
    heads = _alignment_heads(options, source if official else None, dims)
    if dims["n_vocab"] < _MULTILINGUAL:
        if language not in (None, "en"):
            raise InvalidRequest(f"options.language {language!r} does not fit: this model knows English alone")
        language = "en"
    try:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
    except RuntimeError as error:  # tensors that share memory
        raise UnsafeArtifact(f"{Path(source).name} can't be written as safetensors: {error}") from error
    build(dims, folder / WEIGHTS, torch.device("cpu"), torch.float32)
    return {"dims": dims, "alignment_heads": heads, "language": language}, "MIT" if official else "unknown"


def build(dims: Mapping[str, int], weights: Path, device: torch.device, dtype: torch.dtype) -> Network:
    """Build the network and fill it, strictly, with weights from safetensors.

    Raises:
        UnsafeArtifact: the file is no safetensors, or its tensors are not those of a Whisper model of these dimensions.
    """
    try:
        with torch.device("meta"):
            network = Network(ModelDimensions(**dims))
        state = {name: tensor.to(_dtype(name, dtype), copy=True) for name, tensor in load_file(weights, device=str(device)).items()}
        network.load_state_dict(state, strict=True, assign=True)
    except (SafetensorError, OSError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnsafeArtifact(
            f"{weights.name} does not hold the weights of an openai-whisper model of these dimensions: {reason}"
        ) from error
    return network.eval().requires_grad_(False)


def _dtype(name: str, dtype: torch.dtype) -> torch.dtype:
    """Norms and positions stay in single precision, as openai-whisper computes them."""
    return torch.float32 if re.search(r"(_ln|\.ln|ln_post)\.|positional_embedding", name) else dtype


def _download(name: str, folder: str) -> Path:
    """Fetch an official checkpoint with openai-whisper's own code, which checks its SHA-256."""
    try:
        return Path(whisper._download(whisper._MODELS[name], folder, in_memory=False))
    except (OSError, HTTPException, RuntimeError) as error:
        raise ModelUnavailable(
            f"the checkpoint {name!r} can't be fetched from OpenAI's servers ({error}): where they can't be reached, copy the file "
            f"{name}.pt to this machine and name it as source `file:PATH`, with the option `size: {name}`"
        ) from error


def _local(path: Path, options: Mapping[str, Any]) -> tuple[State, dict[str, int]]:
    if not path.is_file():
        raise ModelUnavailable(
            f"{str(path)!r} is neither a file nor an official size ({', '.join(whisper.available_models())}): correct the source"
        )
    if path.suffix != ".safetensors":
        return _checkpoint(path)
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UnsafeArtifact(f"{path.name} is no safetensors file: {error}") from error
    return state, _dimensions(state)


def _checkpoint(path: Path) -> tuple[State, dict[str, int]]:
    """Read a `.pt`; only tensors and plain values are let in."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return dict(content["model_state_dict"]), {name: int(value) for name, value in content["dims"].items()}
    except UnpicklingError as error:
        raise UnsafeArtifact(f"{path.name} is refused: it is no checkpoint of plain weights, and loading it could run code") from error
    except (RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, AssertionError, struct.error) as error:
        raise UnsafeArtifact(f"{path.name} is no openai-whisper checkpoint: it needs `dims` and `model_state_dict`") from error


def _agreed(state: State, said: Mapping[str, Any]) -> dict[str, int]:
    """Return the dimensions that the weights have, with the numbers of heads that are said: no shape shows those.

    Raises:
        UnsafeArtifact: these are not weights of a Whisper model, or are others than is said.
    """
    if not all(isinstance(name, str) and _is_plain(value) for name, value in state.items()):
        raise UnsafeArtifact("the checkpoint holds values that are no plain floating-point tensors")
    dims = _dimensions(state)
    heads = {name: said.get(name) for name in ("n_audio_head", "n_text_head")}
    if said.keys() != dims.keys() or {**dims, **heads} != said:
        raise UnsafeArtifact(f"the weights have the dimensions {dims}, and these are said: {dict(said)}")
    for side, count in (("audio", said["n_audio_head"]), ("text", said["n_text_head"])):
        if not isinstance(count, int) or not 0 < count <= dims[f"n_{side}_state"] or dims[f"n_{side}_state"] % count:
            raise UnsafeArtifact(f"n_{side}_head {count!r} does not divide n_{side}_state {dims[f'n_{side}_state']}")
    if dims["n_mels"] not in _MELS or dims["n_vocab"] not in _VOCABULARIES or dims["n_audio_ctx"] != _AUDIO_CONTEXT:
        raise UnsafeArtifact(f"no Whisper has these dimensions: {dims}")
    return dict(said)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.layout == torch.strided


def _dimensions(state: State) -> dict[str, int]:
    """Read the dimensions off the shapes of the weights; heads are taken to be 64 wide."""

    def layers(part: str) -> int:
        return len({key.split(".")[2] for key in state if key.startswith(f"{part}.blocks.")})

    try:
        mels = state["encoder.conv1.weight"].shape[1]
        audio_ctx, audio_state = state["encoder.positional_embedding"].shape
        text_ctx, text_state = state["decoder.positional_embedding"].shape
        vocabulary = state["decoder.token_embedding.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise UnsafeArtifact(
            f"the checkpoint has not the tensor names of openai-whisper (no {error}); a Hugging Face checkpoint must be converted first"
        ) from error
    return {
        **{"n_mels": mels, "n_audio_ctx": audio_ctx, "n_audio_state": audio_state, "n_audio_head": audio_state // _HEAD_WIDTH},
        **{"n_audio_layer": layers("encoder"), "n_vocab": vocabulary, "n_text_ctx": text_ctx, "n_text_state": text_state},
        **{"n_text_head": text_state // _HEAD_WIDTH, "n_text_layer": layers("decoder")},
    }


def _alignment_heads(options: Mapping[str, Any], official: str | None, dims: Mapping[str, int]) -> list[list[int]]:
    """The (layer, head) pairs that follow the words: as given, of the official size, or all of the later half of the layers."""
    layers, heads = dims["n_text_layer"], dims["n_text_head"]
    if (given := options.get("alignment_heads")) is not None:
        pairs = [[int(layer), int(head)] for layer, head in given]
    elif size := official or options.get("size"):
        if size not in whisper._ALIGNMENT_HEADS:
            raise InvalidRequest(f"options.size {size!r} is no official size ({', '.join(whisper.available_models())})")
        marks = np.frombuffer(gzip.decompress(base64.b85decode(whisper._ALIGNMENT_HEADS[size])), dtype=bool)
        if marks.size != layers * heads:
            raise InvalidRequest(f"options.size {size!r} does not fit: the file has {layers} layers of {heads} heads")
        pairs = [[int(layer), int(head)] for layer, head in np.argwhere(marks.reshape(layers, heads))]
    else:
        pairs = [[layer, head] for layer in range(layers // 2, layers) for head in range(heads)]
    if not pairs or not all(0 <= layer < layers and 0 <= head < heads for layer, head in pairs):
        raise InvalidRequest(f"options.alignment_heads names heads outside the model's {layers} layers of {heads}")
    return pairs
