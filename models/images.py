"""Images: the bytes of one still image become RGB pixels, the right way up."""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from candor.errors import MediaTooLarge, UndecodableImage

# Kinds that people label. Others are left out because their decoders run programs (EPS) or are seldom looked after.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, RuntimeError, struct.error, zlib.error)
_ORIENTATION = 0x0112  # EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The package ultralytics replaces Pillow's `open` by one that installs packages when an image can't be read: take Pillow's own.
_open = getattr(sys.modules.get("ultralytics.utils.patches"), "_image_open", Image.open)
# Pillow's own limit on pixels warns before it refuses; `decode` has a limit of its own, checked on the same header.
Image.MAX_IMAGE_PIXELS = None
# What Pillow has to say about odd metadata helps nobody here, and is remembered for ever by Python, text by text.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(data: bytes, pixels: int) -> NDArray[np.uint8]:
    """Decode one still image.

    EXIF rotation is applied. Transparent pixels are laid over white, which is what people see of them on nearly every page. 16-bit
    gray keeps its upper 8 bits, as viewers show it.

    Args:
        data: a whole JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000 file.
        pixels: most pixels, checked on the header before anything is decoded.

    Returns:
        (height, width, 3) RGB.

    Raises:
        UndecodableImage: the bytes are not one whole still image; the detail says why.
        MediaTooLarge: the header declares more pixels.
    """
    if not data:
        raise UndecodableImage("the image is empty: 0 bytes")
    try:
        with _open(io.BytesIO(data), formats=_FORMATS) as image:
            _check(image, pixels)
            image.load()
            turned = _turn(image)
            return np.asarray(_rgb(turned))
    except UnidentifiedImageError as error:
        raise UndecodableImage(f"the {len(data):,} bytes are no image of a known kind (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF)") from error
    except _BROKEN as error:
        raise _broken(data, error) from error


def _check(image: Image.Image, pixels: int) -> None:
    width, height = image.size
    if width * height > pixels:
        raise MediaTooLarge(f"the image has {width:,} x {height:,} pixels where {pixels:,} in all are allowed: send a smaller one")
    # Many phones' JPEGs carry a second picture (MPO), for depth or brightness: the first one is the photograph.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        kind = "has several pages" if image.format == "TIFF" else "is animated"
        raise UndecodableImage(f"the {image.format} {kind}; one still image is wanted: send each frame as an item of its own")


def _turn(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; Pillow has done so already to a TIFF."""
    exif = image.info.get("exif")
    turn = _TURNS.get(_orientation(exif)) if isinstance(exif, bytes) and image.format != "TIFF" else None
    return image if turn is None else image.transpose(turn)


def _orientation(exif: bytes) -> int:
    """Read one tag of the first directory; 1 where there is none. Pillow's reader warns of every other tag that is odd."""
    body = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(f"{order}I", body, 4)
        (entries,) = struct.unpack_from(f"{order}H", body, start)
        for place in range(start + 2, start + 2 + 12 * entries, 12):
            tag, _type, _count, value = struct.unpack_from(f"{order}HHIH", body, place)
            if tag == _ORIENTATION:
                return int(value)
    except struct.error:
        pass  # cut off: browsers show such an image unturned
    return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        samples = np.asarray(image)
        return Image.fromarray((samples >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UndecodableImage(f"the image has 32-bit samples (mode {image.mode}), which no screen shows: send 8 or 16 bits a channel")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _broken(data: bytes, error: Exception) -> UndecodableImage:
    if "truncated" in str(error).lower():
        return UndecodableImage(f"the image is cut off after {len(data):,} bytes: send the whole file")
    return UndecodableImage(f"the image of {len(data):,} bytes is broken: {str(error) or type(error).__name__}")
