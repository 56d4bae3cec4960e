"""Reads an inference request: one tensor of bytes, each element one image or recording.

An element comes as base64 in the JSON, as an address, or as bytes after the JSON (the binary tensor data extension).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

from fastapi import Request

from candor.errors import InvalidRequest, NoItems, TooManyItems
from serving.config import LimitSettings
from serving.protocols.asking import decoded, fields_in, of_bytes, of_url, off_loop, text_of
from serving.requests import Item, MediaKind

HEADER = "inference-header-content-length"


@dataclass(frozen=True, slots=True)
class Asked:
    """One inference request. `outputs` are those that are wanted; none: all."""

    id: str | None
    items: tuple[Item, ...]
    outputs: tuple[str, ...]


async def read(request: Request, kind: MediaKind, limits: LimitSettings) -> Asked:
    """Read the request of a model that takes media of a kind.

    Raises:
        CandorError: it is not what the protocol or the model describes.
    """
    body = await request.body()
    return await off_loop(len(body), _parsed, body, request.headers.get(HEADER), kind, limits)


def _parsed(body: bytes, told: str | None, kind: MediaKind, limits: LimitSettings) -> Asked:
    head = len(body)
    if told is not None:
        if not told.isdecimal() or len(told) > 12 or int(told) > len(body):
            raise InvalidRequest(f"{HEADER}: the length of the JSON in the body")
        head = int(told)
    asked = fields_in(body[:head])
    tensor = _tensor(asked.get("inputs"), kind)
    found = list(_elements(tensor, body[head:], limits))
    if not found:
        raise NoItems("inputs: send at least one element")
    shape = tensor.get("shape")
    if (
        not isinstance(shape, list)
        or not all(isinstance(one, int) and one > 0 for one in shape)
        or len(shape) > 2
        or prod(shape) != len(found)
    ):
        raise InvalidRequest(f"inputs: shape {str(shape)[:40]} is not that of {len(found)} elements: it is [{len(found)}]")
    items = tuple(_item(one, kind, limits) for one in found)
    return Asked(text_of(asked, "id"), items, tuple(_names(asked.get("outputs") or [])))


def _tensor(inputs: Any, kind: MediaKind) -> dict[str, Any]:
    tensor = inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else None
    if not isinstance(tensor, dict) or tensor.get("name") != kind or tensor.get("datatype") != "BYTES":
        raise InvalidRequest(f"inputs: send one tensor, `{kind}`, of datatype BYTES and shape [n]")
    return tensor


def _elements(tensor: dict[str, Any], binary: bytes, limits: LimitSettings) -> Iterator[str | bytes]:
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None:
        if size != len(binary):
            raise InvalidRequest(f"inputs: binary_data_size is {str(size)[:20]}, and {len(binary)} bytes follow the JSON")
        yield from _few(list(islice(_unpacked(binary), limits.items + 1)), limits)
        return
    data = tensor.get("data")
    flat = data[0] if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list) else data
    if not isinstance(flat, list):
        raise InvalidRequest("inputs: `data` is a list")
    for one in _few(flat, limits):
        element = one[0] if isinstance(one, list) and len(one) == 1 else one
        if not isinstance(element, str):
            raise InvalidRequest("inputs: an element of `data` is text: base64, or an http(s) address")
        yield element


def _few(found: list[Any], limits: LimitSettings) -> list[Any]:
    if len(found) > limits.items:
        raise TooManyItems(f"more than {limits.items} items; one request takes at most {limits.items}: send several requests")
    return found


def _unpacked(binary: bytes) -> Iterator[bytes]:
    """The elements of a binary tensor: each is its length in four bytes, and then itself."""
    place = 0
    while place < len(binary):
        end = place + 4 + int.from_bytes(binary[place : place + 4], "little")
        if end > len(binary):
            raise InvalidRequest("inputs: the bytes after the JSON break off within an element")
        yield binary[place + 4 : end]
        place = end


def _item(element: str | bytes, kind: MediaKind, limits: LimitSettings) -> Item:
    if isinstance(element, bytes):
        return of_bytes(element, kind)
    if element.startswith(("http://", "https://")):
        return of_url(element, kind)
    return of_bytes(decoded(element, limits.item_bytes), kind)


def _names(outputs: Any) -> Iterator[str]:
    for one in outputs if isinstance(outputs, list) else [None]:
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str):
            raise InvalidRequest('outputs: send a list of {"name": "…"}')
        yield name
