"""ONNX files that people have: checked, measured, and described for a manifest."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candor.errors import InvalidRequest, ModelUnavailable, UnsafeArtifact
from candor.families import Adopted, Device
from models.families._image_labels import known_labels, labels_of, names_in, plain
from models.families._onnx_check import check
from models.families._onnx_heads import DETECTORS
from models.families._onnx_outputs import Meaning, Probe, meaning
from models.families._onnx_run import Session

WEIGHTS = "model.onnx"
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_INPUT = ("size", "layout", "channels", "scale", "mean", "std", "crop_pct", "crop_mode", "interpolation")
_POST = ("score_floor", "nms_iou", "max_boxes")
_OUTPUT = ("head", "activation", "name", "logits", "boxes", "normalised", *_POST)
_MOST_SIDE = 4096
_LONGEST = 200


def take_in(source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
    """Copy an ONNX file into `folder` and describe it. Options, each with a default or read off the file where it can be:

    - `head`, `activation`, `name`, `logits`, `boxes`, `normalised`: what the outputs mean, as the family `onnx` documents it.
    - `labels`: `coco80`, `imagenet1k`, a text file or a list.
    - `display_threshold`, and the keys of `manifest.input` and `manifest.output` that the family `onnx` documents.

    Raises:
        ModelUnavailable: there is no such file.
        UnsafeArtifact: it is no plain ONNX file.
        InvalidRequest: an option is wrong, or is needed.
    """
    if unknown := sorted(set(options) - {"labels", "display_threshold", *_INPUT, *_OUTPUT}):
        raise InvalidRequest(f"unknown options {', '.join(unknown)} of the family onnx")
    path = Path(source).expanduser()
    if not path.is_file():
        raise ModelUnavailable(f"{source!r} is no file: the family onnx takes a local .onnx file (source `file:PATH`)")
    check(path)
    shutil.copyfile(path, folder / WEIGHTS)
    session = Session(folder / WEIGHTS, Device(threads=1))
    size = _size(session, options)
    named = _names(session.metadata)
    labels = known_labels(options.get("labels"), named)
    rows = _run(session, size, 1)
    found = meaning(Probe(rows, size, len(labels) if labels else None, session.metadata, options))
    return Adopted(
        labels=labels_of(options.get("labels"), found.classes, named),
        input={"size": list(size), **_described(found, session, size, options)},
        output={
            **{"head": found.head, "outputs": list(found.outputs), "scores": found.scores},
            **_post(found),
            **{key: options[key] for key in _POST if key in options and found.head in DETECTORS},
        },
        display_threshold=options.get("display_threshold", 0.25 if found.head in DETECTORS else None),
        licence=_licence(session.metadata),
    )


def _run(session: Session, size: tuple[int, int], count: int) -> dict[str, NDArray[np.float32]]:
    """Run some pictures of noise.

    Raises:
        UnsafeArtifact: the network can't be run on images of this size.
    """
    noise = np.random.default_rng(0).integers(0, 256, (count, size[1], size[0], 3)).astype(np.float32)
    images = list(noise if session.whole_pixels else noise / 255)
    try:
        return dict(zip(session.outputs, session.run(images, list(session.outputs)), strict=True))
    except Exception as error:  # onnxruntime's exceptions share no other base
        reason = " ".join(str(error).split())[:300]
        raise UnsafeArtifact(f"the network can't be run on {count} images of {size[0]} x {size[1]}: {reason}") from error


def _described(found: Meaning, session: Session, size: tuple[int, int], options: Mapping[str, Any]) -> dict[str, Any]:
    """`manifest.input` without the size."""
    given = {key: options[key] for key in _INPUT if key in options and key != "size"}
    described = {**_defaults(found, session), **given}
    if session.whole_pixels and (scaled := sorted(given.keys() & {"scale", "mean", "std"})):
        raise InvalidRequest(f"the network takes whole pixels and scales them itself: leave out {', '.join(scaled)}")
    wanted = ("letterbox", "letterbox-corner", "stretch") if found.head in DETECTORS else ("crop",)
    if described["layout"] not in wanted:
        raise InvalidRequest(f"options.layout {described['layout']!r} is not for the head {found.head}: {' or '.join(wanted)}")
    if session.batch is None and not _any_batch(session, size):
        described["batch"] = 1
    return described


def _any_batch(session: Session, size: tuple[int, int]) -> bool:
    """Whether the network takes more than one image at once, as it says: some are exported with the one of their example built in."""
    try:
        return all(len(row) == 2 for row in _run(session, size, 2).values())
    except (UnsafeArtifact, ValueError):
        return False


def _size(session: Session, options: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of the input: the file's, the operator's, or what Ultralytics wrote into the file."""
    given = options.get("size")
    if session.size is not None:
        if given is not None and tuple(given) != session.size:
            raise InvalidRequest(f"options.size is {given} and the file takes only {list(session.size)}")
        given = session.size
    if given is None and "imgsz" in session.metadata:
        try:
            given = list(reversed(json.loads(session.metadata["imgsz"])))  # height, width
        except (ValueError, TypeError):
            given = None
    if given is None:
        raise InvalidRequest("the file takes images of any size: set options.size to [width, height]")
    if len(given) != 2 or not all(isinstance(side, int) and 0 < side <= _MOST_SIDE for side in given):
        raise InvalidRequest(f"the network's input is [width, height] of 1 to {_MOST_SIDE} pixels each, not {list(given)[:4]}")
    return int(given[0]), int(given[1])


def _names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Class names as Ultralytics writes them into a file: a dict from index to name."""
    try:
        return names_in(ast.literal_eval(metadata.get("names", "{}")))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ()


def _licence(metadata: Mapping[str, str]) -> str:
    said = metadata.get("license", "").strip()[:_LONGEST]
    return said if said and plain(said) else "unknown"


def _defaults(found: Meaning, session: Session) -> dict[str, Any]:
    scale = {"scale": 1.0} if session.whole_pixels else {"scale": 255.0}
    if found.head in DETECTORS:
        if found.head == "yolox":
            return {"layout": "letterbox-corner", "channels": "bgr", "scale": 1.0}
        return {"layout": "stretch" if found.once else "letterbox", "channels": "rgb", **scale}
    if session.metadata.get("task") == "classify" and session.metadata.get("author") == "Ultralytics":
        return {"layout": "crop", "crop_pct": 1.0, "crop_mode": "center", "interpolation": "bilinear", "channels": "rgb", **scale}
    crop = {"layout": "crop", "crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic", "channels": "rgb", **scale}
    return crop if session.whole_pixels else {**crop, **_IMAGENET}


def _post(found: Meaning) -> dict[str, Any]:
    if found.head not in DETECTORS:
        return {}
    how = {"activation": found.activation, "normalised": found.normalised}
    return {**how, "score_floor": 0.01, "nms_iou": None if found.once or found.head == "ultralytics-end2end" else 0.6, "max_boxes": 300}
