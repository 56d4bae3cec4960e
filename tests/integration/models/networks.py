"""The built-in networks as ONNX files, as people export them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class AsUltralytics(nn.Module):
    """A detector with the output of an Ultralytics export: center, size and class scores, [n, 4 + classes, anchors]."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        raw = self.network(images * 255)
        center = (raw.boxes[..., :2] + raw.boxes[..., 2:]) / 2
        scores = raw.classes.sigmoid() * raw.objectness.sigmoid()[..., None]
        return torch.cat([center, raw.boxes[..., 2:] - raw.boxes[..., :2], scores], -1).transpose(1, 2)


def _export(network: nn.Module, path: Path, side: int, batch: int | None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter without further packages is the old one, and says so
        torch.onnx.export(
            network.eval(),  # the exporter puts the mode that it found back
            (torch.zeros(batch or 2, 3, side, side),),
            path,
            input_names=["images"],
            output_names=["output"],
            dynamic_axes=None if batch else {"images": {0: "n"}, "output": {0: "n"}},
            dynamo=False,
        )
    return path


def exported_detector(model: Any, path: Path, batch: int | None) -> Path:
    """Write the built-in detector; `batch` None: of any batch size."""
    return _export(AsUltralytics(model._running._network), path, 416, batch)


def exported_classifier(model: Any, path: Path, *, softmax: bool) -> Path:
    """Write the built-in classifier, for normalized images."""
    network = model._running._network._network
    return _export(nn.Sequential(network, nn.Softmax(-1)) if softmax else network, path, 224, None)
