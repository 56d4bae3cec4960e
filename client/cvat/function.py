"""A function for `cvat-cli`: `--function-module candor_client.cvat`, or `--function-file` with the path of this file.

    export CANDOR_API_KEY=cdr_…
    cvat-cli task auto-annotate 7 --function-module candor_client.cvat -p url=str:http://127.0.0.1:8000 -p model=str:yolov3-tiny

CVAT's driver asks for one frame at a time; `candor cvat annotate` asks for many at once.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from client.api import Client
from client.connection import DEFAULT_URL
from client.cvat.described import Described, described, score, shown
from client.errors import ClientError
from client.files import MediaFile


class Image(Protocol):
    """What is used of a `PIL.Image.Image`."""

    mode: str

    def convert(self, mode: str) -> Image:
        """Return the same picture in another mode."""

    def save(self, fp: io.BytesIO, format: str, **options: Any) -> None:
        """Encode the picture."""


class Context(Protocol):
    """What is used of a `cvat_sdk.auto_annotation.DetectionFunctionContext`."""

    frame_name: str
    conf_threshold: float | None


class NotDrafted(ClientError):
    """Candor could not draft a frame."""


class CandorFunction:
    """CVAT's interface of a detection function, over a Candor server."""

    def __init__(self, candor: Client, what: Described) -> None:
        self._candor = candor
        self._what = what
        self._cvat: Any = import_module("cvat_sdk.auto_annotation")
        self._ids = {label: number for number, label in enumerate(what.labels)}
        labels = [self._cvat.label_spec(label, number, type=what.shape) for label, number in self._ids.items()]
        self.spec = self._cvat.DetectionFunctionSpec(labels=labels)

    def detect(self, context: Context, image: Image) -> Sequence[Any]:
        """Draft one frame.

        Raises:
            ClientError: it can't be drafted.
        """
        draft = self._drafted(_encoded(image), context.frame_name)
        labels = shown(draft, self._what.shape, context.conf_threshold)
        return [self._annotation(self._ids[one["label"]], one) for one in labels if one["label"] in self._ids]

    def _drafted(self, data: bytes, name: str) -> Any:
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            file.write(data)
            file.flush()
            frame = MediaFile(Path(file.name), "image", hashlib.sha256(data).hexdigest())
            (draft,) = self._candor.draft_found([frame], self._what.options)
        if "error" in draft:
            raise NotDrafted(f"{name}: {draft['error']['detail']} ({draft['error']['code']})")
        return draft

    def _annotation(self, label_id: int, label: Any) -> Any:
        if self._what.shape == "tag":
            return self._cvat.tag(label_id)
        return self._cvat.rectangle(label_id, list(label["xyxy"]), score=score(label))


def create(url: str = DEFAULT_URL, model: str | None = None, project: str | None = None) -> CandorFunction:
    """Return the function of a model or a project, as `cvat-cli -p` names them. The API key is in the variable CANDOR_API_KEY.

    Raises:
        ClientError: the server knows no such model or project, or can't be asked.
    """
    key = os.environ.get("CANDOR_API_KEY")  # noqa: TID251 - cvat-cli has no other way for a secret: its parameters stand in `ps`
    candor = Client(url, key=key)
    return CandorFunction(candor, described(candor, model, project))


def _encoded(image: Image) -> bytes:
    """Return the same pixels as a file, without what an EXIF says of them: boxes are to lie on what CVAT handed over."""
    plain = image if image.mode in ("RGB", "L") else image.convert("RGB")
    encoded = io.BytesIO()
    plain.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()
