"""Runs a torch network over batches of images of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candor.errors import ModelUnavailable
from candor.families import Device
from models.families._device import bucket, torch_device, use_threads


class ImageRunner:
    """A network on its device. It takes uint8 RGB (n, 3, height, width) and returns a tuple of tensors whose rows are images."""

    def __init__(self, network: nn.Module, device: Device) -> None:
        self._where = torch_device(device)
        layout = torch.channels_last if device.channels_last else torch.contiguous_format
        network = network.eval().requires_grad_(False).to(self._where).to(memory_format=layout)
        self._bytes = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
        self._layout = layout
        self._threads = device.threads if self._where.type == "cpu" else 1
        self._most = device.max_batch
        self._buckets = device.compile and self._where.type == "cuda"
        # Each bucket is compiled once, at warm-up: a size seen for the first time must not wait for the compiler.
        self._network: Any = torch.compile(network, dynamic=False) if self._buckets else network

    def memory(self) -> int:
        """Bytes of weights."""
        return self._bytes

    def sizes(self) -> list[int]:
        """Batch sizes that are slow the first time."""
        return sorted({bucket(size, self._most) for size in range(1, self._most + 1)}) if self._buckets else [1]

    def warmup(self, size: tuple[int, int]) -> None:
        """Run every slow size once on images of `size` (width, height).

        Raises:
            ModelUnavailable: the network gives no finite figures in this arithmetic.
        """
        image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        for count in self.sizes():
            if not all(output.isfinite().all() for output in self.run([image] * count) if output is not None):
                raise ModelUnavailable("the model gives NaN or infinity in this arithmetic: set engine.dtype to float32")

    def run(self, images: Sequence[NDArray[np.uint8]]) -> tuple[Any, ...]:
        """Run one batch of images (height, width, 3); what the network leaves out as None stays None."""
        use_threads(self._threads)
        count = len(images)
        padded = [*images, *[images[-1]] * (bucket(count, self._most) - count)] if self._buckets else images
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(padded)).to(self._where).permute(0, 3, 1, 2).contiguous(memory_format=self._layout)
            outputs: tuple[Tensor | None, ...] = self._network(batch)
            return tuple(output if output is None else output[:count] for output in outputs)
