"""Files that are broken, absurd or bombs, of every format that is read."""

from __future__ import annotations

import json
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.hostile import good

TEN_GB = 10 * 2**30
HUNDRED_GB = 100 * 2**30
_SEED = 20_240


# ---- archives ----


def zip_bomb(path: Path) -> Path:
    """A checkpoint with one entry of 10 GB of zeros. The deflated stream repeats one block, so that making it takes no time."""
    chunk = 2**26
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(bytes(chunk)) + deflate.flush(zlib.Z_FULL_FLUSH)
    stream = block * (TEN_GB // chunk) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    return _zip_of(path, stream, declared=TEN_GB)


def lying_zip_bomb(path: Path) -> Path:
    """The same, which says that it unpacks to a few bytes."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(bytes(2**26)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return _zip_of(path, block * 160 + zlib.compressobj(9, zlib.DEFLATED, -15).flush(), declared=64)


def _zip_of(path: Path, stream: bytes, declared: int) -> Path:
    """A zip of `archive/data.pkl` and a deflated member `archive/data/0`, written by hand."""
    name, large = b"archive/data/0", declared > 2**32 - 1
    size = 2**32 - 1 if large else declared
    extra = struct.pack("<HHQ", 1, 8, declared) if large else b""
    common = struct.pack("<HHHHHIII", 45, 0, 8, 0, 33, 0, len(stream), size)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
    whole = path.read_bytes()
    end = whole.rindex(b"PK\x05\x06")
    count, directory_size, directory = struct.unpack("<HII", whole[end + 10 : end + 20])
    local = b"PK\x03\x04" + common + struct.pack("<HH", len(name), len(extra)) + name + extra + stream
    entry = b"PK\x01\x02" + struct.pack("<H", 45) + common + struct.pack("<HHHHHII", len(name), len(extra), 0, 0, 0, 0, directory)
    central = whole[directory : directory + directory_size] + entry + name + extra
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count + 1, count + 1, len(central), directory + len(local), 0)
    path.write_bytes(whole[:directory] + local + central + tail)
    return path


def zip_with(path: Path, *names: str, mode: int = 0, flags: int = 0) -> Path:
    """A checkpoint with further members of these names."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"/etc/passwd")
    if flags:
        data = bytearray(path.read_bytes())
        place = data.index(b"PK\x01\x02")
        data[place + 8] |= flags
        path.write_bytes(bytes(data))
    return path


def tar_with_link(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("archive/data.pkl")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    return path


# ---- safetensors ----


def safetensors_of(path: Path, header: Any, body: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


SAFETENSORS: dict[str, tuple[Any, bytes, int | None]] = {
    "absurd-header-length": ({"a": {}}, b"", 2**60),
    "header-of-the-whole-memory": ({"a": {}}, b"", 2**63 + 1),
    "header-without-end": (b'{"a": ' * 1000, b"", None),
    "header-deep": (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b"", None),
    "absurd-shape": ({"a": {"dtype": "F32", "shape": [2**20, 2**15], "data_offsets": [0, 2**37]}}, b"", None),
    "overflowing-shape": ({"a": {"dtype": "F32", "shape": [2**33, 2**33], "data_offsets": [0, 4]}}, b"\0" * 4, None),
    "offsets-outside": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [1000, 1004]}}, b"\0" * 4, None),
    "offsets-backwards": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"\0" * 4, None),
    "offsets-over-each-other": (
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in ("a", "b")},
        b"\0" * 4,
        None,
    ),
    "no-tensors": ({}, b"", None),
    "header-is-a-list": ([1, 2], b"", None),
}


# ---- ONNX ----


def _graph(nodes: Sequence[Any], output: str, initializers: Sequence[Any] = (), classes: int = len(good.LABELS)) -> Any:
    graph = helper.make_graph(
        list(nodes),
        "hostile",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, good.SIDE, good.SIDE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", classes])],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def onnx_external(path: Path, location: str) -> Path:
    """A classifier that keeps its weights in another file."""
    model = good.onnx_loaded(good.onnx_classifier(path))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(4 * len(good.LABELS) * 48))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return good.onnx_saved(model, path)


