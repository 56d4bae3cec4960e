"""What the torch models of images share: the network's runner, from loading to letting go of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from candor.errors import ModelUnavailable
from candor.families import Device

if TYPE_CHECKING:
    from models.families._image_run import ImageRunner


class ImageModel:
    """A torch network for images of one size, in memory."""

    concurrent_infer = False

    def __init__(self, network: Any, size: tuple[int, int], device: Device) -> None:
        from models.families._image_run import ImageRunner  # noqa: PLC0415 - imports torch

        self._size = size  # width, height
        self._runner: ImageRunner | None = ImageRunner(network, device)

    def warmup(self) -> None:
        """Run the sizes of batches that are slow the first time."""
        self._running.warmup(self._size)

    def memory(self) -> int:
        """Bytes of weights."""
        return self._running.memory()

    def cost(self, unit: Any) -> float:
        """Every image has the same size by now."""
        return 1.0

    def close(self) -> None:
        """Let go of the weights."""
        from models.families._device import release  # noqa: PLC0415

        self._runner = None
        release()

    @property
    def _running(self) -> ImageRunner:
        if self._runner is None:
            raise ModelUnavailable("the model was closed")
        return self._runner
