from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from candor.errors import UnsafeArtifact
from models.builtin import ctranslate2, whisper_tiny_en
from models.builtin.ctranslate2 import Ct2Model

_CODES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def text(value: str) -> bytes:
    data = value.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def written(
    variables: Mapping[str, NDArray[Any]], version: int = 6, spec: str = "WhisperSpec", aliases: Mapping[str, str] | None = None
) -> bytes:
    parts = [struct.pack("<I", version), text(spec), struct.pack("<II", 3, len(variables))]
    for name, value in variables.items():
        shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        parts += [text(name), shape, struct.pack("<BI", _CODES[value.dtype.name], value.nbytes), value.tobytes()]
    parts.append(struct.pack("<I", len(aliases or {})))
    parts += [text(alias) + text(name) for alias, name in (aliases or {}).items()]
    return b"".join(parts)


def read(data: bytes) -> Ct2Model:
    return ctranslate2.read(io.BytesIO(data), len(data))


VARIABLES = {
    "encoder/num_heads": np.array(2, np.int16),
    "encoder/conv1/weight": np.arange(12, dtype=np.float16).reshape(2, 2, 3),
    "decoder/layer_0/self_attention/linear_0/weight": np.arange(12, dtype=np.float16).reshape(6, 2),
    "decoder/layer_0/self_attention/linear_0/bias": np.array([1, 2, 0, 0, 5, 6], np.float16),
    "decoder/layer_0/attention/layer_norm/gamma": np.ones(2, np.float16),
    "decoder/layer_norm/beta": np.ones(2, np.float16),
    "decoder/embeddings/weight": np.ones((5, 2), np.float16),
}


def test_reads_what_was_written() -> None:
    model = read(written(VARIABLES, aliases={"decoder/projection/weight": "decoder/embeddings/weight"}))
    assert (model.spec, model.revision) == ("WhisperSpec", 3)
    assert model.aliases == {"decoder/projection/weight": "decoder/embeddings/weight"}
    assert model.variables.keys() == VARIABLES.keys()
    for name, value in model.variables.items():
        assert value.dtype == VARIABLES[name].dtype
        assert np.array_equal(value, VARIABLES[name])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "ends early"),
        (written(VARIABLES, version=5), "not a CTranslate2 file of format 6"),
        (written(VARIABLES)[:-1], "ends early"),
        (written(VARIABLES) + b"\0", "1 bytes after its end"),
        (written({"x": np.zeros(3, np.int16)}).replace(struct.pack("<BI", 2, 6), struct.pack("<BI", 9, 6)), "unknown type 9"),
        (written({"x": np.zeros(3, np.int16)}).replace(struct.pack("<BI", 1, 3), struct.pack("<BI", 1, 4)), "6 bytes for the shape"),
        (written({"x": np.zeros((1,) * 9, np.int16)}), "9 dimensions"),
    ],
)
def test_what_is_not_such_a_file_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(UnsafeArtifact, match=said):
        read(data)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damage_raises_only_our_error(data: st.DataObject) -> None:
    damaged = bytearray(written(VARIABLES))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UnsafeArtifact):
        read(bytes(damaged))


def test_whisper_gets_its_own_names_back() -> None:
    tensors = whisper_tiny_en.state_dict(read(written(VARIABLES)))
    assert {name.removeprefix("decoder.blocks.0.attn."): tensor.tolist() for name, tensor in tensors.items() if ".attn." in name} == {
        "query.weight": [[0, 1], [2, 3]],
        "key.weight": [[4, 5], [6, 7]],
        "value.weight": [[8, 9], [10, 11]],
        "query.bias": [1, 2],
        "value.bias": [5, 6],
    }
    others = {"encoder.conv1.weight", "decoder.blocks.0.cross_attn_ln.weight", "decoder.ln.bias", "decoder.token_embedding.weight"}
    assert {name for name in tensors if ".attn." not in name} == others


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"decoder/layer_0/self_attention/linear_0/bias": np.ones(6, np.float16)}, "key has a bias"),
        ({"decoder/embeddings/weight": np.ones((5, 2), np.int8)}, "quantised"),
        ({"decoder/activation": np.array(1, np.int8)}, "the setting decoder/activation = 1 is not known"),
        ({"decoder/layer_0/gate/weight": np.ones((2, 2), np.float16)}, "is not known to this conversion"),
    ],
)
def test_another_kind_of_model_is_refused(changed: Mapping[str, NDArray[Any]], said: str) -> None:
    with pytest.raises(UnsafeArtifact, match=said):
        whisper_tiny_en.state_dict(read(written({**VARIABLES, **changed})))
    with pytest.raises(UnsafeArtifact, match="WhisperSpec 3 is read"):
        whisper_tiny_en.state_dict(read(written(VARIABLES, spec="TransformerSpec")))
