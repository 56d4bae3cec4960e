"""Images are decoded the right way up, or refused with the reason."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from candor.errors import MediaTooLarge, UndecodableImage
from models.images import decode

LIMIT = 50_000_000
WIDTH, HEIGHT = 40, 24
# `models.images` silences Pillow's remarks on odd metadata for the process; pytest puts its own filters before that.
ODD = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.")


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def quarters(mode: str = "RGB") -> Image.Image:
    """Red, green, blue and white quarters."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    half, middle = HEIGHT // 2, WIDTH // 2
    pixels[:half, :middle] = (255, 0, 0)
    pixels[:half, middle:] = (0, 255, 0)
    pixels[half:, :middle] = (0, 0, 255)
    pixels[half:, middle:] = (255, 255, 255)
    return Image.fromarray(pixels).convert(mode)


def corners(pixels: NDArray[np.uint8]) -> str:
    """Name the colors of the four corners, reading order."""
    names = {(True, False, False): "r", (False, True, False): "g", (False, False, True): "b", (True, True, True): "w"}
    return "".join(names[tuple((pixels[y, x] > 127).tolist())] for y in (2, -3) for x in (2, -3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_each_kind_is_decoded_to_rgb(kind: str) -> None:
    pixels = decode(encoded(quarters(), kind), LIMIT)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels.dtype == np.uint8
    assert corners(pixels) == "rgbw"


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "YCbCr", "RGBA", "LA"])
def test_each_mode_is_decoded_to_rgb(mode: str) -> None:
    kind = {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG")
    pixels = decode(encoded(quarters(mode), kind), LIMIT)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels[-3, -3].tolist() == [255, 255, 255]
    if mode not in ("L", "1", "LA"):
        assert corners(pixels) == "rgbw"


@pytest.mark.parametrize(
    ("orientation", "seen"), [(1, "rgbw"), (2, "grwb"), (3, "wbgr"), (4, "bwrg"), (5, "rbgw"), (6, "brwg"), (7, "wgbr"), (8, "gwrb")]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_exif_orientation_is_applied(kind: str, orientation: int, seen: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(quarters(), kind, exif=exif), LIMIT)
    assert pixels.shape[:2] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))
    assert corners(pixels) == seen


@ODD
@pytest.mark.parametrize(
    "exif", [b"", b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x09", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"??"]
)
def test_broken_exif_is_no_reason_to_refuse_an_image(exif: bytes) -> None:
    assert corners(decode(encoded(quarters(), "JPEG", exif=exif), LIMIT)) == "rgbw"


def test_transparent_pixels_are_laid_over_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert decode(encoded(image, "PNG"), LIMIT).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_a_palette_with_a_transparent_color_is_laid_over_white() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 0, 0])
    image.putpixel((1, 0), 1)
    assert decode(encoded(image, "PNG", transparency=1), LIMIT).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert decode(encoded(image, "PNG", transparency=bytes([255, 0])), LIMIT).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_16_bit_gray_keeps_its_upper_bits() -> None:
    samples = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert decode(encoded(Image.fromarray(samples), kind), LIMIT)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("samples", [np.full((4, 4), np.nan, np.float32), np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)])
def test_32_bit_samples_are_refused(samples: NDArray[Any]) -> None:
    with pytest.raises(UndecodableImage, match="32-bit samples"):
        decode(encoded(Image.fromarray(samples), "TIFF"), LIMIT)


def test_a_phones_second_picture_is_left_out() -> None:
    data = encoded(quarters(), "MPO", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))])
    assert corners(decode(data, LIMIT)) == "rgbw"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_several_frames_are_refused(kind: str) -> None:
    data = encoded(quarters(), kind, save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))])
    with pytest.raises(UndecodableImage, match=r"is animated|several pages"):
        decode(data, LIMIT)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"a text", "no image of a known kind"),
        (b"\x00" * 1000, "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableImage, match=reason):
        decode(data, LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_a_truncated_image_is_refused_wherever_it_ends(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    for share in (0.02, 0.1, 0.3, 0.5, 0.9):
        with pytest.raises(UndecodableImage):
            decode(data[: int(len(data) * share)], LIMIT)


def test_a_truncated_image_is_told_after_how_many_bytes() -> None:
    data = encoded(Image.effect_noise((200, 200), 50), "JPEG")
    with pytest.raises(UndecodableImage, match="cut off after 5,000 bytes"):
        decode(data[:5000], LIMIT)


@ODD
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_flipped_bytes_give_pixels_or_a_reason_and_nothing_else(kind: str) -> None:
    rng = np.random.default_rng(1)
    whole = np.frombuffer(encoded(quarters(), kind), np.uint8)
    for _ in range(150):
        data = whole.copy()
        places = rng.integers(0, len(data), 3)
        data[places] = rng.integers(0, 256, 3)
        with contextlib.suppress(UndecodableImage, MediaTooLarge):
            assert decode(data.tobytes(), LIMIT).ndim == 3


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size with next to nothing in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 10_000), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_on_the_header_alone(size: tuple[int, int]) -> None:
    with pytest.raises(MediaTooLarge, match=f"{size[0]:,} x {size[1]:,}"):
        decode(png_header(*size), LIMIT)


def test_the_limit_is_the_callers() -> None:
    data = encoded(quarters(), "PNG")
    assert decode(data, WIDTH * HEIGHT).shape[0] == HEIGHT
    with pytest.raises(MediaTooLarge):
        decode(data, WIDTH * HEIGHT - 1)
