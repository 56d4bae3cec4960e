"""What people bring, of each family, freshly built with random weights: taken in, loaded, conformant, and it drafts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import whisper.model
from safetensors.torch import save_file
from ultralytics import YOLO

from candor.conformance import check, predict
from candor.errors import InvalidRequest, UnsafeArtifact
from candor.families import Device, LoadedModel, get_family
from candor.manifest import Manifest
from candor.predictions import Classification, Detections, Prediction, Transcript
from models.artifacts import hash_files
from models.requested import parse
from tests.integration.models.images import BAD
from tests.integration.models.onnx_graphs import known
from tests.integration.models.speech import clip, decoded
from tests.unit.models.recordings import float_wav

SMALL = "test_efficientnet"


def brought(path: Path, folder: Path, document: Mapping[str, Any]) -> tuple[Manifest, LoadedModel]:
    """Take a model in as a registration does: the manifest that people send, the family, the version's own manifest, loading."""
    requested = parse(document)
    family = get_family(requested.family)
    assert requested.task in family.tasks
    folder.mkdir()
    found = family.adopt(str(path), folder, requested.options())
    manifest = Manifest(
        name="mine",
        task=requested.task,
        family=requested.family,
        files=hash_files(folder),
        labels=found.labels,
        input=found.input,
        output=found.output,
        display_threshold=found.display_threshold,
        licence=requested.licence or found.licence,
        owner="team-a",
    )
    again = Manifest.from_json(json.loads(json.dumps(manifest.as_json())))
    assert again.digest == manifest.digest
    return manifest, family.load(again, folder, Device(threads=1))


def drafted(model: LoadedModel, items: list[bytes], bad: tuple[bytes, ...] = BAD) -> Prediction:
    assert model.memory() > 0
    assert len(check(model, items, bad)) == 8
    found = predict(model, items[:1], batch=1)[0]
    model.close()
    return found


@pytest.mark.parametrize("config", ["yolov8n", "yolo11n"])
def test_a_fresh_ultralytics_detector(config: str, tmp_path: Path, pictures: list[bytes]) -> None:
    torch.manual_seed(0)
    YOLO(f"{config}.yaml").save(tmp_path / "fresh.pt")
    document = {"family": "ultralytics", "task": "detection", "labels": "coco80", "input": {"size": 160}, "display_threshold": 0.1}
    manifest, model = brought(tmp_path / "fresh.pt", tmp_path / "artifact", document)
    assert (len(manifest.labels), manifest.input["size"], manifest.display_threshold) == (80, [160, 160], 0.1)
    assert isinstance(drafted(model, pictures[:3]), Detections)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("yolov8n-cls", "for classification .*family onnx"),
        ("yolo11n-seg", "for segmentation .*no such task"),
        ("yolov8n-pose", "for pose estimation .*no such task"),
    ],
)
def test_ultralytics_models_of_other_kinds_are_refused_with_words(config: str, reason: str, tmp_path: Path) -> None:
    YOLO(f"{config}.yaml").save(tmp_path / "other.pt")
    with pytest.raises(InvalidRequest, match=reason):
        brought(tmp_path / "other.pt", tmp_path / "artifact", {"family": "ultralytics", "task": "detection"})


def exported(config: str, path: Path, **how: Any) -> Path:
    """Write a network of Ultralytics as ONNX with its own exporter, fresh."""
    torch.manual_seed(0)
    model = YOLO(f"{config}.yaml")
    model.save(path)
    return Path(YOLO(path).export(format="onnx", imgsz=64, simplify=False, opset=17, **how))


@pytest.mark.filterwarnings("ignore")  # the exporter warns of its own age
def test_ultralytics_own_onnx_exports(tmp_path: Path, pictures: list[bytes]) -> None:
    path = exported("yolov8n", tmp_path / "detector.pt", dynamic=True)
    manifest, model = brought(path, tmp_path / "1", {"family": "onnx", "task": "detection"})
    assert (manifest.output["head"], len(manifest.labels), manifest.licence[:8]) == ("ultralytics", 80, "AGPL-3.0")
    assert isinstance(drafted(model, pictures[:3]), Detections)
    path = exported("yolov8n-cls", tmp_path / "classifier.pt")
    manifest, model = brought(path, tmp_path / "2", {"family": "onnx", "task": "classification"})
    assert (manifest.output["head"], len(manifest.labels)) == ("probabilities", 1000)
    assert isinstance(drafted(model, pictures[:3]), Classification)


