"""Where the bytes of a task's item come from. Only the connection's own Label Studio is asked with its token."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from candor.errors import InvalidRequest, MediaTooLarge
from serving.protocols.label_studio.remote import CLOUD, origin_of

_DIRECT = "$undefined$"  # the key of a file that was imported before the config named one
_INLINE = 256  # characters from which a value that is no address is taken for the bytes themselves


@dataclass(frozen=True, slots=True)
class Source:
    """Where an item is: its bytes, the address of another host, or a value that Label Studio itself has to give. One of them is set."""

    data: bytes | None = None
    url: str | None = None
    remote: str | None = None


def value_of(data: Mapping[str, Any], key: str) -> str:
    """Return what a task's data says under the key of the labeling config; `a.b` looks into `a`.

    Raises:
        InvalidRequest: there is nothing, or not one address.
    """
    found: Any = data
    if key in data:
        found = data[key]
    else:
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        found = data.get(_DIRECT) if found is None else found
    if isinstance(found, str) and found.strip():
        return found.strip()
    if found is None:
        raise InvalidRequest(f"the task's data has no {key[:80]!r}, which the labeling config asks for")
    raise InvalidRequest(f"the task's {key[:80]!r} is not one address: Candor drafts one image or recording for each task")


def digest(value: str) -> str:
    """Return what tells whether a task has another source than before."""
    return hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:32]


def source_of(value: str, own_url: str | None, limit: int) -> Source:
    """Return where an item is. `own_url` is Label Studio's address, `limit` the most bytes of an item.

    Raises:
        InvalidRequest: the value points nowhere, or to Label Studio, whose address is not known.
        MediaTooLarge: the value holds more bytes than an item may have.
    """
    scheme = value.partition(":")[0].lower()
    if scheme == "data":
        return Source(data=_unpacked(value, limit))
    if scheme in CLOUD or (value.startswith("/") and not value.startswith("//")):
        if own_url is None:
            raise InvalidRequest(f"{value[:80]!r} is to be had from Label Studio alone, whose address and token the connection lacks")
        return Source(remote=value)
    if scheme in ("http", "https"):
        own = own_url is not None and origin_of(value) == origin_of(own_url)
        return Source(remote=value) if own else Source(url=value)
    if len(value) >= _INLINE:
        return Source(data=_decoded(value, limit))
    raise InvalidRequest(f"{value[:80]!r} is neither an upload of Label Studio nor an http(s) or cloud address, nor data")


def _unpacked(value: str, limit: int) -> bytes:
    head, comma, body = value.partition(",")
    if not comma:
        raise InvalidRequest("the task's data: address has no comma, and so no data")
    if head.lower().endswith(";base64"):
        return _decoded(body, limit)
    found = unquote_to_bytes(body)
    if len(found) > limit:
        raise _too_large(limit)
    return found


def _decoded(text: str, limit: int) -> bytes:
    if len(text) // 4 * 3 > limit + 3:
        raise _too_large(limit)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("the task's value is no address, and not valid base64 either") from error


def _too_large(limit: int) -> MediaTooLarge:
    return MediaTooLarge(f"the task's data holds more than the {limit:,} bytes that an item may have")
