"""Detectors of the package ultralytics: taken in without running anything of the file, and the same boxes as its own predictor."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import checks

from candor.conformance import check, differences, predict
from candor.errors import InvalidRequest, ModelUnavailable, UnsafeArtifact
from candor.families import Adopted, Device, MediaLimits
from candor.manifest import Manifest
from candor.predictions import Detections
from models.catalog import Catalog, ModelEntry
from models.families._image_letterbox import Letterbox
from models.families._yolo_net import check as check_description
from models.families.ultralytics import Detector, UltralyticsFamily
from models.images import decode
from tests.integration.models.images import BAD

SIDE = 160
TINY = {  # a detector as small as can be
    "nc": 7,
    "backbone": [[-1, 1, "Conv", [channels, 3, 2]] for channels in (8, 16, 16, 32, 32)],
    "head": [[[2, 3, 4], 1, "Detect", ["nc"]]],
}


def checkpoint(path: Path, config: Any, pictures: list[bytes]) -> Path:
    """Write a checkpoint as Ultralytics does, of a detector that finds something although it was never trained."""
    torch.manual_seed(0)
    images = [decode(data, 10**6) for data in pictures]
    frames = [Letterbox.fit((image.shape[1], image.shape[0]), (SIDE, SIDE)).apply(image, (SIDE, SIDE)) for image in images]
    batch = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255
    model = DetectionModel(copy.deepcopy(config), nc=7, verbose=False)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.inference_mode():
        for norm in norms:
            norm.momentum = 1.0
        model.train()(batch)  # the running statistics are those of the pictures
        head = model.eval().model[-1]
        spread = model(batch)[1]
        spread = spread.get("one2many", spread)["scores"].std().item()
        for branch in head.cv3:
            branch[-1].weight.mul_(1 / spread)
            branch[-1].bias.fill_(-3)
    model.names = dict(enumerate("abcdefg"))
    torch.save({"model": model, "ema": None, "train_args": {"imgsz": SIDE, "task": "detect"}, "epoch": -1}, path)
    return path


def taken_in(source: Path, folder: Path, **options: Any) -> tuple[Adopted, Manifest]:
    folder.mkdir()
    adopted = UltralyticsFamily().adopt(str(source), folder, options)
    manifest = Manifest("mine", "detection", "ultralytics", {}, adopted.labels, adopted.input, adopted.output, adopted.display_threshold)
    return adopted, manifest


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, pictures: list[bytes]) -> Path:
    return checkpoint(tmp_path_factory.mktemp("ultralytics") / "mine.pt", TINY, pictures[:3])


@pytest.fixture(scope="module")
def model(source: Path) -> Detector:
    _, manifest = taken_in(source, source.parent / "artifact")
    return UltralyticsFamily().load(manifest, source.parent / "artifact", Device(threads=2))


@pytest.mark.parametrize("config", ["yolo11n.yaml", "yolov10n.yaml"])
def test_the_boxes_are_those_of_ultralytics_own_predictor(config: str, pictures: list[bytes], tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "real.pt", config, pictures[:3])
    _, manifest = taken_in(source, tmp_path / "artifact")
    model = UltralyticsFamily().load(manifest, tmp_path / "artifact", Device(threads=1))
    reference = YOLO(str(source))
    for data in pictures[:3]:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        (theirs,) = reference.predict(image, imgsz=SIDE, conf=0.01, iou=0.7, max_det=300, rect=False, device="cpu", verbose=False)
        (ours,) = predict(model, [data], batch=1)
        assert isinstance(ours, Detections)
        boxes = theirs.boxes
        assert len(boxes) > 20
        logit = torch.logit(boxes.conf.double()).numpy()
        other = Detections(
            ours.image_size, boxes.xyxy.double().numpy(), boxes.cls.numpy().astype(np.int64), boxes.conf.double().numpy(), logit
        )
        assert differences(ours, other) == ""


def test_it_passes_the_conformance_suite(model: Detector, pictures: list[bytes]) -> None:
    assert check(model, pictures[:3], BAD)


def test_it_takes_labels_and_size_from_the_checkpoint_and_options_over_them(source: Path, tmp_path: Path) -> None:
    adopted, _ = taken_in(source, tmp_path / "plain")
    assert adopted.labels == tuple("abcdefg")
    assert adopted.input == {"architecture": "ultralytics", "size": [SIDE, SIDE], "layout": "letterbox"}
    adopted, _ = taken_in(source, tmp_path / "options", labels=list("tuvwxyz"), size=[320, 192], nms_iou=0.5, display_threshold=0.4)
    assert adopted.labels == tuple("tuvwxyz")
    assert (adopted.input["size"], adopted.output["nms_iou"], adopted.display_threshold) == ([320, 192], 0.5, 0.4)


@pytest.mark.parametrize("options", [{"labels": ["one"]}, {"size": 100}, {"colour": "red"}])
def test_wrong_options_are_refused(source: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        taken_in(source, tmp_path / "wrong", **options)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.target}",))


@pytest.mark.parametrize("where", ["model", "train_args"])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, where: str) -> None:
    mark = tmp_path / "ran"
    torch.save({"model": None, where: Bomb(mark)}, tmp_path / "bomb.pt")
    with pytest.raises(UnsafeArtifact, match=r"would run (posix|os).system.*ONNX"):
        taken_in(tmp_path / "bomb.pt", tmp_path / "artifact")
    assert not mark.exists()


def test_a_layer_of_somebodys_own_is_refused(source: Path, tmp_path: Path) -> None:
    content = torch.load(source, weights_only=False)
    content["model"].model[3] = Own()
    torch.save(content, tmp_path / "own.pt")
    with pytest.raises(UnsafeArtifact, match=r"test_ultralytics\.Own.*ONNX"):
        taken_in(tmp_path / "own.pt", tmp_path / "artifact")


class Own(torch.nn.Module):
    """A layer that no package has."""


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps({"model": 1})])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "junk.pt").write_bytes(content)
    with pytest.raises(UnsafeArtifact, match="no checkpoint"):
        taken_in(tmp_path / "junk.pt", tmp_path / "artifact")


def test_a_checkpoint_without_a_detector_is_refused(tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "linear.pt")
    with pytest.raises(UnsafeArtifact, match="no Ultralytics detector"):
        taken_in(tmp_path / "linear.pt", tmp_path / "artifact")


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": [[-1, 1, "load_checkpoint", ["x.pt"]]]},
        {"backbone": [[-1, 1, "TorchVision", [16, "resnet18"]]]},
        {"backbone": [[-1, 1, "nn.modules.container.Sequential", []]]},
        {"backbone": [[-1, 1, "torchvision.ops.nms", []]]},
        {"head": [[[0], 1, "Segment", ["nc"]]]},
        {"head": []},
        {"activation": "__import__('os').system('true')"},
        {"activation": "nn.Identity(print())"},
        {"activation": "nn.functional(1)"},
    ],
)
def test_a_description_that_names_anything_but_layers_is_refused(change: dict[str, Any]) -> None:
    check_description({**TINY, "activation": "nn.LeakyReLU(0.1)"})
    with pytest.raises(UnsafeArtifact):
        check_description({**TINY, **change})


def test_names_in_a_checkpoint_that_are_a_path_are_not_read(source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n".join("tuvwxyz"), encoding="utf-8")
    content = torch.load(source, weights_only=False)
    content["model"].names = str(tmp_path / "secret")
    torch.save(content, tmp_path / "curious.pt")
    with pytest.raises(InvalidRequest, match="names no labels"):
        taken_in(tmp_path / "curious.pt", tmp_path / "1")
    content["model"].names, content["train_args"] = dict(enumerate("abcdefg")), {"imgsz": 10**6}
    torch.save(content, tmp_path / "huge.pt")
    with pytest.raises(InvalidRequest, match="up to 4096, not 1000000"):
        taken_in(tmp_path / "huge.pt", tmp_path / "2")


@pytest.mark.parametrize("layer", [["Conv", [10**9, 3, 2]], ["Conv", [8, 99_999, 2]]])
def test_a_description_of_a_network_that_no_machine_holds_is_refused_at_once(source: Path, tmp_path: Path, layer: list[Any]) -> None:
    content = torch.load(source, weights_only=False)
    content["model"].yaml = {**copy.deepcopy(TINY), "backbone": [*copy.deepcopy(TINY["backbone"][:4]), [-1, 1, *layer]]}  # type: ignore[index]
    torch.save(content, tmp_path / "absurd.pt")
    with pytest.raises(UnsafeArtifact, match="do not belong together"):
        taken_in(tmp_path / "absurd.pt", tmp_path / "artifact")


@pytest.mark.parametrize("name", ["yolo11n", "yolov99z", "/no/such/file.pt"])
def test_an_official_name_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    def offline(*_args: Any, **_named: Any) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("ultralytics.utils.downloads.attempt_download_asset", offline)
    with pytest.raises(ModelUnavailable, match=r"source `file:PATH`|correct the source"):
        UltralyticsFamily().adopt(name, tmp_path, {})


def test_the_built_in_model_needs_no_package(
    monkeypatch: pytest.MonkeyPatch, installed: Callable[[str], Any], source: Path, tmp_path: Path
) -> None:
    _, manifest = taken_in(source, tmp_path / "artifact")
    for name in ("ultralytics", "ultralytics.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    builtin = installed("yolov3-tiny")
    assert UltralyticsFamily().load(builtin.manifest, builtin.folder, Device()).memory() > 30_000_000
    with pytest.raises(ModelUnavailable, match="pip install ultralytics-opencv-headless"):
        UltralyticsFamily().load(manifest, tmp_path / "artifact", Device())


def test_damaged_artifacts_are_refused(source: Path, model: Detector, tmp_path: Path) -> None:
    folder = source.parent / "artifact"
    _, manifest = taken_in(source, tmp_path / "artifact")
    for name, content in (("model.json", b"{"), ("model.json", b"[]"), ("model.safetensors", b"junk")):
        broken = tmp_path / "broken"
        shutil.copytree(folder, broken)
        (broken / name).write_bytes(content)
        with pytest.raises(UnsafeArtifact, match=name):
            UltralyticsFamily().load(manifest, broken, Device())
        shutil.rmtree(broken)
    with pytest.raises(UnsafeArtifact, match="architecture 'other'"):
        UltralyticsFamily().load(replace(manifest, input={**manifest.input, "architecture": "other"}), folder, Device())


def test_it_is_installed_by_its_path(source: Path, tmp_path: Path) -> None:
    catalog = Catalog([ModelEntry("mine", "detection", "ultralytics", f"file:{source}")], tmp_path / "models", tmp_path)
    installed = catalog.install("mine")
    assert sorted(installed.manifest.files) == ["model.json", "model.safetensors"]
    assert json.loads((installed.verify() / "model.json").read_text())["nc"] == 7


def test_a_call_uses_the_threads_that_it_was_given(model: Detector, pictures: list[bytes]) -> None:
    torch.set_num_threads(1)
    model.infer(list(model.prepare(pictures[0], MediaLimits()).units))
    assert torch.get_num_threads() == 2


def test_the_package_is_kept_from_installing_others(model: Detector) -> None:
    assert Image.open.__module__ == "PIL.Image"
    assert not checks.AUTOINSTALL
