from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from scripts.demo.pictures import annotate, color_of, contact_sheet, read_picture
from tests.unit.scripts.drafts import boxes, drafted


def changed(picture: Image.Image, box: tuple[int, int, int, int] | None = None) -> tuple[int, int, int, int] | None:
    """Return the least box around all pixels that are not white any more, within a box."""
    part = picture.crop(box) if box else picture
    return ImageChops.difference(part, Image.new("RGB", part.size, "white")).getbbox()


def test_a_box_is_drawn_on_its_edge_and_its_inside_is_left() -> None:
    entry = drafted("detection", boxes((1000, 800), (200.0, 300.0, 700.0, 600.0)), [0.87]).entry
    picture = annotate(Image.new("RGB", (1000, 800), "white"), entry)
    assert picture.size == (1000, 800)
    assert {picture.getpixel(edge) for edge in ((200, 450), (700, 450), (450, 300), (450, 600))} == {color_of("cat")}
    assert changed(picture, (210, 310, 690, 590)) is None
    left, top, right, bottom = changed(picture) or (0, 0, 0, 0)
    assert (left, right, bottom) == (200, 701, 601)
    assert 260 < top < 300  # the tag stands above


def test_the_tag_says_label_and_confidence() -> None:
    entry = drafted("detection", boxes((1000, 800), (200.0, 300.0, 700.0, 600.0)), [0.87]).entry
    white = Image.new("RGB", (1000, 800), "white")
    with_number = annotate(white, entry)
    entry["labels"][0]["confidence"] = None
    without = annotate(white, entry)
    colors = [color for _, color in with_number.crop((202, 280, 260, 298)).getcolors() or []]
    assert color_of("cat") in colors
    assert len(colors) > 2  # letters on their ground
    assert ImageChops.difference(with_number, without).getbbox() is not None


@pytest.mark.parametrize("size", [(32, 24), (640, 480), (6000, 4000), (3000, 20)])
def test_any_size_is_brought_to_one_for_reading(size: tuple[int, int]) -> None:
    width, height = size
    entry = drafted("detection", boxes(size, (0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height)), [0.5]).entry
    picture = annotate(Image.new("RGB", size, "white"), entry)
    assert 800 <= max(picture.size) <= 1920
    assert abs(picture.width / picture.height / (width / height) - 1) < 0.1
    assert picture.getpixel((picture.width // 4, picture.height // 2)) == color_of("cat")


COORDINATE = st.floats(-50, 150)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), max_size=12))
def test_boxes_that_are_odd_or_outside_are_drawn_somehow(odd: list[tuple[float, float, float, float]]) -> None:
    entry = drafted("detection", boxes((100, 90), *odd)).entry
    picture = annotate(Image.new("RGB", (100, 90), "white"), entry)
    assert (changed(picture) is None) == (not odd)


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("L", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    picture = read_picture(tmp_path / "turned.jpg")
    assert (picture.size, picture.mode) == ((20, 40), "RGB")


def test_a_contact_sheet_holds_every_picture() -> None:
    red, blue = Image.new("RGB", (50, 10), (255, 0, 0)), Image.new("RGB", (10, 90), (0, 0, 255))
    sheet = contact_sheet([(red, "red " * 60), (blue, "blue"), (red, "red"), (blue, "blue")])
    colors = {color for _, color in sheet.getcolors(sheet.width * sheet.height) or []}
    assert {(255, 0, 0), (0, 0, 255)} <= colors
    assert sheet.getpixel((sheet.width - 1, sheet.height // 4)) == (250, 250, 250)  # the long caption was cut
