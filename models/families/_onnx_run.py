"""Runs an ONNX network over batches of images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from candor.errors import UnsafeArtifact
from candor.families import Device

_log = logging.getLogger(__name__)
_TYPES: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class Session:
    """A network with one image input and one output that counts, the first."""

    def __init__(self, path: Path, device: Device) -> None:
        """Read the file.

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
            raise UnsafeArtifact(f"{path.name} is no ONNX model that onnxruntime can run: {' '.join(str(error).split())[:300]}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise UnsafeArtifact(f"{path.name} does not take one batch of images (n, 3, height, width): its inputs are {found}")
        self._name, self._type, shape = inputs[0].name, _TYPES[inputs[0].type], inputs[0].shape
        self._last = shape[3] == 3  # channels last
        self._batch = shape[0] if isinstance(shape[0], int) else None
        height, width = shape[1:3] if self._last else shape[2:4]
        self.size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, images: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Run images (height, width, 3); return the first output, a row for each image.

        A network of a fixed batch size is run as often as that takes.
        """
        step = self._batch or len(images)
        rows = []
        for start in range(0, len(images), step):
            part = list(images[start : start + step])
            batch = np.stack([*part, *[part[-1]] * (step - len(part))]).astype(self._type)
            if not self._last:
                batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
            rows.append(self._session.run(None, {self._name: batch})[0][: len(part)])
        return np.concatenate(rows).astype(np.float32)


def _providers(device: Device) -> list[Any]:
    if device.name.startswith("cuda"):
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            return [("CUDAExecutionProvider", {"device_id": int(device.name.partition(":")[2] or 0)}), "CPUExecutionProvider"]
        _log.warning("this onnxruntime has no CUDA: the model runs on the CPU. Install onnxruntime-gpu in its place")
    return ["CPUExecutionProvider"]
