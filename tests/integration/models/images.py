"""Bytes that no image model drafts."""

from __future__ import annotations

import io

from PIL import Image


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    """Return the image as a file of that kind."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


_PLAIN = Image.new("RGB", (64, 48), (200, 30, 30))
BAD = (
    b"",
    b"no image at all",
    encoded(_PLAIN, "JPEG")[:-200],
    encoded(_PLAIN, "PNG")[:60],
    encoded(_PLAIN, "GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), (0, 200, 0))]),
)
