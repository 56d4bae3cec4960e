"""timm's networks and transforms, built from a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import create_transform
from torch import Tensor, nn

from candor.errors import UnsafeArtifact


class Normalized(nn.Module):
    """A classifier with its normalization: uint8 images (n, 3, height, width) to one tensor of logits (n, k), single precision."""

    def __init__(self, network: nn.Module, mean: list[float], std: list[float], dtype: torch.dtype) -> None:
        super().__init__()
        self._network = network.to(dtype)
        self._dtype = dtype
        self._mean = nn.Buffer(torch.tensor(mean).view(1, 3, 1, 1))
        self._std = nn.Buffer(torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Return the logits; the same steps in the same precision as timm's ToTensor and Normalize."""
        x = images.float().div(255).sub(self._mean).div(self._std)
        return (self._network(x.to(self._dtype)).float(),)


def build(described: Mapping[str, Any], classes: int, weights: Path, dtype: torch.dtype) -> Normalized:
    """Build the network that a manifest's `input` describes and fill it, strictly, with weights from safetensors.

    Raises:
        UnsafeArtifact: timm has no such model, or the tensors are another model's.
    """
    name = described["architecture"]
    try:
        network = timm.create_model(name, pretrained=False, num_classes=classes, **described.get("model_args", {}))
        network.load_state_dict(load_file(weights), strict=True)
    except (SafetensorError, OSError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsafeArtifact(f"{weights.name} does not hold the weights of timm's {name} with {classes} classes: {reason}") from error
    return Normalized(network, list(described["mean"]), list(described["std"]), dtype)


def crop(described: Mapping[str, Any]) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """Return timm's own evaluation transform up to, and without, the conversion to a tensor: an image to (height, width, 3)."""
    width, height = described["size"]
    transform = create_transform(
        (3, int(height), int(width)),
        interpolation=described["interpolation"],
        crop_pct=described["crop_pct"],
        crop_mode=described.get("crop_mode"),
        mean=tuple(described["mean"]),
        use_prefetcher=True,
    )
    steps = transform.transforms[:-1]  # the last one makes a tensor

    def apply(image: Image.Image) -> NDArray[np.uint8]:
        for step in steps:
            image = step(image)
        return np.asarray(image)

    return apply
