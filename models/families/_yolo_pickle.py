"""Reads Ultralytics' `.pt` files without running anything of them.

Such a file is a pickle of a whole module. Tensors and plain values are read by torch's weights-only reader; every class of torch or
Ultralytics that the file names is replaced by an inert one that only keeps what it is given, and a file that names anything else is
refused before it is read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from candor.errors import UnsafeArtifact

# What checkpoints hold beside layers: settings, paths, training figures. All of it is replaced by inert values too.
_PREFIXES = ("torch.nn.modules.", "ultralytics.")
_PLAIN = frozenset(
    {"builtins.getattr", "builtins.set", "numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
    | {f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath", "PurePosixPath")}
)
_lock = threading.Lock()  # torch keeps one set of permitted names for the whole process
REMEDY = "Export it to ONNX where it was trained (`yolo export model=FILE format=onnx`) and use the family onnx"


class Inert:
    """Stands for an object of the file: `origin` names its class, `state` is what was kept of it."""

    origin = ""

    def __init__(self, *_args: Any, **_named: Any) -> None:
        self.state: Mapping[str, Any] = {}

    def __new__(cls, *_args: Any, **_named: Any) -> Inert:
        made = object.__new__(cls)
        made.state = {}
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, Mapping) else {}


def read(path: Path) -> Any:
    """Return the content of a checkpoint, with `Inert` objects in it.

    Raises:
        UnsafeArtifact: it names anything but layers of torch and Ultralytics, or is no such file.
    """
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, OSError, UnpicklingError, EOFError) as error:
        raise UnsafeArtifact(f"{path.name} is no checkpoint as torch.save writes it: {_line(error)}") from error
    if strange := sorted(name for name in named if not name.startswith(_PREFIXES) and name not in _PLAIN):
        raise UnsafeArtifact(f"{path.name} is refused: loading it would run {', '.join(strange[:5])}. {REMEDY}")
    stand_ins: list[Any] = [(type("Inert", (Inert,), {"origin": name}), name) for name in named]
    try:
        with _lock, torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, TypeError, ValueError, AttributeError, LookupError) as error:
        raise UnsafeArtifact(f"{path.name} is refused: it holds more than weights and settings ({_line(error)}). {REMEDY}") from error


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def tensors(module: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Give the parameters and persistent buffers of an inert module under the names of `state_dict`."""
    if not isinstance(module, Inert):
        return
    passing = module.state.get("_non_persistent_buffers_set") or ()
    for name, tensor in {**module.state.get("_parameters", {}), **module.state.get("_buffers", {})}.items():
        if isinstance(tensor, Tensor) and name not in passing:
            yield prefix + name, tensor.detach()
    for name, inner in module.state.get("_modules", {}).items():
        yield from tensors(inner, f"{prefix}{name}.")
