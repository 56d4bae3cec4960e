"""Networks with each head that people export, which give known boxes: the boxes of a draft are those, to the pixel."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from PIL import Image

from candor.conformance import check, predict
from candor.errors import Internal, InvalidRequest, UnsafeArtifact
from candor.families import Adopted, Device, MediaLimits
from candor.manifest import Manifest
from candor.predictions import Classification, Detections
from models.families._onnx_heads import grid
from models.families.onnx import OnnxClassifier, OnnxDetector, OnnxFamily
from tests.integration.models.images import BAD, encoded
from tests.integration.models.onnx_graphs import known

LABELS = ["a", "b", "c"]
PICTURE = encoded(Image.new("RGB", (128, 64), (200, 30, 30)), "PNG")  # half its size, and 16 pixels of gray above, in 64 x 64
SCORE = 0.8
LOGIT = np.log(SCORE / (1 - SCORE))


def loaded(path: Path, folder: Path, **options: Any) -> tuple[Adopted, OnnxDetector | OnnxClassifier]:
    folder.mkdir()
    adopted = OnnxFamily().adopt(str(path), folder, {"labels": LABELS, **options})
    task: Any = "classification" if adopted.output["head"] in ("logits", "probabilities") else "detection"
    manifest = Manifest("mine", task, "onnx", {}, adopted.labels, adopted.input, adopted.output, adopted.display_threshold)
    return adopted, OnnxFamily().load(manifest, folder, Device(threads=1))


def anchors(columns: int, place: int, row: list[float], empty: float = 0.0) -> NDArray[np.float32]:
    """The figures of all anchors: one says something."""
    figures = np.zeros((len(grid((64, 64))[0]), columns), np.float32)
    figures[:, 4:] = empty
    figures[place] = row
    return figures


# The box has its center at (20, 30) of the input, and is 8 wide and 12 high: (16, 24) to (24, 36). It is a `b`.
BOX = [20.0, 30.0, 8.0, 12.0]
SHARES = [value / 64 for value in BOX]
PLACE = 3 * 8 + 2  # the cell (2, 3) of the grid of 8 pixels: its center is at (2 + 0.5) * 8, (3 + 0.75) * 8
RAW = [0.5, 0.75, 0.0, float(np.log(1.5))]
DETR_LOGITS = np.array([[-9, -9, -9], [-4, LOGIT, -5], [-9, -9, -9]], np.float32)
DETR_SOFTMAX = np.array([[0, 0, 0, 20], [-99, LOGIT, -99, 0.0], [0, 0, 0, 20]], np.float32)
DETR_BOXES = np.array([[0.5, 0.5, 0.1, 0.1], SHARES, [0.2, 0.2, 0.1, 0.1]], np.float32)
HEADS: dict[str, tuple[dict[str, NDArray[np.float32]], dict[str, Any], str]] = {
    "ultralytics": ({"output0": anchors(7, 50, [*BOX, 0.1, SCORE, 0.2]).T}, {}, "probabilities"),
    "ultralytics-transposed": ({"output0": anchors(7, 50, [*BOX, 0.1, SCORE, 0.2])}, {}, "probabilities"),
    "ultralytics-end2end": (
        {"output0": np.array([[16, 24, 24, 36, SCORE, 1], [0, 0, 0, 0, 0, 0]], np.float32)},
        {},
        "probabilities",
    ),
    "yolox": ({"output": anchors(8, PLACE, [*RAW, 1.0, 0.1, SCORE, 0.2])}, {"layout": "letterbox"}, "probabilities"),
    "yolov5": ({"output": np.tile(anchors(8, 50, [*BOX, 1.0, 0.1, SCORE, 0.2]), (3, 1))}, {}, "probabilities"),
    "detr": ({"boxes": DETR_BOXES, "logits": DETR_LOGITS}, {"layout": "letterbox"}, "logits"),
    "detr with softmax": ({"pred_logits": DETR_SOFTMAX, "pred_boxes": DETR_BOXES}, {"nms_iou": 0.5, "layout": "letterbox"}, "logits"),
    "ultralytics with logits": (
        {"output0": anchors(7, 50, [*BOX, -3, LOGIT, -4], empty=-9).T},
        {"activation": "sigmoid"},
        "logits",
    ),
    "yolox with logits": (
        {"output": anchors(8, PLACE, [*RAW, 40, -3, LOGIT, -4], empty=-9)},
        {"activation": "sigmoid", "layout": "letterbox"},
        "logits",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_known_boxes_come_out_where_they_are(tmp_path: Path, name: str) -> None:
    outputs, options, scores = HEADS[name]
    adopted, model = loaded(known(tmp_path / "known.onnx", outputs), tmp_path / "artifact", **options)
    assert (adopted.output["head"], adopted.output["scores"]) == (name.partition(" ")[0], scores)
    (found,) = predict(model, [PICTURE], batch=1)
    assert isinstance(found, Detections)
    assert found.xyxy[0].tolist() == pytest.approx([32, 16, 48, 40], abs=1e-3)
    assert len(found.score) == 1
    assert [adopted.labels[index] for index in found.class_index] == ["b"]
    assert found.logit.tolist() == pytest.approx([LOGIT], abs=1e-5)
    assert check(model, [PICTURE, *pictures()], BAD)


def test_a_detr_sees_stretched_pictures_and_its_boxes_are_not_suppressed(tmp_path: Path) -> None:
    twice = {"boxes": DETR_BOXES[[1, 1, 2]], "logits": DETR_LOGITS[[1, 1, 2]]}
    adopted, model = loaded(known(tmp_path / "known.onnx", twice), tmp_path / "artifact")
    assert (adopted.input["layout"], adopted.output["nms_iou"]) == ("stretch", None)
    (found,) = predict(model, [PICTURE], batch=1)
    assert isinstance(found, Detections)
    assert found.xyxy.tolist() == [pytest.approx([32, 24, 48, 36], abs=1e-3)] * 2


def pictures() -> list[bytes]:
    return [encoded(Image.effect_mandelbrot(size, (-2, -1, 1, 1), 50).convert("RGB"), "PNG") for size in ((90, 40), (33, 77))]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (("n", 64, 64, 3), TensorProto.FLOAT),
        ((1, 3, 64, 64), TensorProto.FLOAT),
        ((4, 3, 64, 64), TensorProto.FLOAT16),
        (("n", 3, 64, 64), TensorProto.UINT8),
        (("n", 3, "height", "width"), TensorProto.FLOAT),
    ],
)
def test_inputs_of_every_layout_and_type(tmp_path: Path, shape: tuple[int | str, ...], kind: int) -> None:
    outputs, _, _ = HEADS["ultralytics"]
    path = known(tmp_path / "known.onnx", outputs, shape=shape, kind=kind)
    adopted, model = loaded(path, tmp_path / "artifact", size=[64, 64])
    assert adopted.input["scale"] == (1.0 if kind == TensorProto.UINT8 else 255.0)
    assert "batch" not in adopted.input
    assert check(model, [PICTURE, *pictures()], BAD)


def mean_of(outputs: Any, path: Path, **how: Any) -> float:
    """What a network that passes on the mean of its pixels gives for a picture of 200, 30, 30."""
    _, model = loaded(known(path / "mean.onnx", outputs, **how), path / "artifact", mean=[0, 0, 0], std=[1, 1, 1])
    (found,) = predict(model, [PICTURE], batch=1)
    assert isinstance(found, Classification)
    return float(found.logits[-1]) * 1e6


def test_pixels_reach_the_network_as_it_takes_them(tmp_path: Path) -> None:
    outputs = {"output": np.array([1, 2, 0], np.float32)}
    assert mean_of(outputs, tmp_path) == pytest.approx(260 / 3 / 255, rel=1e-3)
    (tmp_path / "whole").mkdir()
    path = known(tmp_path / "whole.onnx", outputs, kind=TensorProto.UINT8)
    with pytest.raises(InvalidRequest, match=r"whole pixels .* leave out mean, std"):
        loaded(path, tmp_path / "1", mean=[0, 0, 0], std=[1, 1, 1])
    _, model = loaded(path, tmp_path / "2")
    (found,) = predict(model, [PICTURE], batch=1)
    assert isinstance(found, Classification)
    assert found.logits[-1] * 1e6 == pytest.approx(260 / 3, rel=1e-3)


def test_a_network_that_only_claims_to_take_batches_gets_single_images(tmp_path: Path) -> None:
    outputs, _, _ = HEADS["ultralytics"]
    adopted, model = loaded(known(tmp_path / "known.onnx", outputs, built_in_batch=True), tmp_path / "artifact")
    assert adopted.input["batch"] == 1
    assert check(model, [PICTURE, *pictures()], BAD)


def test_a_classifier_of_ultralytics_gets_its_own_pixels(tmp_path: Path) -> None:
    metadata = {"author": "Ultralytics", "task": "classify", "names": "{0: 'x', 1: 'y'}"}
    path = known(tmp_path / "known.onnx", {"output0": np.array([0.25, 0.75], np.float32)}, metadata=metadata)
    adopted, model = loaded(path, tmp_path / "artifact", labels="from-model")
    assert (adopted.labels, adopted.output["head"], adopted.output["scores"]) == (("x", "y"), "probabilities", "probabilities")
    assert (adopted.input["crop_pct"], adopted.input["interpolation"], adopted.input.get("mean")) == (1.0, "bilinear", None)
    (found,) = predict(model, [PICTURE], batch=1)
    assert isinstance(found, Classification)
    assert found.reconstructed
    assert found.logits[1] - found.logits[0] == pytest.approx(np.log(3), abs=1e-5)


def test_labels_of_another_number_are_refused_with_both(tmp_path: Path) -> None:
    outputs, _, _ = HEADS["ultralytics"]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"labels": ["a", "b"], "head": "ultralytics"}, "has 3 classes and options.labels gives 2"),
        ({"labels": "coco80"}, r"output0 \[1, 7, 84\].*80 labels: no head fits"),
        ({"labels": "from-model"}, r"names no labels: set options\.labels"),
    ]
    for number, (options, reason) in enumerate(wrong):
        with pytest.raises(InvalidRequest, match=reason):
            loaded(known(tmp_path / "known.onnx", outputs), tmp_path / str(number), **options)


def test_a_class_beyond_the_labels_fails_the_image(tmp_path: Path) -> None:
    rows = np.array([[16, 24, 24, 36, SCORE, 3], [0, 0, 0, 0, 0, 0]], np.float32)
    _, model = loaded(known(tmp_path / "known.onnx", {"output": rows}), tmp_path / "artifact")
    (result,) = model.infer(list(model.prepare(PICTURE, MediaLimits()).units))
    assert isinstance(result, Internal)
    assert "beyond its 3 labels" in result.detail


def test_an_output_that_is_not_there_is_refused(tmp_path: Path) -> None:
    outputs, _, _ = HEADS["detr"]
    adopted, _ = loaded(known(tmp_path / "known.onnx", outputs), tmp_path / "artifact")
    output = {**adopted.output, "outputs": ["logits", "corners"]}
    with pytest.raises(UnsafeArtifact, match="no output corners"):
        OnnxFamily().load(Manifest("mine", "detection", "onnx", {}, adopted.labels, adopted.input, output), tmp_path / "artifact", Device())


def test_the_picture_is_what_the_numbers_above_assume() -> None:
    assert Image.open(io.BytesIO(PICTURE)).size == (128, 64)
