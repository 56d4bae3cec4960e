"""timm classifiers: the same pixels and logits as timm run alone, and checkpoints taken in without running anything of them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform

from candor.conformance import check, predict
from candor.errors import InvalidRequest, ModelUnavailable, UnsafeArtifact
from candor.families import Adopted, Device, LoadedModel, MediaLimits
from candor.manifest import Manifest
from candor.predictions import Classification
from models.catalog import Installed
from models.families import _timm_net, _timm_source
from models.families._image_crop import crop
from models.families.timm import Classifier, TimmFamily
from tests.integration.models.images import BAD

SMALL = "test_efficientnet.r160_in1k"  # timm's own model for tests, 0.4 million weights
NAME = SMALL.partition(".")[0]


def transform_of(described: Any) -> Any:
    """timm's own evaluation transform, down to the normalized tensor."""
    width, height = described["size"]
    return create_transform(
        (3, height, width),
        interpolation=described["interpolation"],
        crop_pct=described["crop_pct"],
        crop_mode=described["crop_mode"],
        mean=tuple(described["mean"]),
        std=tuple(described["std"]),
    )


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def test_the_built_in_models_logits_are_those_of_timm_alone(
    installed: Callable[[str], Installed], loaded: Callable[[str], LoadedModel], pictures: list[bytes]
) -> None:
    found = installed("efficientnet-lite0")
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    reference.load_state_dict(load_file(found.folder / "model.safetensors"))
    transform = transform_of(found.manifest.input)
    with torch.inference_mode():
        theirs = reference(torch.stack([transform(picture(data)) for data in pictures])).double().numpy()
    ours = predict(loaded("efficientnet-lite0"), pictures, batch=3)
    for one, logits, data in zip(ours, theirs, pictures, strict=True):
        assert isinstance(one, Classification)
        assert np.abs(one.logits - logits).max() < 1e-4
        assert one.image_size == picture(data).size
    named = [found.manifest.labels[int(one.logits.argmax())] for one in ours if isinstance(one, Classification)]
    assert named[:2] == ["espresso", "tiger cat"]


def test_the_built_in_model_passes_the_conformance_suite(loaded: Callable[[str], LoadedModel], pictures: list[bytes]) -> None:
    assert check(loaded("efficientnet-lite0"), pictures, BAD)


@pytest.mark.parametrize("size", [(300, 200), (201, 333), (64, 64), (17, 900), (224, 224), (1, 1)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_pixels_are_timms_bit_for_bit(size: tuple[int, int], mode: str) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    norm = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
    how = {"size": [96, 96], "crop_pct": 0.875, "crop_mode": mode, "interpolation": "bicubic", **norm}
    pixels = _timm_net.crop(how)(image)
    normalized = _timm_net.Normalized(torch.nn.Identity(), norm["mean"], norm["std"], torch.float32)
    (ours,) = normalized(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])
    assert torch.equal(ours[0], transform_of(how)(image))
    if mode != "border":  # and so are those that Pillow makes for the family onnx
        assert np.array_equal(crop(np.asarray(image), (96, 96), 0.875, mode, "bicubic"), pixels)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "mine.safetensors"
    save_file(timm.create_model(NAME, pretrained=False, num_classes=3).state_dict(), path)
    return path


def taken_in(source: Path | str, folder: Path, **options: Any) -> Adopted:
    folder.mkdir()
    return TimmFamily().adopt(str(source), folder, options)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".tar"])
def test_a_local_file_is_taken_in_and_run(weights: Path, tmp_path: Path, pictures: list[bytes], suffix: str) -> None:
    state = load_file(weights)
    source = tmp_path / f"mine{suffix}"
    if suffix == ".safetensors":
        save_file(state, source)
    else:
        torch.save(
            {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3} if suffix == ".tar" else state, source
        )
    adopted = taken_in(source, tmp_path / "artifact", architecture=NAME, labels=["a", "b", "c"], crop_pct=0.9)
    assert adopted.labels == ("a", "b", "c")
    assert (adopted.input["size"], adopted.input["crop_pct"]) == ([160, 160], 0.9)
    manifest = Manifest("mine", "classification", "timm", {}, adopted.labels, adopted.input)
    model: Classifier = TimmFamily().load(manifest, tmp_path / "artifact", Device(threads=1))
    reference = timm.create_model(NAME, pretrained=False, num_classes=3).eval()
    reference.load_state_dict(state)
    (ours,) = predict(model, pictures[:1], batch=1)
    with torch.inference_mode():
        theirs = reference(transform_of(adopted.input)(picture(pictures[0]))[None])[0].double().numpy()
    assert isinstance(ours, Classification)
    assert np.abs(ours.logits - theirs).max() < 1e-4
    model.close()
    with pytest.raises(ModelUnavailable, match="closed"):
        model.infer(list(model.prepare(pictures[0], MediaLimits()).units))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"labels": ["a", "b", "c"]}, "options.architecture"),
        ({"architecture": "test_eff", "labels": ["a", "b", "c"]}, "test_efficientnet"),
        ({"architecture": NAME}, "options.labels"),
        ({"architecture": NAME, "labels": ["a", "b"]}, "3 classes"),
        ({"architecture": NAME, "labels": ["a", "b", "c"], "color": 1}, "unknown options color"),
    ],
)
def test_wrong_options_are_refused(weights: Path, tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        taken_in(weights, tmp_path / "artifact", **options)


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.target}",))


def test_files_that_would_run_code_or_are_another_models_are_refused(weights: Path, tmp_path: Path) -> None:
    options = {"architecture": NAME, "labels": ["a", "b", "c"]}
    torch.save({"state_dict": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    with pytest.raises(UnsafeArtifact, match=r"bomb.pth is refused.*safetensors"):
        taken_in(tmp_path / "bomb.pth", tmp_path / "1", **options)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(UnsafeArtifact, match="no checkpoint"):
        taken_in(tmp_path / "junk.safetensors", tmp_path / "2", **options)
    torch.save({"a": 1}, tmp_path / "plain.pth")
    with pytest.raises(UnsafeArtifact, match="more than a model's weights"):
        taken_in(tmp_path / "plain.pth", tmp_path / "3", **options)
    with pytest.raises(UnsafeArtifact, match="does not hold the weights"):
        taken_in(weights, tmp_path / "4", **{**options, "architecture": "test_resnet"})


def test_an_official_name_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_timm_source, "_reachable", lambda: False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with pytest.raises(ModelUnavailable, match=r"file:PATH.*architecture: resnet50"):
        taken_in("resnet50.a1_in1k", tmp_path / "1")
    with pytest.raises(ModelUnavailable, match=r"near it: resnet50\."):
        taken_in("resnet50.of_nobody", tmp_path / "2")
    with pytest.raises(ModelUnavailable, match="neither a file nor"):
        taken_in("/no/such/file.pth", tmp_path / "3")


def test_an_official_model_is_fetched_described_and_labelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    create = timm.create_model
    monkeypatch.setattr(_timm_source, "_reachable", lambda: True)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **how: create(name, pretrained=False, **how))
    adopted = taken_in(SMALL, tmp_path / "artifact")
    assert adopted.input["architecture"] == SMALL
    assert (len(adopted.labels), adopted.labels[0]) == (1000, "tench")
    assert adopted.input["size"] == [160, 160]
