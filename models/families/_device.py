"""Which device this machine offers."""

from __future__ import annotations


def best_device() -> str:
    """Return `cuda:0` where torch sees a GPU, else `cpu`."""
    import torch  # noqa: PLC0415 - seconds to import; only a process that loads models asks

    return "cuda:0" if torch.cuda.is_available() else "cpu"
