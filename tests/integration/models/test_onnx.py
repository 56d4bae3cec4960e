"""ONNX files: the built-in models agree with themselves when exported, and what is no plain file is refused."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from candor.conformance import Tolerance, check, differences, predict
from candor.errors import InvalidRequest, ModelUnavailable, UnsafeArtifact, WrongTask
from candor.families import Adopted, Device, LoadedModel
from candor.manifest import Manifest
from candor.predictions import Classification, Detections, Task
from models.families._malloc import in_use
from models.families.onnx import OnnxFamily
from tests.integration.models.images import BAD
from tests.integration.models.networks import exported_classifier, exported_detector
from tests.shared_data import shared_data

Loader = Callable[[str], LoadedModel]


def taken_in(source: Path, folder: Path, options: Mapping[str, Any], task: Task = "detection") -> tuple[Adopted, Manifest]:
    folder.mkdir()
    adopted = OnnxFamily().adopt(str(source), folder, options)
    return adopted, Manifest("mine", task, "onnx", {}, adopted.labels, adopted.input, adopted.output, adopted.display_threshold)


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_the_exported_detector_agrees_with_the_built_in_one(
    loaded: Loader, pictures: list[bytes], tmp_path: Path, batch: int | None
) -> None:
    source = exported_detector(loaded("yolov3-tiny"), tmp_path / "tiny.onnx", batch)
    adopted, manifest = taken_in(source, tmp_path / "artifact", {"labels": "coco", "size": [416, 416]})
    assert adopted.output["head"] == "ultralytics"
    model = OnnxFamily().load(manifest, tmp_path / "artifact", Device(threads=1))
    theirs = predict(loaded("yolov3-tiny"), pictures[:3], batch=3)
    for one, other in zip(predict(model, pictures[:3], batch=3), theirs, strict=True):
        assert isinstance(one, Detections)
        assert differences(one, other, Tolerance(pixels=0.05, logit=2e-3)) == ""


@pytest.mark.parametrize("head", ["logits", "probabilities"])
def test_the_exported_classifier_agrees_with_the_built_in_one(loaded: Loader, pictures: list[bytes], tmp_path: Path, head: str) -> None:
    source = exported_classifier(loaded("efficientnet-lite0"), tmp_path / "lite0.onnx", softmax=head == "probabilities")
    options = {"labels": "imagenet1k", "mean": [0.5] * 3, "std": [0.5] * 3}
    adopted, manifest = taken_in(source, tmp_path / "artifact", options, "classification")
    assert adopted.output == {"head": head, "outputs": ["output"], "scores": head}
    model = OnnxFamily().load(manifest, tmp_path / "artifact", Device(threads=1))
    theirs = predict(loaded("efficientnet-lite0"), pictures[:3], batch=3)
    for one, other in zip(predict(model, pictures[:3], batch=3), theirs, strict=True):
        assert isinstance(one, Classification)
        assert isinstance(other, Classification)
        assert one.reconstructed == (head == "probabilities")
        shift = one.logits.max() - other.logits.max() if one.reconstructed else 0.0
        assert np.abs(one.logits - other.logits - shift).max() < 2e-3
    if head == "logits":
        assert check(model, pictures[:3], BAD)


def test_yolox_finds_what_is_there(pictures: list[bytes], tmp_path: Path) -> None:
    source = shared_data("models", "yolox_nano.onnx")
    adopted, manifest = taken_in(source, tmp_path / "artifact", {"labels": "coco80"})
    assert (adopted.output["head"], adopted.input["channels"], adopted.input["layout"]) == ("yolox", "bgr", "letterbox-corner")
    assert adopted.output["scores"] == "probabilities"
    model = OnnxFamily().load(manifest, tmp_path / "artifact", Device(threads=1))
    assert check(model, pictures[:3], BAD)
    best = []
    for found in predict(model, pictures[:3], batch=3):
        assert isinstance(found, Detections)
        best.append((adopted.labels[found.class_index[0]], found.score[0]))
    assert [name for name, _ in best] == ["cup", "cat", "person"]
    assert min(score for _, score in best) > 0.6


def test_memory_is_what_it_takes_and_closing_gives_it_back(tmp_path: Path, pictures: list[bytes]) -> None:
    source = shared_data("models", "yolox_nano.onnx")
    _, manifest = taken_in(source, tmp_path / "artifact", {"labels": "coco80"})
    OnnxFamily().load(manifest, tmp_path / "artifact", Device(threads=1)).close()  # the library's own, once
    gc.collect()
    before = in_use()
    model = OnnxFamily().load(manifest, tmp_path / "artifact", Device(threads=1))
    model.warmup()
    predict(model, pictures[:1], batch=1)
    gc.collect()
    held = in_use() - before
    assert source.stat().st_size * 3 < held  # working memory is the larger part
    assert 0.4 < model.memory() / held < 2.5
    model.close()
    gc.collect()
    assert in_use() - before < 0.25 * held


def tiny(path: Path, output: list[int | str], shape: list[int | str] | None = None, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a network that gives zeros of the shape `output` for images."""
    wanted = np.array([value if isinstance(value, int) else 1 for value in output], np.int64)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Expand", ["zero", "shape"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape or [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output)],
        [
            helper.make_tensor("shape", TensorProto.INT64, [len(wanted)], wanted.tobytes(), raw=True),
            helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("output", "metadata", "head"),
    [
        ([1, 6, 84], {"names": "{0: 'a', 1: 'b'}"}, "ultralytics"),
        ([1, 300, 6], {"names": "{0: 'a', 1: 'b'}"}, "ultralytics-end2end"),
        ([1, 84, 7], {}, "yolox"),
        ([1, 3], {}, "logits"),
    ],
)
def test_the_head_is_told_from_the_output(tmp_path: Path, output: list[int | str], metadata: Mapping[str, str], head: str) -> None:
    labels = ["a", "b", "c"] if head == "logits" else ["a", "b"]
    options = {} if metadata else {"labels": labels}
    adopted, _ = taken_in(tiny(tmp_path / "tiny.onnx", output, metadata=metadata), tmp_path / "artifact", options)
    assert adopted.output["head"] == head
    assert adopted.labels == tuple(labels)


