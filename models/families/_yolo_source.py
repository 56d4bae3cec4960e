"""Ultralytics detectors that people have: a local checkpoint or an official name, written down as safetensors and JSON."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from candor.errors import CandorError, InvalidRequest, ModelUnavailable, UnsafeArtifact
from candor.families import Adopted
from models.families._image_labels import labels_of, names_in
from models.families._yolo_net import DESCRIPTION, build, is_detector
from models.families._yolo_pickle import REMEDY, Inert, read, tensors

WEIGHTS = "model.safetensors"
_STRIDE = 32
_MOST_SIDE = 4096
_NOT_HERE = "Candor has no such task: train or take a detector of the same data instead"
_OTHER_HEADS = {  # what else the package builds
    "Classify": ("classification", "Export it (`yolo export model=FILE format=onnx`) and register it with the family onnx"),
    "RTDETRDecoder": ("detection with RT-DETR", "Export it (`yolo export model=FILE format=onnx`) and register it with the family onnx"),
    "Segment": ("segmentation", _NOT_HERE),
    "Segment26": ("segmentation", _NOT_HERE),
    "YOLOESegment": ("segmentation", _NOT_HERE),
    "Pose": ("pose estimation", _NOT_HERE),
    "Pose26": ("pose estimation", _NOT_HERE),
    "OBB": ("rotated boxes", _NOT_HERE),
    "OBB26": ("rotated boxes", _NOT_HERE),
}
_OUTPUT = {"score_floor": 0.01, "nms_iou": 0.7, "max_boxes": 300}


def take_in(source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
    """Write a detector's weights and description into `folder`.

    `source` is the path of a `.pt` file or an official name (`yolo11n`, `yolov8m`, …). Options, each with a default:

    - `size`: [width, height] or one number, multiples of 32; what the model was trained at.
    - `labels`: `coco80`, a text file or a list; the checkpoint's own names.
    - `score_floor`, `nms_iou`, `max_boxes`, `display_threshold`.

    Raises:
        UnsafeArtifact: the file would run code, or holds no detector.
        ModelUnavailable: there is no such file, or the name can't be fetched.
        InvalidRequest: an option is wrong.
    """
    if unknown := sorted(set(options) - {"size", "labels", "display_threshold", *_OUTPUT}):
        raise InvalidRequest(f"unknown options {', '.join(unknown)} of the family ultralytics")
    path = Path(source).expanduser()
    if path.is_file():
        content = read(path)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            content = read(_download(source, Path(temporary)))
    model, trained = _parts(path.name, content)
    description = _description(path.name, model)
    state = {name: tensor.contiguous().clone() for name, tensor in tensors(model)}
    save_file(state, folder / WEIGHTS)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    classes = int(build(description, folder / WEIGHTS).model[-1].nc)
    return Adopted(
        labels=labels_of(options.get("labels"), classes, names_in(model.state.get("names"))),
        input={"architecture": "ultralytics", "size": _size(options.get("size") or trained.get("imgsz") or 640), "layout": "letterbox"},
        output={key: options.get(key, value) for key, value in _OUTPUT.items()},
        display_threshold=options.get("display_threshold", 0.25),
        licence="unknown" if path.is_file() else "AGPL-3.0",
    )


def _parts(name: str, content: Any) -> tuple[Inert, Mapping[str, Any]]:
    """The model and the settings that it was trained with."""
    found = (content.get("ema") or content.get("model")) if isinstance(content, Mapping) else None
    trained = content.get("train_args") if isinstance(content, Mapping) else None
    if not isinstance(found, Inert):
        raise UnsafeArtifact(f"{name} is no Ultralytics checkpoint: it has no `model`")
    layers = [inner for inner in _layers(found) if isinstance(inner, Inert)]
    if not layers or not is_detector(layers[-1].origin):
        raise _other(name, layers[-1].origin.rpartition(".")[2] if layers else "nothing")
    return found, trained if isinstance(trained, Mapping) else {}


def _other(name: str, ends: str) -> CandorError:
    """Say why a checkpoint that ends in another layer than a detector's is refused, and what can be done."""
    if ends in _OTHER_HEADS:
        kind, remedy = _OTHER_HEADS[ends]
        return InvalidRequest(f"{name} is an Ultralytics model for {kind} (it ends in {ends}), and this family runs detectors. {remedy}")
    return UnsafeArtifact(f"{name} is no Ultralytics detector: its model ends in {ends}. {REMEDY}")


def _layers(model: Inert) -> list[Any]:
    sequence = model.state.get("_modules", {}).get("model")
    return list(sequence.state.get("_modules", {}).values()) if isinstance(sequence, Inert) else []


def _description(name: str, model: Inert) -> dict[str, Any]:
    try:
        value = json.loads(json.dumps(model.state.get("yaml")))
    except (TypeError, ValueError) as error:
        raise UnsafeArtifact(f"{name} does not describe its layers in plain values. {REMEDY}") from error
    if not isinstance(value, dict):
        raise UnsafeArtifact(f"{name} does not describe its layers. {REMEDY}")
    return {key: inner for key, inner in value.items() if key != "yaml_file"}


def _size(value: Any) -> list[int]:
    sides = [value, value] if isinstance(value, int) else list(value) if isinstance(value, list | tuple) else []
    if len(sides) != 2 or not all(isinstance(side, int) and 0 < side <= _MOST_SIDE and side % _STRIDE == 0 for side in sides):
        raise InvalidRequest(f"options.size is [width, height] in multiples of {_STRIDE} up to {_MOST_SIDE}, not {str(value)[:40]}")
    return sides


def _download(name: str, folder: Path) -> Path:
    """Fetch an official checkpoint with Ultralytics' own code."""
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset  # noqa: PLC0415 - only here

    file = name if name.endswith(".pt") else f"{name}.pt"
    if file not in GITHUB_ASSETS_NAMES:
        raise ModelUnavailable(
            f"{name!r} is neither a file nor an official name of Ultralytics such as yolo11n or yolov8m: correct the source"
        )
    try:
        return Path(attempt_download_asset(folder / file, retry=1, progress=False))
    except (OSError, MemoryError) as error:
        raise ModelUnavailable(
            f"the checkpoint {file} can't be fetched from Ultralytics' releases: where they can't be reached, copy the file to this "
            "machine and name it as source `file:PATH`"
        ) from error
