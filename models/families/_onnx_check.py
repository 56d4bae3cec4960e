"""Refuses ONNX files that are not plain: what they keep elsewhere, what they claim without having it, operators from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from candor.errors import UnsafeArtifact

# The standard's own operators, and those that onnxruntime brings along: its optimizers write them.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_READS_FILES = frozenset({"EPContext"})  # takes compiled code from a file that it names
_SHAPE_INPUT = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3}  # which input says how large the output is
_MOST_FIGURES = 1 << 28  # of one tensor: 1 GiB in single precision
_SAVE_WHOLE = "save the model as one file (onnx.save(model, path, save_as_external_data=False))"


def check(path: Path) -> None:
    """Read the file, without running anything of it, and without allocating what it only claims to hold.

    Raises:
        UnsafeArtifact: it is no ONNX file, or not a plain one; the detail says why.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
        functions = {(function.domain, function.name) for function in model.functions}
        _check_tensors(path.name, model)
        for node in _nodes(model):
            _check_node(path.name, node, functions)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError, RecursionError) as error:
        raise UnsafeArtifact(f"{path.name} is no valid ONNX file: {' '.join(str(error).split())[:300]}") from error


def _check_tensors(name: str, model: Any) -> None:
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise UnsafeArtifact(f"{name} keeps the tensor {tensor.name!r} in another file: {_SAVE_WHOLE}")
        claimed, held = _claimed(tensor), _held(tensor)
        if claimed > held:
            raise UnsafeArtifact(
                f"{name} is damaged or made up: its tensor {tensor.name!r} of the shape {list(tensor.dims)[:8]} would take {claimed:,} "
                f"bytes, and the file holds {held:,} of it"
            )
    for graph in _graphs(model):
        for sparse in graph.sparse_initializer:
            if math.prod(sparse.dims) > _MOST_FIGURES:
                raise UnsafeArtifact(f"{name} has a sparse tensor of the shape {list(sparse.dims)[:8]}, which is too large to unfold")


def _claimed(tensor: Any) -> int:
    """Bytes that a tensor of these dimensions takes at least."""
    count = -1 if any(side < 0 for side in tensor.dims) else math.prod(tensor.dims)
    if count < 0:
        raise ValueError(f"the tensor {tensor.name!r} has a negative side: {list(tensor.dims)[:8]}")
    if tensor.HasField("raw_data"):
        try:
            size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        except KeyError as error:
            raise ValueError(f"the tensor {tensor.name!r} has the unknown type {tensor.data_type}") from error
        return count * size if size > 1 else count // 2  # what numpy holds in a byte may be of 4 bits in the file
    return (count + 1) // 2  # figures in fields of their own, two of 4 bits in each


def _held(tensor: Any) -> int:
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    fields = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
    return sum(len(getattr(tensor, field)) for field in fields)


def _check_node(name: str, node: tuple[Any, dict[str, Any]], functions: set[tuple[str, str]]) -> None:
    operator, constants = node
    domain = operator.domain
    if domain not in _DOMAINS and (domain, operator.op_type) not in functions:
        raise UnsafeArtifact(
            f"{name} uses the operator {operator.op_type!r} of the domain {domain!r}, which onnxruntime does not have by itself: only the "
            f"standard's own are run ({', '.join(sorted(_DOMAINS - {''}))}). Export without custom operators"
        )
    if operator.op_type in _READS_FILES:
        raise UnsafeArtifact(f"{name} uses the operator {operator.op_type}, which may read other files: export for the CPU instead")
    place = _SHAPE_INPUT.get(operator.op_type)
    if place is not None and place < len(operator.input) and (tensor := constants.get(operator.input[place])) is not None:
        sides = list(tensor.ints) if isinstance(tensor, onnx.AttributeProto) else onnx.numpy_helper.to_array(tensor).reshape(-1).tolist()
        if math.prod(abs(int(side)) for side in sides[:16]) > _MOST_FIGURES:
            raise UnsafeArtifact(
                f"{name} makes a tensor of the shape {sides[:8]} with {operator.op_type}: that is more than a model of images needs"
            )


def _graphs(model: Any) -> Iterator[Any]:
    """Every graph, and every function, with those inside it."""
    for owner in (model.graph, *model.functions):
        yield from _inner(owner)


def _inner(owner: Any) -> Iterator[Any]:
    if isinstance(owner, onnx.GraphProto):
        yield owner
    for node in owner.node:
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _inner(graph)


def _owners(model: Any) -> Iterator[Any]:
    yield from model.functions
    yield from _graphs(model)


def _attributes(owner: Any) -> Iterator[Any]:
    for node in owner.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (*attribute.sparse_tensors, *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else [])):
                yield from (sparse.values, sparse.indices)


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor of the file, wherever it stands."""
    for owner in _owners(model):
        yield from _attributes(owner)
        if isinstance(owner, onnx.GraphProto):
            yield from owner.initializer
            for sparse in owner.sparse_initializer:
                yield from (sparse.values, sparse.indices)


def _nodes(model: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Every operator, with the constants that its graph names."""
    for owner in _owners(model):
        constants = {tensor.name: tensor for tensor in getattr(owner, "initializer", ())}
        for node in owner.node:
            if node.op_type == "Constant" and node.output:
                for one in node.attribute:
                    constants[node.output[0]] = one.t if one.HasField("t") else one
        for node in owner.node:
            yield node, constants
