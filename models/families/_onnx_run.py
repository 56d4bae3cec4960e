"""Runs an ONNX network over batches of images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from candor.errors import UnsafeArtifact
from candor.families import Device

_log = logging.getLogger(__name__)
_TYPES: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_CHANNELS = 3


class Session:
    """A network with one image input and any number of outputs."""

    def __init__(self, path: Path, device: Device, batch: int | None = None) -> None:
        """Read the file.

        Args:
            path: the .onnx file.
            device: where it runs.
            batch: the one size of batches that the network runs, where the file does not say so itself.

        Raises:
            UnsafeArtifact: onnxruntime can't run it, or it is no network of images.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = device.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that wait by spinning would take the cores from those that decode the next images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            # From memory: a file could name further files beside it.
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=_providers(device))
        except Exception as error:  # onnxruntime's exceptions share no other base
            raise UnsafeArtifact(f"{path.name} is no ONNX model that onnxruntime can run: {_line(error)}") from error
        self._session._model_bytes = None  # which it would keep for providers that fail, and use on a CPU for nothing
        inputs = self._session.get_inputs()
        shape = _image_shape(path.name, inputs)
        self._name, self._type = inputs[0].name, _TYPES[inputs[0].type]
        self._last = shape[3] == _CHANNELS and shape[1] != _CHANNELS  # channels last
        self.batch = batch or (shape[0] if isinstance(shape[0], int) else None)
        height, width = shape[1:3] if self._last else shape[2:4]
        self.size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        self.outputs: Mapping[str, list[Any]] = {one.name: list(one.shape or ()) for one in self._session.get_outputs()}
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    @property
    def whole_pixels(self) -> bool:
        """Whether the network takes pixels as they are, 0 to 255 in whole numbers, and scales them itself."""
        return bool(self._type is np.uint8)

    def run(self, images: Sequence[NDArray[np.float32]], names: Sequence[str] | None = None) -> list[NDArray[np.float32]]:
        """Run images (height, width, 3); return the outputs of those names, or the first, each with a row for each image.

        A network of a fixed batch size is run as often as that takes.
        """
        wanted = list(names or [next(iter(self.outputs))])
        step = self.batch or len(images)
        parts = []
        for start in range(0, len(images), step):
            part = list(images[start : start + step])
            batch = self._cast(np.stack([*part, *[part[-1]] * (step - len(part))]))
            if not self._last:
                batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
            parts.append([output[: len(part)] for output in self._session.run(wanted, {self._name: batch})])
        return [np.concatenate(rows).astype(np.float32) for rows in zip(*parts, strict=True)]

    def _cast(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        if self.whole_pixels:
            return np.clip(np.rint(batch), 0, 255).astype(np.uint8)
        return np.asarray(batch.astype(self._type))


def _image_shape(name: str, inputs: Sequence[Any]) -> list[Any]:
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    colours = [side for side in (shape[1], shape[3]) if not isinstance(side, int) or side == _CHANNELS] if len(shape) == 4 else []
    if not colours or inputs[0].type not in _TYPES:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs) or "none"
        more = ". Export the network without its own pre- and post-processing" if len(inputs) > 1 else ""
        raise UnsafeArtifact(f"{name} does not take one batch of images (n, 3, height, width): its inputs are {found}{more}")
    return shape


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _providers(device: Device) -> list[Any]:
    if device.name.startswith("cuda"):
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            return [("CUDAExecutionProvider", {"device_id": int(device.name.partition(":")[2] or 0)}), "CPUExecutionProvider"]
        _log.warning("this onnxruntime has no CUDA: the model runs on the CPU. Install onnxruntime-gpu in its place")
    return ["CPUExecutionProvider"]
