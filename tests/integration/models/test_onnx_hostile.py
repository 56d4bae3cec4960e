"""ONNX files that claim what they don't hold, reach for other files, or bring operators along are refused, with the reason."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from candor.errors import CandorError, UnsafeArtifact
from models.families._onnx_check import check
from models.families.onnx import OnnxFamily
from tests.integration.models.onnx_graphs import known


def plain(tmp_path: Path) -> Any:
    return onnx.load(known(tmp_path / "plain.onnx", {"output": np.array([1, 2, 3], np.float32)}))


def _absurd_raw(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="big", data_type=TensorProto.FLOAT, dims=[100_000, 1_000_000], raw_data=b"\0" * 4))


def _absurd_typed(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="big", data_type=TensorProto.FLOAT, dims=[1 << 40], float_data=[0.0]))


def _absurd_in_a_branch(model: Any) -> None:
    tensor = TensorProto(name="big", data_type=TensorProto.FLOAT, dims=[1 << 40], raw_data=b"\0" * 4)
    inner = helper.make_graph([helper.make_node("Constant", [], ["inner"], value=tensor)], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["mean"], ["unused"], then_branch=inner, else_branch=inner))


def _negative(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="big", data_type=TensorProto.FLOAT, dims=[-1, 4], raw_data=b"\0" * 4))


def _of_no_type(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="big", data_type=77, dims=[1], raw_data=b"\0" * 4))


def _unfolded(model: Any) -> None:
    model.graph.initializer.append(helper.make_tensor("sides", TensorProto.INT64, [2], [100_000, 1_000_000]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["sides"], ["unused"]))


def _unfolded_by_a_node(model: Any) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["sides"], value_ints=[100_000, 1_000_000]))
    model.graph.node.append(helper.make_node("Expand", ["mean", "sides"], ["unused"]))


def _sparse(model: Any) -> None:
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("places", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [100_000, 1_000_000]))


def _elsewhere(model: Any, location: str = "/etc/passwd") -> None:
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    model.graph.initializer.append(tensor)


def _elsewhere_in_a_function(model: Any) -> None:
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    model.functions.append(helper.make_function("own", "f", [], ["y"], [node], [helper.make_opsetid("", 17)]))


def _custom_operator(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("my.company", 1))
    model.graph.node.append(helper.make_node("ReadFile", ["mean"], ["unused"], domain="my.company"))


def _custom_operator_in_a_function(model: Any) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    node = helper.make_node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib")
    model.functions.append(helper.make_function("own", "f", ["x"], ["y"], [node], opsets))


def _compiled(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node.append(helper.make_node("EPContext", [], ["unused"], domain="com.microsoft", ep_cache_context="/etc/passwd"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_absurd_raw, "'big' of the shape .* would take 400,000,000,000 bytes, and the file holds 4"),
        (_absurd_typed, "damaged or made up"),
        (_absurd_in_a_branch, "damaged or made up"),
        (_negative, "negative side"),
        (_of_no_type, "unknown type 77"),
        (_unfolded, r"shape \[100000, 1000000\] with ConstantOfShape"),
        (_unfolded_by_a_node, "with Expand"),
        (_sparse, "too large to unfold"),
        (_elsewhere, "in another file"),
        (_elsewhere_in_a_function, "in another file"),
        (_custom_operator, "'ReadFile' of the domain 'my.company'"),
        (_custom_operator_in_a_function, r"'PyOp' of the domain 'ai\.onnx\.contrib'"),
        (_compiled, "EPContext, which may read other files"),
    ],
)
def test_it_is_refused_with_the_reason_and_takes_no_memory(tmp_path: Path, spoil: Callable[[Any], None], reason: str) -> None:
    model = plain(tmp_path)
    spoil(model)
    (tmp_path / "hostile.onnx").write_bytes(model.SerializeToString())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (tmp_path / "artifact").mkdir()
    with pytest.raises(UnsafeArtifact, match=reason):
        OnnxFamily().adopt(str(tmp_path / "hostile.onnx"), tmp_path / "artifact", {"labels": ["a", "b", "c"]})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert not list((tmp_path / "artifact").iterdir())


def test_plain_files_pass(tmp_path: Path) -> None:
    plain(tmp_path)
    check(tmp_path / "plain.onnx")
    model = plain(tmp_path)
    model.opset_import.append(helper.make_opsetid("own", 1))
    node = helper.make_node("Abs", ["x"], ["y"])
    model.functions.append(helper.make_function("own", "Absolute", ["x"], ["y"], [node], [helper.make_opsetid("", 17)]))
    model.graph.node.append(helper.make_node("Absolute", ["mean"], ["unused"], domain="own"))
    (tmp_path / "function.onnx").write_bytes(model.SerializeToString())
    check(tmp_path / "function.onnx")


def test_cut_and_flipped_files_are_taken_in_or_refused_and_nothing_else(tmp_path: Path) -> None:
    plain(tmp_path)
    whole = (tmp_path / "plain.onnx").read_bytes()
    chance = np.random.default_rng(0)
    refused = 0
    for number in range(150):
        data = bytearray(whole)
        if number % 3:
            for _ in range(chance.integers(1, 9)):
                data[chance.integers(len(data))] ^= 1 << int(chance.integers(8))
        else:
            del data[chance.integers(len(data)) :]
        path, folder = tmp_path / "broken.onnx", tmp_path / f"{number}"
        path.write_bytes(data)
        folder.mkdir()
        try:
            OnnxFamily().adopt(str(path), folder, {"labels": ["a", "b", "c"]})
        except CandorError:
            refused += 1
    assert 50 < refused < 150
