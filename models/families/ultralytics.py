"""Family `ultralytics`: detectors of the Ultralytics package, and the built-in YOLOv3-tiny.

An image is letterboxed here, always to the model's full size (`rect=False`), so that its boxes don't depend on what else is in its
batch. Each anchor proposes its best class; duplicates are suppressed within a class.

`manifest.input`:
    architecture: `yolov3-tiny` (Darknet's, needs no package) or `ultralytics` (described by the artifact's `model.json`).
    size: [width, height] of the network's input.
    layout: `letterbox`.
`manifest.output`:
    score_floor: boxes that score less are dropped.
    nms_iou: overlap above which the lower of two boxes of a class is dropped; null where the model does that itself.
    max_boxes: most boxes of one image.

The package `ultralytics` is AGPL-3.0 and optional: only models that are built from it need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from candor.errors import CandorError, ModelUnavailable, UnsafeArtifact
from candor.families import Adopted, Device, MediaLimits, PreparedItem
from candor.manifest import Manifest
from candor.predictions import Prediction, Task
from models.families._image_boxes import Head, detections
from models.families._image_letterbox import Letterbox
from models.families._image_model import ImageModel
from models.images import decode

WEIGHTS = "model.safetensors"


class Detector(ImageModel):
    """One torch detector in memory."""

    def __init__(self, manifest: Manifest, artifact: Path, device: Device) -> None:
        width, height = manifest.input["size"]
        super().__init__(_network(manifest, artifact, device), (int(width), int(height)), device)
        self._head = Head.of(manifest.output)

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        """Decode the image and letterbox it."""
        image = decode(data, limits.pixels)
        frame = Letterbox.fit((image.shape[1], image.shape[0]), self._size)
        return PreparedItem(units=iter([frame.apply(image, self._size)]), context=frame)

    def infer(self, units: Sequence[Any]) -> list[Any]:
        """Run one batch and choose the candidates of each image."""
        from models.families._yolo_run import Raw, choose  # noqa: PLC0415

        found: list[Any | CandorError] = [*choose(Raw(*self._running.run(units)), self._head.score_floor)]
        return found

    def finish(self, item: PreparedItem, results: Sequence[Any]) -> Prediction:
        """Suppress duplicates and go back to the image's own pixels."""
        return detections(results[0], item.context, self._head)


def _network(manifest: Manifest, artifact: Path, device: Device) -> Any:
    from models.families._device import torch_dtype  # noqa: PLC0415
    from models.families._yolo_tiny import YoloTiny  # noqa: PLC0415

    architecture = manifest.input.get("architecture")
    if architecture == "yolov3-tiny":
        return YoloTiny(artifact / WEIGHTS, len(manifest.labels), torch_dtype(device))
    if architecture == "ultralytics":
        _require()
        from models.families._yolo_net import DESCRIPTION, UltralyticsNet, read_description  # noqa: PLC0415

        return UltralyticsNet(read_description(artifact / DESCRIPTION), artifact / WEIGHTS, torch_dtype(device))
    raise UnsafeArtifact(f"the manifest of {manifest.name} names the architecture {architecture!r}, which this family does not know")


class UltralyticsFamily:
    """Family `ultralytics`."""

    name = "ultralytics"
    tasks: frozenset[Task] = frozenset({"detection"})

    def adopt(self, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        """Take in an official detector or a local checkpoint; `_yolo_source.take_in` describes the options."""
        _require()
        from models.families._yolo_source import take_in  # noqa: PLC0415

        return take_in(source, folder, options)

    def load(self, manifest: Manifest, artifact: Path, device: Device) -> Detector:
        """Load a version."""
        return Detector(manifest, artifact, device)


def _require() -> None:
    """Import the package, and take back what it does to others: it makes Pillow install packages where an image can't be read.

    Raises:
        ModelUnavailable: it is not installed.
    """
    try:
        from ultralytics.utils import checks, patches  # noqa: PLC0415 - seconds to import, and only some models need it
    except ImportError as error:
        raise ModelUnavailable(
            "the package ultralytics (AGPL-3.0) is not installed, which this model needs: pip install ultralytics-opencv-headless"
        ) from error
    checks.AUTOINSTALL = False
    Image.open = patches._image_open
