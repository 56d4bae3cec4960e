"""Building a network within what its file can fill: a description of a few bytes could ask for a network of terabytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from candor.errors import UnsafeArtifact

_SPARE = 1 << 26  # figures: buffers that no file has, and one pass through the network that finds its strides


class Budget(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, torch makes no more figures than a checkpoint has, and some."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held = sum(tensor.numel() for tensor in tensors)
        self._made = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Count what is made, before it is.

        Raises:
            UnsafeArtifact: it is far more than the file can fill.
        """
        if func is torch.ops.aten.empty.memory_format:
            self._made += math.prod(args[0])
            if self._made > 4 * self._held + _SPARE:
                raise UnsafeArtifact(
                    f"the network that is described has more than {self._made:,} weights and the file holds {self._held:,}: they do not "
                    "belong together"
                )
        return func(*args, **(kwargs or {}))