def onnx_absurd_weights(path: Path) -> Path:
    """A classifier whose weights claim 100 GB."""
    model = good.onnx_loaded(good.onnx_classifier(path))
    model.graph.initializer[0].dims[:] = [48, HUNDRED_GB // 4 // 48]
    return good.onnx_saved(model, path)


def onnx_negative_dims(path: Path) -> Path:
    model = good.onnx_loaded(good.onnx_classifier(path))
    model.graph.initializer[0].dims[:] = [-48, -3]
    return good.onnx_saved(model, path)


def onnx_hog(path: Path, operator: str = "ConstantOfShape", size: int = HUNDRED_GB) -> Path:
    """A classifier that makes 100 GB at run time, from a few bytes of file. It depends on the images, so that no optimiser folds it."""
    side = int((size // 4) ** 0.5)
    shape = numpy_helper.from_array(np.array([side, side], np.int64), "shape")
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    grown = {
        "ConstantOfShape": [
            helper.make_node("ReduceMin", ["images"], ["least"], keepdims=0),
            helper.make_node("Mul", ["least", "zero"], ["nought"]),
            helper.make_node("Cast", ["nought"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Add", ["shape", "whole"], ["sides"]),
            helper.make_node("ConstantOfShape", ["sides"], ["huge"]),
        ],
        "Expand": [
            helper.make_node("ReduceMin", ["images"], ["least"], keepdims=0),
            helper.make_node("Expand", ["least", "shape"], ["huge"]),
        ],
    }[operator]
    return good.onnx_classifier_with(path, [*grown, helper.make_node("ReduceMax", ["huge"], ["most"], keepdims=0)], [shape, zero], "most")


def onnx_endless(path: Path) -> Path:
    """A classifier with a loop that never ends."""
    inputs = [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("value", TensorProto.FLOAT, []),
    ]
    outputs = [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), helper.make_tensor_value_info("next", TensorProto.FLOAT, [])]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Sin", ["value"], ["next"])], "body", inputs, outputs
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    many = numpy_helper.from_array(np.array(2**62, np.int64), "many")
    nodes = [
        helper.make_node("ReduceMin", ["images"], ["least"], keepdims=0),
        helper.make_node("Loop", ["many", "yes", "least"], ["last"], body=body),
    ]
    return good.onnx_classifier_with(path, nodes, [yes, many], "last")


def onnx_over_the_batch(path: Path) -> Path:
    """A classifier whose logits depend on the mean of their batch, as with batch statistics left in."""

    def mean(figures: str) -> tuple[Sequence[Any], str]:
        nodes = [helper.make_node("ReduceMean", [figures], ["mean"], axes=[0]), helper.make_node("Sub", [figures, "mean"], ["logits"])]
        return nodes, "logits"

    return good.onnx_classifier(path, mean)


def onnx_not_finite(path: Path) -> Path:
    return good.onnx_classifier(path, lambda figures: ([helper.make_node("Sqrt", [figures], ["logits"])], "logits"))


def onnx_unknown_domain(path: Path) -> Path:
    """An operator of somebody's own, whose library would have to be loaded."""

    def own(figures: str) -> tuple[Sequence[Any], str]:
        return [helper.make_node("Run", [figures], ["logits"], domain="evil.example")], "logits"

    model = good.onnx_loaded(good.onnx_classifier(path, own))
    model.opset_import.append(helper.make_opsetid("evil.example", 1))
    return good.onnx_saved(model, path)


# ---- any format ----


def shortened(data: bytes, count: int) -> Iterator[bytes]:
    """The beginnings of a file, many of them close to its ends."""
    lengths = {0, 1, 4, 8, 9, 16, 64, len(data) - 1, len(data) - 8, len(data) - 64}
    lengths |= {int(share * len(data)) for share in np.linspace(0.01, 0.99, max(0, count - len(lengths)))}
    for length in sorted(length for length in lengths if 0 <= length < len(data)):
        yield data[:length]


def flipped(data: bytes, count: int) -> Iterator[bytes]:
    """Copies with a few bits changed, most of them where the structure is."""
    chance = random.Random(_SEED + len(data))  # noqa: S311 - a test's
    for number in range(count):
        changed = bytearray(data)
        for _ in range(1 + number % 4):
            place = chance.randrange(min(len(data), 400)) if number % 2 else chance.randrange(len(data))
            changed[place] ^= 1 << chance.randrange(8)
        yield bytes(changed)