def _as_safetensors(network: Any, path: Path) -> Path:
    save_file(network.state_dict(), path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def _as_pth(network: Any, path: Path) -> Path:
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


@pytest.mark.parametrize("write", [_as_safetensors, _as_pth])
def test_a_timm_checkpoint(write: Callable[[Any, Path], Path], tmp_path: Path, pictures: list[bytes]) -> None:
    torch.manual_seed(0)
    path = write(timm.create_model(SMALL, pretrained=False, num_classes=3), tmp_path / "mine")
    document = {"family": "timm", "task": "classification", "labels": ["a", "b", "c"], "input": {"architecture": SMALL, "size": [96, 96]}}
    manifest, model = brought(path, tmp_path / "artifact", document)
    assert (manifest.labels, manifest.input["size"]) == (("a", "b", "c"), [96, 96])
    found = drafted(model, pictures[:3])
    assert isinstance(found, Classification)
    assert found.logits.shape == (3,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": "coco80"}, "has 3 classes and options.labels gives 80"),
        ({"labels": "from-model"}, r"set options\.labels"),
        ({"options": {"model_args": {"channel_multiplier": 100_000.0}}}, "do not belong together"),
        ({"options": {"model_args": {"checkpoint_path": "/etc/passwd"}}}, "may not hold checkpoint_path"),
        ({"options": {"model_args": {"act_layer": {"a": 1}}}}, "a number, a text"),
        ({"options": {"model_args": {"no_such_argument": 1}}}, "can't build test_efficientnet"),
    ],
)
def test_a_timm_checkpoint_with_wrong_words(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = _as_safetensors(timm.create_model(SMALL, pretrained=False, num_classes=3), tmp_path / "mine")
    document = {"family": "timm", "task": "classification", "labels": ["a", "b", "c"], "input": {"architecture": SMALL}}
    with pytest.raises((InvalidRequest, UnsafeArtifact), match=reason):
        brought(path, tmp_path / "artifact", {**document, **change})


def test_a_timm_network_of_one_size_is_not_run_at_another(tmp_path: Path) -> None:
    path = _as_safetensors(timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=3), tmp_path / "mine")
    document = {"family": "timm", "task": "classification", "labels": ["a", "b", "c"], "options": {"architecture": "vit_tiny_patch16_224"}}
    brought(path, tmp_path / "1", document)[1].close()
    with pytest.raises(InvalidRequest, match=r"can't be run on images of 96 x 96: .*Set options\.size"):
        brought(path, tmp_path / "2", {**document, "input": {"size": [96, 96]}})


def test_a_whisper_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dims = whisper.model.ModelDimensions(80, 1500, 64, 1, 1, 51864, 448, 64, 1, 1)
    network = whisper.model.Whisper(dims)
    torch.nn.init.normal_(network.decoder.positional_embedding, std=0.02)  # which the package leaves as it finds the memory
    torch.save({"dims": asdict(dims), "model_state_dict": network.state_dict()}, tmp_path / "mine.pt")
    manifest, model = brought(tmp_path / "mine.pt", tmp_path / "artifact", {"family": "whisper", "task": "transcription", "licence": "MIT"})
    assert (manifest.labels, manifest.input["dims"]["n_text_layer"], manifest.input["language"]) == ((), 1, "en")
    speech = decoded(clip())[: 16_000 * 3]
    items = [float_wav(speech), float_wav(0.5 * speech), float_wav(speech[:16_000])]
    assert isinstance(drafted(model, items, (b"", b"a text named speech.wav")), Transcript)
    with pytest.raises(InvalidRequest, match="Did you mean `language`"):
        brought(tmp_path / "mine.pt", tmp_path / "2", {"family": "whisper", "task": "transcription", "options": {"languge": "en"}})
    with pytest.raises(InvalidRequest, match="English alone"):
        brought(tmp_path / "mine.pt", tmp_path / "3", {"family": "whisper", "task": "transcription", "input": {"language": "de"}})


def test_an_onnx_classifier(tmp_path: Path, pictures: list[bytes]) -> None:
    path = known(tmp_path / "mine.onnx", {"output": np.array([2.0, -1.0, 0.5], np.float32)})
    document = {"family": "onnx", "task": "classification", "labels": ["a", "b", "c"], "input": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    manifest, model = brought(path, tmp_path / "artifact", document)
    assert (manifest.output["scores"], manifest.input["mean"]) == ("logits", [0.5] * 3)
    found = drafted(model, pictures[:3])
    assert isinstance(found, Classification)
    assert found.logits[:2].tolist() == [2.0, -1.0]
