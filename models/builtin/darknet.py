"""Reads Darknet's `.weights` files, which hold nothing but numbers: their order comes from the network's description.

Format, little-endian: i32 major, minor and revision, u64 images seen (20 bytes in all from version 0.2 on); then for each convolution
with batch norm f32 beta, gamma, mean, variance (one per filter each), else f32 bias; then its f32 weights (filters, channels, size,
size).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candor.errors import UnsafeArtifact

_HEADER = struct.Struct("<iiiQ")


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution of a Darknet network."""

    filters: int
    channels: int
    size: int
    batch_norm: bool = True


def read(data: bytes, convolutions: Sequence[Convolution]) -> dict[str, NDArray[Any]]:
    """Return `conv.<i>.weight` (filters, channels, size, size) and its `beta`, `gamma`, `mean`, `var`, or `bias`, each (filters,).

    Raises:
        UnsafeArtifact: the file is of an older format, or does not hold exactly these convolutions.
    """
    expected = _HEADER.size + 4 * sum(c.filters * ((4 if c.batch_norm else 1) + c.channels * c.size * c.size) for c in convolutions)
    if len(data) != expected:
        raise UnsafeArtifact(f"the Darknet file has {len(data):,} bytes where this network needs {expected:,}")
    major, minor, _, _ = _HEADER.unpack_from(data)
    if major * 10 + minor < 2:
        raise UnsafeArtifact(f"the Darknet file is of version {major}.{minor}; 0.2 or later is read")
    values, offset = np.frombuffer(data, "<f4", offset=_HEADER.size), 0
    arrays: dict[str, NDArray[Any]] = {}
    for index, conv in enumerate(convolutions):
        parts = ("beta", "gamma", "mean", "var") if conv.batch_norm else ("bias",)
        shapes: dict[str, tuple[int, ...]] = {part: (conv.filters,) for part in parts}
        shapes["weight"] = (conv.filters, conv.channels, conv.size, conv.size)
        for part, shape in shapes.items():
            count = math.prod(shape)
            arrays[f"conv.{index}.{part}"] = values[offset : offset + count].reshape(shape)
            offset += count
    return arrays
