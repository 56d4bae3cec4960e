"""Detectors built by the package ultralytics from a description that is nothing but data."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.nn.modules.head import Detect, v10Detect

from candor.errors import UnsafeArtifact
from models.families._budget import Budget
from models.families._yolo_run import Raw

DESCRIPTION = "model.json"
_HEADS = ("Detect", "v10Detect")
_ACTIVATION = re.compile(r"(?:torch\.)?nn\.([A-Z]\w*)\([\w.=, -]*\)")


class UltralyticsNet(nn.Module):
    """A detector with Ultralytics' head: uint8 images (n, 3, height, width) to `Raw` figures of every anchor."""

    def __init__(self, description: Mapping[str, Any], weights: Path, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        model = build(description, weights).eval().fuse(verbose=False)
        self._body, self._head = model.model[:-1], model.model[-1]
        self._save = frozenset(model.save)
        # Half precision can't tell pixels apart beyond 512: the head, which gives boxes and logits, stays in single precision.
        self._body.to(dtype)
        self._head.stride = model.stride

    def forward(self, images: Tensor) -> Raw:
        """Return `Raw`, in pixels of the images."""
        x: Any = images.to(self._dtype) / 255
        kept: list[Any] = []
        for layer in self._body:
            x = layer(self._inputs(layer, x, kept))
            kept.append(x if layer.i in self._save else None)
        features = self._inputs(self._head, x, kept)
        decoded, raw = self._head([feature.float() for feature in features])
        center, sides = decoded[:, :4].transpose(1, 2).split(2, -1)
        return Raw(torch.cat([center - sides / 2, center + sides / 2], -1), raw.get("one2many", raw)["scores"].transpose(1, 2))

    @staticmethod
    def _inputs(layer: Any, x: Any, kept: list[Any]) -> Any:
        if layer.f == -1:
            return x
        return kept[layer.f] if isinstance(layer.f, int) else [x if place == -1 else kept[place] for place in layer.f]


def build(description: Mapping[str, Any], weights: Path) -> Any:
    """Build a detector and fill it, strictly, in single precision.

    Args:
        description: Ultralytics' own, as in its YAML files: `backbone`, `head`, `nc`, `scale`, …

    Raises:
        UnsafeArtifact: it names what is no layer, or the weights are another model's.
    """
    check(description)
    try:
        state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load_file(weights).items()}
        with Budget(state.values()):
            model = tasks.DetectionModel(copy.deepcopy(dict(description)), verbose=False)
        model.load_state_dict(state, strict=True)
    except (SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsafeArtifact(f"{weights.name} and {DESCRIPTION} do not make a detector of this version of ultralytics: {reason}") from error
    return model


def check(description: Mapping[str, Any]) -> None:
    """Refuse a description that is not a detector made of known layers: building it would call what it names.

    Raises:
        UnsafeArtifact: so it is.
    """
    layers = [*(description.get("backbone") or ()), *(description.get("head") or ())]
    names = [layer[2] for layer in layers if isinstance(layer, list) and len(layer) == 4 and isinstance(layer[2], str)]
    if not names or len(names) != len(layers):
        raise UnsafeArtifact("the description of the model has no list of layers")
    for name in names:
        if not _is_layer(name):
            raise UnsafeArtifact(f"the description of the model names {name!r}, which is no layer that is built here")
    if names[-1] not in _HEADS:
        raise UnsafeArtifact(f"the model ends in {names[-1]}: only detectors ({', '.join(_HEADS)}) can be run")
    activation = description.get("activation")
    found = _ACTIVATION.fullmatch(activation) if isinstance(activation, str) else None
    if activation and not (found and _is_layer(f"nn.{found[1]}")):
        raise UnsafeArtifact(f"the description of the model has the activation {activation!r}, which is no layer of torch")


def _is_layer(name: str) -> bool:
    if name == "TorchVision":  # fetches a model
        return False
    owner, _, last = name.rpartition(".")
    if owner not in ("", "nn"):
        return False
    found = getattr(nn if owner else tasks, last, None)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        return False
    return found.__module__.startswith(("torch.nn.modules.", "ultralytics.nn.modules."))


def read_description(path: Path) -> Mapping[str, Any]:
    """Read `model.json`.

    Raises:
        UnsafeArtifact: it is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnsafeArtifact(f"{path.name} can't be read: {error}") from error
    if not isinstance(value, Mapping):
        raise UnsafeArtifact(f"{path.name} is no description of a model")
    return value


def is_detector(head: str) -> bool:
    """Whether a class of Ultralytics, by its name, is a head of detectors."""
    return head.rpartition(".")[2] in (Detect.__name__, v10Detect.__name__)