@pytest.mark.parametrize(
    ("output", "shape", "options", "reason"),
    [
        ([1, 10, 10], None, {}, "Set options.head to one of ultralytics"),
        ([1, 2, 3, 4], None, {}, r"\[1, 2, 3, 4\]"),
        ([1, 2], None, {"head": "yolov4"}, "not known"),
        ([1, 2], None, {"head": "yolox"}, "not that of the head yolox"),
        ([1, 2], None, {}, "set options.labels"),
        ([1, 2], None, {"labels": ["a", "b"], "size": [32, 32]}, "takes only"),
        ([1, 2], ["n", 3, "h", "w"], {"labels": ["a", "b"]}, "set options.size"),
        ([1, 2], None, {"labels": ["a", "b"], "colour": "red"}, "unknown options colour"),
    ],
)
def test_what_can_not_be_told_is_asked_for(
    tmp_path: Path, output: list[int | str], shape: list[int | str] | None, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        taken_in(tiny(tmp_path / "tiny.onnx", output, shape), tmp_path / "artifact", options)


def test_a_file_with_external_data_is_refused(tmp_path: Path) -> None:
    model = onnx.load(tiny(tmp_path / "tiny.onnx", [1, 2]))
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin")
    with pytest.raises(UnsafeArtifact, match="in another file"):
        taken_in(tmp_path / "split.onnx", tmp_path / "1", {"labels": ["a", "b"]})
    inner = onnx.load(tmp_path / "tiny.onnx")
    constant = helper.make_tensor("hidden", TensorProto.FLOAT, [1], b"\0\0\0\0", raw=True)
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="../secret")
    inner.graph.node.append(helper.make_node("Constant", [], ["unused"], value=constant))
    onnx.save(inner, tmp_path / "hidden.onnx")
    with pytest.raises(UnsafeArtifact, match="in another file"):
        taken_in(tmp_path / "hidden.onnx", tmp_path / "2", {"labels": ["a", "b"]})


def test_what_is_no_network_of_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(UnsafeArtifact, match="no valid ONNX file"):
        taken_in(tmp_path / "junk.onnx", tmp_path / "1", {})
    with pytest.raises(UnsafeArtifact, match="one batch of images"):
        taken_in(tiny(tmp_path / "flat.onnx", [1, 2], [1, 10]), tmp_path / "2", {})
    with pytest.raises(ModelUnavailable, match="file:PATH"):
        taken_in(tmp_path / "nowhere.onnx", tmp_path / "3", {})


def test_the_task_must_be_the_heads(tmp_path: Path) -> None:
    _, manifest = taken_in(tiny(tmp_path / "tiny.onnx", [1, 3]), tmp_path / "artifact", {"labels": ["a", "b", "c"]}, "classification")
    OnnxFamily().load(manifest, tmp_path / "artifact", Device())
    with pytest.raises(WrongTask, match="head logits"):
        OnnxFamily().load(replace(manifest, task="detection"), tmp_path / "artifact", Device())
    with pytest.raises(UnsafeArtifact, match="head 'other'"):
        OnnxFamily().load(replace(manifest, output={"head": "other"}), tmp_path / "artifact", Device())
