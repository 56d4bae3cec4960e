"""Where torch runs, and with what: devices, arithmetic, threads and sizes of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from candor.errors import ModelUnavailable
from candor.families import Device

if TYPE_CHECKING:
    import torch


def best_device() -> str:
    """Return `cuda:0` where torch sees a GPU, else `cpu`."""
    import torch  # noqa: PLC0415 - seconds to import; only a process that loads models asks

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def torch_device(device: Device) -> torch.device:
    """Return torch's device, and give its allocator the configured share of the GPU's memory.

    Raises:
        ModelUnavailable: a GPU is configured and there is none.
    """
    import torch  # noqa: PLC0415

    where = torch.device(device.name)
    if where.type == "cuda":
        if not torch.cuda.is_available():
            raise ModelUnavailable(f"device {device.name} is configured, but torch sees no GPU here: use `cpu` or `auto`")
        if device.memory_fraction is not None:
            torch.cuda.set_per_process_memory_fraction(device.memory_fraction, where)
    return where


def torch_dtype(device: Device) -> torch.dtype:
    """Return the arithmetic of the models: a CPU gains nothing from half precision here."""
    import torch  # noqa: PLC0415

    names = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    return names[device.dtype] if device.name.startswith("cuda") else torch.float32


def use_threads(threads: int) -> None:
    """Make this thread's torch calls use so many CPU threads; packages that are imported change it behind our back."""
    import torch  # noqa: PLC0415

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def release() -> None:
    """Give the memory of a GPU that no tensor holds any longer back to it: torch would keep it for itself."""
    import torch  # noqa: PLC0415

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def bucket(size: int, most: int) -> int:
    """Return the batch size that `size` images are padded to where each size is compiled: a power of two, or `most`.

    `size` above `most` is its own bucket.
    """
    return max(size, min(most, 1 << (size - 1).bit_length()))
