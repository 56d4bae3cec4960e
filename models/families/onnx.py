"""Family `onnx`: detectors and classifiers as ONNX files, run by onnxruntime.

`manifest.input`:
    size: [width, height] of the network's input.
    layout: `letterbox` (in the middle), `letterbox-corner` (upper left) or `stretch` for detectors, `crop` for classifiers.
    channels: `rgb` or `bgr`.
    scale, mean, std: the network sees (pixel / scale - mean) / std; mean and std may be left out.
    crop_pct, crop_mode, interpolation: of `crop`, as in timm.
    batch: the one size of batches that the network runs, where its input claims any.
`manifest.output`:
    head: `ultralytics`, `ultralytics-transposed`, `ultralytics-end2end`, `yolox`, `yolov5` or `detr`; `logits` or `probabilities`.
    outputs: names of the outputs that the head takes, in its order; the first where left out.
    activation: what makes class figures probabilities, `none` (the file has done it), `sigmoid`, or for `detr` also `softmax`.
    normalised: whether boxes are in shares of the input's sides.
    scores: `logits` where log-odds are exact, `probabilities` where they are made from a sigmoid or softmax in the file: such figures
        are rounded to single precision, which bounds their log-odds.
    score_floor, nms_iou, max_boxes: detection, as in the family `ultralytics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candor.errors import Internal, ModelUnavailable, UnsafeArtifact, WrongTask
from candor.families import Adopted, Device, MediaLimits, PreparedItem
from candor.manifest import Manifest
from candor.predictions import Classification, Floats, Prediction, Task
from models.families._image_boxes import Candidates, Head, detections
from models.families._image_crop import crop
from models.families._image_letterbox import Letterbox
from models.families._malloc import in_use
from models.families._onnx_heads import CLASSIFIERS, DETECTORS
from models.images import decode

if TYPE_CHECKING:
    from models.families._onnx_run import Session

WEIGHTS = "model.onnx"
_TINIEST = 1e-38


class _OnnxModel:
    """What both tasks share: the session, and pixels on their way into it."""

    concurrent_infer = False

    def __init__(self, manifest: Manifest, artifact: Path, device: Device) -> None:
        from models.families._onnx_run import Session  # noqa: PLC0415 - imports onnxruntime

        described = manifest.input
        width, height = described["size"]
        self._size = (int(width), int(height))
        self._described = described
        self._head: str = manifest.output["head"]
        self._flip = described.get("channels", "rgb") == "bgr"
        self._scale = np.float32(described.get("scale", 255.0))
        self._mean = np.array(described.get("mean", [0, 0, 0]), np.float32)
        self._std = np.array(described.get("std", [1, 1, 1]), np.float32)
        before = in_use()
        self._outputs: list[str] | None = manifest.output.get("outputs")
        self._session: Session | None = Session(artifact / WEIGHTS, device, described.get("batch"))
        self._weights = max((artifact / WEIGHTS).stat().st_size, in_use() - before)
        self._working, self._largest = 0, 1  # bytes of working memory for one image; most images at once so far
        if missing := set(self._outputs or ()) - set(self._session.outputs):
            raise UnsafeArtifact(f"{WEIGHTS} has no output {', '.join(sorted(missing))}, which its manifest names")

    def warmup(self) -> None:
        """Run one gray image, and see what onnxruntime keeps for it."""
        before = in_use()
        self._rows([np.full((self._size[1], self._size[0], 3), 114, np.uint8)])
        self._working = max(self._working, in_use() - before)

    def memory(self) -> int:
        """Bytes of weights, and of working memory for as many images as came at once: onnxruntime keeps that between calls."""
        return self._weights + self._working * self._largest

    def cost(self, unit: Any) -> float:
        """Every image has the same size by now."""
        return 1.0

    def close(self) -> None:
        """Let go of the session."""
        self._session = None

    def _rows(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[NDArray[np.float32], ...]]:
        """Return for each image its outputs."""
        if self._session is None:
            raise ModelUnavailable("the model was closed")
        self._largest = max(self._largest, min(len(images), self._session.batch or len(images)))
        return list(zip(*self._session.run([self._scaled(image) for image in images], self._outputs), strict=True))

    def _scaled(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = image[..., ::-1] if self._flip else image
        return np.asarray((pixels.astype(np.float32) / self._scale - self._mean) / self._std)


class OnnxDetector(_OnnxModel):
    """A detector."""

    def __init__(self, manifest: Manifest, artifact: Path, device: Device) -> None:
        super().__init__(manifest, artifact, device)
        self._decode = DETECTORS[self._head]
        self._activation = manifest.output.get("activation", "none")
        self._unit = np.array([*self._size] * 2, np.float64) if manifest.output.get("normalised") else None
        self._classes = len(manifest.labels)
        self._post = Head.of(manifest.output)
        self._layout = self._described.get("layout", "letterbox")
        self._reconstructed = manifest.output.get("scores", "probabilities") == "probabilities"

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        """Decode the image and letterbox or stretch it."""
        image = decode(data, limits.pixels)
        size = image.shape[1], image.shape[0]
        if self._layout == "stretch":
            frame = Letterbox.stretch(size, self._size)
        else:
            frame = Letterbox.fit(size, self._size, center=self._layout == "letterbox")
        return PreparedItem(units=iter([frame.apply(image, self._size)]), context=frame)

    def infer(self, units: Sequence[Any]) -> list[Any]:
        """Run one batch and choose the candidates of each image."""
        return [self._candidates(rows) if _finite(rows) else _not_finite() for rows in self._rows(units)]

    def _candidates(self, rows: tuple[NDArray[np.float32], ...]) -> Candidates | Internal:
        found = self._decode(*rows, self._size, self._post.score_floor, self._activation)
        if len(found.class_index) and not 0 <= found.class_index.min() <= found.class_index.max() < self._classes:
            return Internal(
                f"the model names a class beyond its {self._classes} labels: its labels or its head are not what its manifest says"
            )
        return found if self._unit is None else replace(found, xyxy=found.xyxy * self._unit)

    def finish(self, item: PreparedItem, results: Sequence[Any]) -> Prediction:
        """Suppress duplicates and go back to the image's own pixels."""
        return replace(detections(results[0], item.context, self._post), reconstructed=self._reconstructed)


