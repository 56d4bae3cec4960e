"""The protocols of other tools, told apart by their addresses before any route is known."""

from __future__ import annotations

from serving.protocols.cvat import dialect as cvat
from serving.protocols.dialect import Dialect
from serving.protocols.label_studio import dialect as label_studio
from serving.protocols.open_inference import dialect as open_inference
from serving.protocols.openai import dialect as openai
from serving.protocols.roboflow import dialect as roboflow
from serving.protocols.x_anylabeling import dialect as x_anylabeling

# In alphabetical order.
DIALECTS: tuple[Dialect, ...] = (
    cvat.DIALECT,
    label_studio.DIALECT,
    open_inference.DIALECT,
    openai.DIALECT,
    roboflow.DIALECT,
    x_anylabeling.DIALECT,
)


def dialect_of(path: str) -> Dialect | None:
    """Return whose address this is; None: the native API's."""
    for dialect in DIALECTS:
        if any(path.startswith(prefix) if prefix.endswith("/") else path == prefix for prefix in dialect.prefixes):
            return dialect
    return None


def told_path(path: str) -> str:
    """Return an address as logs may show it."""
    dialect = dialect_of(path)
    if dialect is None or dialect.secret_at is None:
        return path
    parts = path.split("/")
    return "/".join("…" if place == dialect.secret_at and part else part for place, part in enumerate(parts))
