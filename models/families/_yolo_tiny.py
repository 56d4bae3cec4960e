"""YOLOv3-tiny, as Darknet defines it (yolov3-tiny.cfg): 13 convolutions and two grids of anchors."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from candor.errors import UnsafeArtifact
from models.families._yolo_run import Raw

_EPSILON = 1e-6  # which Darknet adds to the square root of the variance
_SLOPE = 0.1
_COARSE = ((81, 82), (135, 169), (344, 319))  # anchors of the grid of 32 pixels, width x height
_FINE = ((10, 14), (23, 27), (37, 58))  # of the grid of 16 pixels
_CONVOLUTIONS = 13
_LINEAR = (9, 12)  # the convolutions that give the figures of the anchors


class YoloTiny(nn.Module):
    """uint8 images (n, 3, height, width) to `Raw` figures of every anchor; sides are multiples of 32."""

    def __init__(self, weights: Path, classes: int, dtype: torch.dtype) -> None:
        """Read `model.safetensors` as `models.builtin.yolov3_tiny` writes it.

        Raises:
            UnsafeArtifact: it is another network's.
        """
        super().__init__()
        self._dtype = dtype
        self._per_anchor = 5 + classes
        try:
            arrays = load_file(weights)
            self.conv = nn.ModuleList(_fused(arrays, i, i in _LINEAR) for i in range(_CONVOLUTIONS))
            for index, conv in enumerate(self.conv):
                conv.to(torch.float32 if index in _LINEAR else dtype)
            with torch.inference_mode():
                self.forward(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
        except (SafetensorError, OSError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UnsafeArtifact(f"{weights.name} does not hold the weights of a YOLOv3-tiny of {classes} classes: {reason}") from error

    def forward(self, images: Tensor) -> Raw:
        """Return `Raw`, in pixels of the images."""
        x = images.to(self._dtype) / 255
        for index in range(4):
            x = F.max_pool2d(self._leaky(index, x), 2)
        fine = self._leaky(4, x)
        x = self._leaky(5, F.max_pool2d(fine, 2))
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, stride=1)
        shared = self._leaky(7, self._leaky(6, x))
        coarse = self.conv[9](self._leaky(8, shared).float())
        x = F.interpolate(self._leaky(10, shared), scale_factor=2.0, mode="nearest")
        fine = self.conv[12](self._leaky(11, torch.cat([x, fine], 1)).float())
        grids = [self._decode(coarse, 32, _COARSE), self._decode(fine, 16, _FINE)]
        return Raw(*(torch.cat(parts, 1) for parts in zip(*grids, strict=True)))

    def _leaky(self, index: int, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv[index](x), _SLOPE, inplace=True)

    def _decode(self, grid: Tensor, stride: int, anchors: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor, Tensor]:
        rows, _, height, width = grid.shape
        figures = grid.view(rows, len(anchors), self._per_anchor, height, width).permute(0, 1, 3, 4, 2)
        y, x = torch.meshgrid(torch.arange(height, device=grid.device), torch.arange(width, device=grid.device), indexing="ij")
        center = (figures[..., 0:2].sigmoid() + torch.stack([x, y], -1)) * stride
        half = figures[..., 2:4].exp() * torch.tensor(anchors, device=grid.device).view(1, -1, 1, 1, 2) / 2
        boxes = torch.cat([center - half, center + half], -1)
        return boxes.reshape(rows, -1, 4), figures[..., 5:].reshape(rows, -1, self._per_anchor - 5), figures[..., 4].reshape(rows, -1)


def _fused(arrays: dict[str, Tensor], index: int, linear: bool) -> nn.Conv2d:
    """One convolution with its normalization folded in, in double precision."""
    weight = arrays[f"conv.{index}.weight"].double()
    if linear:
        bias = arrays[f"conv.{index}.bias"].double()
    else:
        scale = arrays[f"conv.{index}.gamma"].double() / (arrays[f"conv.{index}.var"].double().sqrt() + _EPSILON)
        bias = arrays[f"conv.{index}.beta"].double() - arrays[f"conv.{index}.mean"].double() * scale
        weight = weight * scale[:, None, None, None]
    filters, channels, side, _ = weight.shape
    conv = nn.Conv2d(channels, filters, side, padding=side // 2)
    conv.weight.data, conv.bias.data = weight.float(), bias.float()  # type: ignore[union-attr]
    return conv