class OnnxClassifier(_OnnxModel):
    """A classifier."""

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        """Decode the image, resize and crop it."""
        image = decode(data, limits.pixels)
        how = self._described
        pixels = crop(image, self._size, how.get("crop_pct", 0.875), how.get("crop_mode", "center"), how.get("interpolation", "bicubic"))
        return PreparedItem(units=iter([pixels]), context=(image.shape[1], image.shape[0]))

    def infer(self, units: Sequence[Any]) -> list[Any]:
        """Run one batch; the result of an image is its logits (k,) in double precision."""
        return [self._logits(rows[0]) if _finite(rows) else _not_finite() for rows in self._rows(units)]

    def _logits(self, row: NDArray[np.float32]) -> Floats:
        figures = row.reshape(-1).astype(np.float64)
        return np.asarray(np.log(np.maximum(figures, _TINIEST))) if self._head == "probabilities" else figures

    def finish(self, item: PreparedItem, results: Sequence[Any]) -> Prediction:
        """Return the logits."""
        return Classification(item.context, results[0], reconstructed=self._head == "probabilities")


def _finite(rows: tuple[NDArray[np.float32], ...]) -> bool:
    return all(np.isfinite(row).all() for row in rows)


def _not_finite() -> Internal:
    return Internal("the model gave no finite figures for this image")


class OnnxFamily:
    """Family `onnx`."""

    name = "onnx"
    tasks: frozenset[Task] = frozenset({"detection", "classification"})

    def adopt(self, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        """Take in a local file; `_onnx_source.take_in` describes the options."""
        _require("onnx", "onnxruntime")
        from models.families._onnx_source import take_in  # noqa: PLC0415

        return take_in(source, folder, options)

    def load(self, manifest: Manifest, artifact: Path, device: Device) -> OnnxDetector | OnnxClassifier:
        """Load a version."""
        _require("onnxruntime")
        head = manifest.output.get("head")
        if head not in DETECTORS and head not in CLASSIFIERS:
            raise UnsafeArtifact(f"the manifest of {manifest.name} names the head {head!r}, which this family does not know")
        if (manifest.task == "detection") != (head in DETECTORS):
            raise WrongTask(f"{manifest.name} is configured for {manifest.task}, but its output is that of the head {head}")
        return (OnnxDetector if head in DETECTORS else OnnxClassifier)(manifest, artifact, device)


def _require(*packages: str) -> None:
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise ModelUnavailable(f"the package {package} is not installed: pip install {package}") from error
