"""Reads the EfficientNet-Lite0 checkpoint, and ImageNet's class names, for the built-in classification model."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from timm.data import ImageNetInfo

from candor.errors import UnsafeArtifact

_REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks per stage
_STEM_AND_HEAD = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # has no expansion
_LATER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# ImageNet's first words for two birds and machines, dogs and garments are the same, or the same but for a capital.
_DISTINCT = {134: "crane (bird)", 264: "Cardigan Welsh corgi", 517: "crane (machine)", 639: "tank suit"}


def rename(key: str) -> str:
    """Return timm's name of one of the checkpoint's tensors.

    Raises:
        UnsafeArtifact: there is no such tensor in an EfficientNet-Lite0.
    """
    module, _, rest = key.partition(".")
    if module in _STEM_AND_HEAD:
        return f"{_STEM_AND_HEAD[module]}.{rest}"
    if found := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
        places = [(stage, index) for stage, repeats in enumerate(_REPEATS) for index in range(repeats)]
        number, names = int(found[1]), {}
        if number < len(places):
            stage, index = places[number]
            names = _LATER_STAGES if stage else _FIRST_STAGE
        if found[2] in names:
            return f"blocks.{stage}.{index}.{names[found[2]]}.{found[3]}"
    raise UnsafeArtifact(f"the checkpoint's tensor {key!r} does not belong to an EfficientNet-Lite0")


def convert(checkpoint: Path, target: Path) -> None:
    """Write the checkpoint's tensors, unchanged, under timm's names.

    Raises:
        UnsafeArtifact: it holds more than tensors, or other tensors.
    """
    try:
        loaded: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UnsafeArtifact(f"{checkpoint.name} is not a checkpoint of plain tensors: {error}") from error
    save_file({rename(key): tensor.contiguous() for key, tensor in loaded.items()}, target)


def labels() -> tuple[str, ...]:
    """Return the 1,000 class names in index order: the first of each class's synonyms, made distinct where two classes share it."""
    descriptions = ImageNetInfo().label_descriptions()
    return tuple(_DISTINCT.get(index, text.split(",")[0].strip()) for index, text in enumerate(descriptions))
