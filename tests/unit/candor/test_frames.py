"""Frames between the server and a family's process: what goes in comes out, and what is no frame is refused."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor import errors, frames
from candor.conformance import differences
from candor.fake import FakeFamily
from candor.families import Device
from candor.manifest import Manifest
from candor.predictions import TASKS, Classification, Prediction, Segment, Task, Transcript, Word

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def fake(task: Task) -> Prediction:
    model = FakeFamily().load(Manifest("m", task, "fake", {}, () if task == "transcription" else ("a", "b")), None, Device())  # type: ignore[arg-type]
    item = model.prepare(b'{"units": 2}', None)  # type: ignore[arg-type]
    return model.finish(item, model.infer(list(item.units)))


@pytest.mark.parametrize("task", TASKS)
def test_predictions_come_back_to_the_last_bit(task: Task, pair: Pair) -> None:
    before = fake(task)
    frames.send(pair[0], *frames.packed(before))
    received = frames.receive(pair[1])
    assert received is not None
    after = frames.unpacked(*received)
    assert differences(before, after) == ""
    assert type(after) is type(before)
    if isinstance(before, Transcript):
        assert before == after


def test_numpys_figures_are_figures_too() -> None:
    word = Word("a", np.float32(0.5), 1.0, 0.5, 0.0, 0.5, tokens=np.int64(2))  # type: ignore[arg-type]
    transcript = Transcript(np.float64(2.0), "en", (Segment("a", 0.5, 1.0, (word,), -0.1, 0.0, 1.0),))
    after = frames.unpacked(*sent(frames.packed(transcript)))
    assert after == transcript
    logits = Classification((4, 3), np.array([1, 2], np.float32), reconstructed=True)
    found = frames.unpacked(*sent(frames.packed(logits)))
    assert isinstance(found, Classification)
    assert found.reconstructed
    assert found.logits.dtype == np.float64
    with pytest.raises(TypeError, match="finish returned dict"):
        frames.packed({"labels": []})  # type: ignore[arg-type]


def sent(frame: tuple[Any, bytes]) -> tuple[Any, memoryview]:
    return json.loads(json.dumps(frame[0])), memoryview(frame[1])


def test_large_bodies_and_the_end(pair: Pair) -> None:
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    body = bytes(range(256)) * 400
    frames.send(pair[0], {"a": 1}, body)
    received = frames.receive(pair[1])
    assert received is not None
    assert (received[0], bytes(received[1])) == ({"a": 1}, body)
    pair[0].sendall(b"\0\0")
    pair[0].shutdown(socket.SHUT_WR)
    assert frames.receive(pair[1]) is None


@pytest.mark.parametrize(
    "data",
    [struct.pack("<IQ", 1 << 31, 0), struct.pack("<IQ", 0, 1 << 40), struct.pack("<IQ", 2, 0) + b"[]", struct.pack("<IQ", 1, 0) + b"{"],
)
def test_what_is_no_frame_is_refused(pair: Pair, data: bytes) -> None:
    pair[0].sendall(data)
    with pytest.raises(frames.BrokenFrame):
        frames.receive(pair[1])


leaf = st.none() | st.booleans() | st.integers(-9, 99) | st.text(max_size=8)
plain = st.recursive(leaf, lambda inner: st.lists(inner, max_size=4), max_leaves=6)
names = st.sampled_from(["xyxy", "logit", "logits", "score", "class_index"])
arrays = st.lists(st.tuples(names, st.sampled_from(["float64", "int64", "O"]), plain) | plain, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["Detections", "Classification", "Transcript", "x"])},
        optional={"image_size": plain, "arrays": arrays, "reconstructed": plain, "figures": plain},
    ),
    st.binary(max_size=64),
)
def test_whatever_a_broken_family_answers_is_a_prediction_or_refused(header: dict[str, Any], body: bytes) -> None:
    with suppress(frames.BrokenFrame):
        frames.unpacked(header, memoryview(body))


def test_errors_keep_their_kind() -> None:
    for error in (errors.UndecodableImage("no"), errors.Overloaded("later", retry_after=2.5)):
        back = frames.error_from(frames.error_told(error))
        assert (type(back), str(back), back.retry_after) == (type(error), str(error), error.retry_after)  # type: ignore[attr-defined]
    bug = frames.error_from(frames.error_told(KeyError("x")))
    assert (type(bug), str(bug)) == (RuntimeError, "KeyError: 'x'")
