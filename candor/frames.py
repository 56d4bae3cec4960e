"""What goes between the server and the process of a team's own family: JSON headers and raw bytes, and nothing that could run.

A frame is `<I` length of the header, `<Q` length of the body, the header, the body. Predictions travel as their figures: arrays as
their bytes in the body, described in the header.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from candor.errors import CandorError
from candor.predictions import Classification, Detections, Prediction, Segment, Transcript, Word

PROTOCOL = 1
_HEAD = struct.Struct("<IQ")
_MOST_HEADER, _MOST_BODY = 64 << 20, 4 << 30
_DTYPES = {"float64": np.float64, "int64": np.int64}
Header: TypeAlias = dict[str, Any]


class BrokenFrame(Exception):
    """The other side says what no frame is."""


def send(sock: socket.socket, header: Mapping[str, Any], body: bytes | memoryview = b"") -> None:
    """Send one frame. Callers take turns."""
    text = json.dumps(header, separators=(",", ":")).encode()
    head = _HEAD.pack(len(text), len(body))
    if len(body) < 1 << 16:
        sock.sendall(head + text + bytes(body))
    else:
        sock.sendall(head + text)
        sock.sendall(body)


def receive(sock: socket.socket) -> tuple[Header, memoryview] | None:
    """Wait for the next frame; None where the other side has gone.

    Raises:
        BrokenFrame: it is none.
    """
    head = _exactly(sock, _HEAD.size)
    if head is None:
        return None
    of_header, of_body = _HEAD.unpack(head)
    if of_header > _MOST_HEADER or of_body > _MOST_BODY:
        raise BrokenFrame(f"a frame of {of_header} and {of_body} bytes")
    text, body = _exactly(sock, of_header), _exactly(sock, of_body)
    if text is None or body is None:
        return None
    try:
        header = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise BrokenFrame(f"a header that is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise BrokenFrame("a header that is no object")
    return header, body


def _exactly(sock: socket.socket, count: int) -> memoryview | None:
    buffer = memoryview(bytearray(count))
    done = 0
    while done < count:
        try:
            got = sock.recv_into(buffer[done:])
        except OSError:  # reset
            return None
        if not got:
            return None
        done += got
    return buffer


def packed(prediction: Prediction) -> tuple[Header, bytes]:
    """Return a prediction as a header and a body.

    Raises:
        TypeError: it is none of the kernel's predictions.
    """
    if isinstance(prediction, Transcript):
        return {"kind": "Transcript", "figures": _plain(asdict(prediction))}, b""
    if isinstance(prediction, Detections):
        return _with_arrays("Detections", prediction, {"xyxy": "float64", "class_index": "int64", "score": "float64", "logit": "float64"})
    if isinstance(prediction, Classification):
        return _with_arrays("Classification", prediction, {"logits": "float64"})
    raise TypeError(f"finish returned {type(prediction).__name__}, and not Detections, Classification or Transcript")


def unpacked(header: Mapping[str, Any], body: memoryview) -> Prediction:
    """Return the prediction that was packed.

    Raises:
        BrokenFrame: it is none.
    """
    try:
        if header["kind"] == "Transcript":
            return _transcript(header["figures"])
        figures: dict[str, Any] = dict(_arrays(header["arrays"], body))
        if header["reconstructed"]:
            figures["reconstructed"] = True
        width, height = (int(side) for side in header["image_size"])
        if header["kind"] == "Detections":
            return Detections((width, height), **figures)
        if header["kind"] == "Classification" and figures["logits"].ndim == 1:
            return Classification((width, height), **figures)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BrokenFrame(f"a prediction that is none: {error!r}") from error
    raise BrokenFrame(f"a prediction of kind {header['kind']!r}")


def _with_arrays(kind: str, prediction: Any, arrays: Mapping[str, str]) -> tuple[Header, bytes]:
    found = {name: np.ascontiguousarray(getattr(prediction, name), dtype) for name, dtype in arrays.items()}
    told = [[name, arrays[name], list(array.shape)] for name, array in found.items()]
    header = {
        "kind": kind,
        "image_size": [int(side) for side in prediction.image_size],
        "reconstructed": bool(getattr(prediction, "reconstructed", False)),
        "arrays": told,
    }
    return header, b"".join(array.tobytes() for array in found.values())


def _arrays(told: Sequence[Any], body: memoryview) -> Iterator[tuple[str, NDArray[Any]]]:
    start = 0
    for name, dtype, shape in told:
        count = int(np.prod(shape, dtype=np.int64))
        end = start + 8 * count
        if count < 0 or end > len(body):
            raise BrokenFrame(f"array {name!r} does not fit its frame")
        yield str(name), np.frombuffer(body[start:end], _DTYPES[dtype]).reshape(shape)
        start = end


def _transcript(figures: Mapping[str, Any]) -> Transcript:
    segments = tuple(Segment(**{**segment, "words": tuple(Word(**word) for word in segment["words"])}) for segment in figures["segments"])
    return Transcript(float(figures["duration"]), str(figures["language"]), segments)


def _plain(value: Any) -> Any:
    """Return figures as JSON takes them, also where a family left NumPy's own in their place."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def error_told(error: BaseException) -> Header:
    """Return an error as a header; of one that is not the kernel's, its kind and words."""
    if isinstance(error, CandorError) and error.code in _errors():
        return {"code": error.code, "detail": error.detail, "retry_after": error.retry_after}
    return {"code": "", "detail": f"{type(error).__name__}: {error}"[:2000], "retry_after": None}


def error_from(told: Mapping[str, Any]) -> Exception:
    """Return the error that was told; a RuntimeError where it was none of the kernel's."""
    kind = _errors().get(str(told.get("code", "")))
    detail = str(told.get("detail", ""))
    if kind is None:
        return RuntimeError(detail)
    wait = told.get("retry_after")
    return kind(detail, retry_after=float(wait) if isinstance(wait, int | float) else None)


@cache
def _errors() -> dict[str, type[CandorError]]:
    found, ahead = {}, [CandorError]
    while ahead:
        kind = ahead.pop()
        if kind.__module__ == CandorError.__module__:
            found[kind.code] = kind
            ahead += kind.__subclasses__()
    return found
