"""Small ONNX networks that give known figures for every image, with the heads that people export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

NCHW = ("n", 3, 64, 64)


def known(
    path: Path,
    outputs: Mapping[str, NDArray[np.float32]],
    *,
    shape: Sequence[int | str] = NCHW,
    kind: int = TensorProto.FLOAT,
    metadata: Mapping[str, str] | None = None,
    built_in_batch: bool = False,
) -> Path:
    """Write a network that gives `outputs` (without their batch) for each image, and a trace of its mean in the last figure of all.

    `built_in_batch`: the network claims to take any number of images, and takes one.
    """
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=1),
    ]
    tensors, infos = [], []
    for name, figures in outputs.items():
        trace = np.zeros_like(figures)
        trace.flat[-1] = 1e-6
        sides = [1 if built_in_batch else -1, *[1] * figures.ndim]
        tensors += [
            helper.make_tensor(f"{name}.shape", TensorProto.INT64, [len(sides)], sides),
            helper.make_tensor(f"{name}.figures", TensorProto.FLOAT, [1, *figures.shape], figures.reshape(-1)),
            helper.make_tensor(f"{name}.trace", TensorProto.FLOAT, [1, *figures.shape], trace.reshape(-1)),
        ]
        nodes += [
            helper.make_node("Reshape", ["mean", f"{name}.shape"], [f"{name}.mean"]),
            helper.make_node("Mul", [f"{name}.mean", f"{name}.trace"], [f"{name}.traced"]),
            helper.make_node("Add", [f"{name}.figures", f"{name}.traced"], [name]),
        ]
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [shape[0], *figures.shape]))
    graph = helper.make_graph(nodes, "known", [helper.make_tensor_value_info("images", kind, shape)], infos, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path
