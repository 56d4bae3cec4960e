"""CVAT for images 1.1: one XML file of boxes and tags. CVAT finds an image by its name, which is the item's."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from client.exports.labelled import Label, Labelled
from client.exports.xml import number, quoted


class Cvat:
    """A confidence is the attribute `confidence`: CVAT keeps it where the label has such an attribute, and else passes it over."""

    def __init__(self, file: IO[str], near: Path | None) -> None:
        del near  # nothing waits
        self._file = file
        self._images = 0
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')

    def add(self, one: Labelled) -> None:
        """Write an image."""
        size = "" if one.size is None else f' width="{one.size[0]}" height="{one.size[1]}"'
        self._file.write(f'  <image id="{self._images}" name={quoted(one.item)}{size}>\n')
        self._images += 1
        for label in one.labels:
            self._file.write(_shape(label, "manual" if one.reviewed else "auto"))
        self._file.write("  </image>\n")

    def end(self) -> None:
        """Write the end."""
        self._file.write("</annotations>\n")

    def close(self) -> None:
        """Hold nothing."""


def _shape(label: Label, source: str) -> str:
    if label.xyxy is None:
        kind, place = "tag", ""
    else:
        corners = zip(("xtl", "ytl", "xbr", "ybr"), label.xyxy, strict=True)
        kind, place = "box", ' occluded="0" z_order="0" ' + " ".join(f'{side}="{number(value)}"' for side, value in corners)
    start = f'    <{kind} label={quoted(label.name)} source="{source}"{place}>'
    inner = "" if label.confidence is None else f'<attribute name="confidence">{number(label.confidence)}</attribute>'
    return f"{start}{inner}</{kind}>\n"
