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
from typing import TYPE_CHECKING, Any

from PIL import Image

from candor.errors import Internal, ModelUnavailable
from candor.families import Adopted, Device, MediaLimits, PreparedItem
from candor.manifest import Manifest
from candor.predictions import Classification, Prediction, Task
from models.images import decode

if TYPE_CHECKING:
    from models.families._image_run import ImageRunner

WEIGHTS = "model.safetensors"


class Classifier:
    """One timm classifier in memory."""

    concurrent_infer = False

    def __init__(self, manifest: Manifest, artifact: Path, device: Device) -> None:
        from models.families import _timm_net  # noqa: PLC0415 - imports torch and timm
        from models.families._device import torch_dtype  # noqa: PLC0415
        from models.families._image_run import ImageRunner  # noqa: PLC0415

        network = _timm_net.build(manifest.input, len(manifest.labels), artifact / WEIGHTS, torch_dtype(device))
        self._crop = _timm_net.crop(manifest.input)
        width, height = manifest.input["size"]
        self._size = (int(width), int(height))
        self._runner: ImageRunner | None = ImageRunner(network, device)

    def warmup(self) -> None:
        """Run the sizes of batches that are slow the first time."""
        self._running.warmup(self._size)

    def memory(self) -> int:
        """Bytes of weights."""
        return self._running.memory()

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        """Decode the image, resize and crop it."""
        image = decode(data, limits.pixels)
        return PreparedItem(units=iter([self._crop(Image.fromarray(image))]), context=(image.shape[1], image.shape[0]))

    def cost(self, unit: Any) -> float:
        """Every image has the same size by now."""
        return 1.0

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

    def close(self) -> None:
        """Let go of the weights."""
        self._runner = None

    @property
    def _running(self) -> ImageRunner:
        if self._runner is None:
            raise ModelUnavailable("the model was closed")
        return self._runner


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
