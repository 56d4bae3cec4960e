"""Small models of each family with random weights, as people would have them: what must register, and what is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

ARCHITECTURE = "test_efficientnet"
LABELS = ["cat", "dog", "owl"]
SIDE = 32


def onnx_classifier(path: Path, extra: Callable[[str], tuple[Sequence[Any], str]] | None = None, classes: int = len(LABELS)) -> Path:
    """A linear classifier of 4 x 4 pooled colours. `extra` adds nodes behind its logits: given their name, it returns nodes and theirs."""
    weights = np.random.default_rng(0).normal(size=(3 * 4 * 4, classes)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["figures"]),
    ]
    more, output = extra("figures") if extra else ([], "figures")
    graph = helper.make_graph(
        [*nodes, *more],
        "classifier",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def onnx_classifier_with(path: Path, nodes: Sequence[Any], initializers: Sequence[Any], scalar: str) -> Path:
    """The classifier with further nodes; `scalar`, a figure that they make, is added to its logits."""
    added = helper.make_node("Add", ["figures", scalar], ["logits"])
    model = onnx_loaded(onnx_classifier(path, lambda _: ([*nodes, added], "logits")))
    model.graph.initializer.extend(initializers)
    return onnx_saved(model, path)


def onnx_saved(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def onnx_loaded(path: Path) -> Any:
    return onnx.load(str(path), load_external_data=False)


def timm_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(timm.create_model(ARCHITECTURE, pretrained=False, num_classes=len(LABELS)).state_dict())


def timm_safetensors(path: Path) -> Path:
    save_file(timm_state(), path)
    return path


def timm_checkpoint(path: Path, *, legacy: bool = False) -> Path:
    torch.save(timm_state(), path, _use_new_zipfile_serialization=not legacy)
    return path


def whisper_dims(**changes: int) -> dict[str, int]:
    sizes = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 64, "n_audio_head": 1, "n_audio_layer": 1}
    return {**sizes, "n_vocab": 51864, "n_text_ctx": 64, "n_text_state": 64, "n_text_head": 1, "n_text_layer": 2, **changes}


def whisper_checkpoint(path: Path, said: dict[str, Any] | None = None) -> Path:
    """A Whisper of one layer. `said` are dimensions that the file claims instead of its own."""
    from whisper.model import ModelDimensions, Whisper  # noqa: PLC0415 - slow to import

    torch.manual_seed(0)
    dims = whisper_dims()
    state = Whisper(ModelDimensions(**dims)).state_dict()
    torch.nn.init.normal_(state["decoder.positional_embedding"], std=0.02)  # made without values
    torch.save({"dims": {**dims, **(said or {})}, "model_state_dict": state}, path)
    return path


def ultralytics_checkpoint(path: Path, **yaml: Any) -> Path:
    """A fresh YOLO11n of three classes, saved as its trainer does. `yaml` replaces keys of its description."""
    from ultralytics.nn.tasks import DetectionModel  # noqa: PLC0415

    torch.manual_seed(0)
    model = DetectionModel("yolo11n.yaml", nc=len(LABELS), verbose=False)
    model.names = dict(enumerate(LABELS))
    model.yaml.update(yaml)
    torch.save({"model": model, "train_args": {"imgsz": 64}}, path)
    return path
