"""Draws drafts on pictures: boxes with their label and confidence, and a contact sheet of them all."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image, ImageDraw, ImageFont, ImageOps

Rectangle: TypeAlias = tuple[float, float, float, float]
Color: TypeAlias = tuple[int, int, int]

_LEAST_EDGE, _MOST_EDGE = 800, 1920  # of the longer side: text is readable, files stay small
_THUMBNAIL, _COLUMNS, _GAP, _MOST_PICTURES = 480, 3, 16, 24
_PALETTE: tuple[Color, ...] = (
    (230, 25, 75),
    (60, 180, 75),
    (255, 200, 25),
    (30, 110, 230),
    (245, 130, 48),
    (145, 60, 200),
    (40, 200, 220),
    (240, 50, 200),
    (170, 220, 40),
    (250, 130, 160),
    (0, 150, 130),
    (170, 110, 40),
)


def read_picture(path: Path) -> Image.Image:
    """Return a picture as Candor sees it: after EXIF rotation, in color, its first frame.

    Raises:
        OSError: it can't be read.
    """
    with Image.open(path) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB")


def annotate(picture: Image.Image, draft: Mapping[str, Any]) -> Image.Image:
    """Return the picture, brought to a size for reading, with the boxes of a detection draft."""
    width, height = draft["image_size"]
    scale = _scale(width, height)
    canvas = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(canvas)
    size = max(14.0, max(canvas.size) / 55)
    font = ImageFont.load_default(size)
    labels = draft["labels"]
    for label in reversed(labels):  # the likeliest last, on top
        draw.rectangle(_scaled(label["xyxy"], scale, canvas.size), outline=color_of(label["label"]), width=max(2, round(size / 6)))
    taken: list[Rectangle] = []
    for label in labels:
        text = label["label"] if label["confidence"] is None else f"{label['label']} {label['confidence']:.2f}"
        color = color_of(label["label"])
        place = _tag_place(_text_size(draw, font, text), _scaled(label["xyxy"], scale, canvas.size), canvas.size, taken)
        taken.append(place)
        draw.rectangle(place, fill=color)
        draw.text(((place[0] + place[2]) / 2, (place[1] + place[3]) / 2), text, font=font, fill=_ink(color), anchor="mm")
    return canvas


def contact_sheet(pictures: Sequence[tuple[Image.Image, str]]) -> Image.Image:
    """Return one picture of many, each with its caption; the first two dozen where there are more."""
    some = pictures[:_MOST_PICTURES]
    columns = min(_COLUMNS, len(some))
    font = ImageFont.load_default(17)
    cell, caption = _THUMBNAIL + _GAP, 28
    rows = math.ceil(len(some) / columns)
    sheet = Image.new("RGB", (columns * cell + _GAP, rows * (cell + caption) + _GAP), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    for index, (picture, text) in enumerate(some):
        left, top = _GAP + index % columns * cell, _GAP + index // columns * (cell + caption)
        small = ImageOps.contain(picture, (_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
        sheet.paste(small, (left + (_THUMBNAIL - small.width) // 2, top + (_THUMBNAIL - small.height) // 2))
        draw.text((left + _THUMBNAIL / 2, top + _THUMBNAIL + 4), _fitting(draw, font, text), font=font, fill=(30, 30, 30), anchor="ma")
    return sheet


def color_of(label: str) -> Color:
    """Return a label's color, the same in every picture."""
    return _PALETTE[zlib.crc32(label.encode()) % len(_PALETTE)]


def _scale(width: int, height: int) -> float:
    longer = max(width, height)
    return min(max(longer, _LEAST_EDGE), _MOST_EDGE) / longer


def _scaled(xyxy: Sequence[float], scale: float, size: tuple[int, int]) -> Rectangle:
    """Return a box on the canvas, within it and not inside out."""
    right, bottom = size[0] - 1, size[1] - 1
    x1, x2 = sorted(min(max(x * scale, 0), right) for x in (xyxy[0], xyxy[2]))
    y1, y2 = sorted(min(max(y * scale, 0), bottom) for y in (xyxy[1], xyxy[3]))
    return x1, y1, x2, y2


def _text_size(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str) -> tuple[float, float]:
    """Return a tag's width and height: the text's with a margin."""
    left, _, right, _ = draw.textbbox((0, 0), text, font=font)
    _, top, _, bottom = draw.textbbox((0, 0), "Ág", font=font)
    margin = (bottom - top) / 3
    return right - left + 2 * margin, bottom - top + margin


def _tag_place(tag: tuple[float, float], box: Rectangle, canvas: tuple[int, int], taken: Sequence[Rectangle]) -> Rectangle:
    """Find a place for a tag: above its box, else inside at the top, below, inside at the bottom, else where nothing covers it."""
    width, height = tag
    left = max(0.0, min(box[0], canvas[0] - 1 - width))
    tops = [box[1] - height, box[1], box[3], box[3] - height]
    tops += [box[1] + height * step for step in range(1, 12)]
    fitting = [(left, top, left + width, top + height) for top in tops if top >= 0 and top + height <= canvas[1] - 1]
    free = [place for place in fitting if not any(_overlap(place, other) for other in taken)]
    fallback = (left, 0.0, left + width, height)
    return (free or fitting or [fallback])[0]


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ink(color: Color) -> Color:
    """Return black or white, whichever is read better on the color."""
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def _fitting(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str) -> str:
    """Cut a caption to the width of its picture."""
    if draw.textlength(text, font=font) <= _THUMBNAIL:
        return text
    while text and draw.textlength(f"{text}…", font=font) > _THUMBNAIL:
        text = text[:-1]
    return f"{text}…"
