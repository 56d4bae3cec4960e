"""Reads CTranslate2's binary model files (`model.bin`) into NumPy arrays, with no CTranslate2 installed.

The format, little-endian: u32 format version, string spec, u32 spec revision, u32 number of variables; per variable: string name,
u8 rank, u32 per dimension, u8 type (see `_TYPES`), u32 bytes, data; then u32 number of aliases, each a string and the string that it
stands for. A string is a u16 length, counting its closing NUL, and that many bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from candor.errors import UnsafeArtifact

FORMAT = 6
_TYPES: dict[int, np.dtype[Any]] = {code: np.dtype(name) for code, name in enumerate(("<f4", "i1", "<i2", "<i4", "<f2"))}
_MOST_DIMENSIONS = 8
_MOST_BYTES = 2**33  # more than any Whisper; a hostile header must not make us allocate without end


@dataclass(frozen=True)
class Ct2Model:
    """What a model file holds. `aliases` maps a name to the variable that it shares."""

    spec: str
    revision: int
    variables: dict[str, NDArray[Any]]
    aliases: dict[str, str]


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.left = size

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise UnsafeArtifact(f"the CTranslate2 file ends early: {count} bytes wanted where {self.left} are left")
        data = self._file.read(count)
        self.left -= count
        if len(data) != count:
            raise UnsafeArtifact("the CTranslate2 file ends early")
        return data

    def number(self, form: str) -> int:
        value: int = struct.unpack("<" + form, self.take(struct.calcsize(form)))[0]
        return value

    def string(self) -> str:
        data = self.take(self.number("H"))
        if not data.endswith(b"\0"):
            raise UnsafeArtifact("the CTranslate2 file has a string without its closing NUL")
        try:
            return data[:-1].decode()
        except UnicodeDecodeError as error:
            raise UnsafeArtifact("the CTranslate2 file has a name that is not UTF-8") from error


def read(file: BinaryIO, size: int) -> Ct2Model:
    """Read a model file of `size` bytes to its end.

    Raises:
        UnsafeArtifact: it is not such a file, is cut short, or goes on after its end.
    """
    reader = _Reader(file, min(size, _MOST_BYTES))
    if (version := reader.number("I")) != FORMAT:
        raise UnsafeArtifact(f"this is not a CTranslate2 file of format {FORMAT} (it says {version})")
    spec, revision = reader.string(), reader.number("I")
    variables = dict(_variables(reader))
    aliases = {reader.string(): reader.string() for _ in range(reader.number("I"))}
    if reader.left:
        raise UnsafeArtifact(f"the CTranslate2 file has {reader.left} bytes after its end")
    return Ct2Model(spec, revision, variables, aliases)


def _variables(reader: _Reader) -> Iterator[tuple[str, NDArray[Any]]]:
    for _ in range(reader.number("I")):
        name = reader.string()
        if (rank := reader.number("B")) > _MOST_DIMENSIONS:
            raise UnsafeArtifact(f"the CTranslate2 file's variable {name} has {rank} dimensions")
        shape = tuple(reader.number("I") for _ in range(rank))
        kind = _TYPES.get(code := reader.number("B"))
        if kind is None:
            raise UnsafeArtifact(f"the CTranslate2 file's variable {name} has the unknown type {code}")
        data = reader.take(reader.number("I"))
        if len(data) != math.prod(shape) * kind.itemsize:
            raise UnsafeArtifact(f"the CTranslate2 file's variable {name} has {len(data)} bytes for the shape {shape} of {kind}")
        yield name, np.frombuffer(data, kind).reshape(shape)
