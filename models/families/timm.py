"""Family `timm`: image classifiers of the package timm.

An image is resized and cropped by timm's own evaluation transform, on the CPU; it is normalized on the device.

`manifest.input`:
    architecture: timm's name of the model, such as `resnet50` or `tf_efficientnet_lite0`.
    size: [width, height] of the crop.
    crop_pct, crop_mode, interpolation, mean, std: as in timm's `pretrained_cfg`.
    model_args: further arguments of `timm.create_model`, if any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from candor.errors import Internal, ModelUnavailable
from candor.families import Adopted, Device, MediaLimits, PreparedItem
from candor.manifest import Manifest
from candor.predictions import Classification, Prediction, Task
from models.families._image_model import ImageModel
from models.images import decode

WEIGHTS = "model.safetensors"


class Classifier(ImageModel):
    """One timm classifier in memory."""

    def __init__(self, manifest: Manifest, artifact: Path, device: Device) -> None:
        from models.families import _timm_net  # noqa: PLC0415 - imports torch and timm
        from models.families._device import torch_dtype  # noqa: PLC0415

        network = _timm_net.build(manifest.input, len(manifest.labels), artifact / WEIGHTS, torch_dtype(device))
        width, height = manifest.input["size"]
        super().__init__(network, (int(width), int(height)), device)
        self._crop = _timm_net.crop(manifest.input)

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        """Decode the image, resize and crop it."""
        image = decode(data, limits.pixels)
        return PreparedItem(units=iter([self._crop(Image.fromarray(image))]), context=(image.shape[1], image.shape[0]))

    def infer(self, units: Sequence[Any]) -> list[Any]:
        """Run one batch; the result of an image is its logits (k,) in double precision."""
        (logits,) = self._running.run(units)
        finite = logits.isfinite().all(1).tolist()
        rows = logits.double().cpu().numpy()
        return [
            row if fine else Internal("the model gave no finite figures for this image") for row, fine in zip(rows, finite, strict=True)
        ]

    def finish(self, item: PreparedItem, results: Sequence[Any]) -> Prediction:
        """Return the logits."""
        return Classification(item.context, results[0])


class TimmFamily:
    """Family `timm`."""

    name = "timm"
    tasks: frozenset[Task] = frozenset({"classification"})

    def adopt(self, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        """Take in an official model or a local checkpoint; `_timm_source.take_in` describes the options."""
        _require()
        from models.families._timm_source import take_in  # noqa: PLC0415

        return take_in(source, folder, options)

    def load(self, manifest: Manifest, artifact: Path, device: Device) -> Classifier:
        """Load a version."""
        _require()
        return Classifier(manifest, artifact, device)


def _require() -> None:
    try:
        import timm  # noqa: F401, PLC0415
    except ImportError as error:
        raise ModelUnavailable("the package timm is not installed: pip install timm") from error
