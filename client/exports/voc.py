"""Pascal VOC: an XML file for each image under `Annotations/`. A confidence is an element of its own, which readers pass over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from client.exports.labelled import Label, Labelled, Unfit
from client.exports.places import Places, write
from client.exports.xml import number, text


class Voc:
    """Boxes are pixels from 0, with fractions, as CVAT writes and reads them; the contest of 2007 counted whole ones from 1."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.places = Places(".xml")

    def add(self, one: Labelled) -> None:
        """Write an image's file.

        Raises:
            Unfit: its size is not known.
        """
        if one.size is None:
            raise Unfit("of unknown size")
        write(self._folder, PurePosixPath("Annotations", self.places.of(one.item)), "\n".join(_lines(one, one.size)) + "\n")

    def end(self) -> None:
        """Leave a folder, also without items."""
        (self._folder / "Annotations").mkdir(exist_ok=True)

    def close(self) -> None:
        """Hold nothing."""


def _lines(one: Labelled, size: tuple[int, int]) -> Iterator[str]:
    yield "<annotation>"
    yield f"  <folder>{text(PurePosixPath(one.item).parent.name)}</folder>"
    yield f"  <filename>{text(one.item)}</filename>"
    yield "  <source><database>Candor</database></source>"
    yield f"  <size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    yield "  <segmented>0</segmented>"
    for label in one.labels:
        if label.xyxy is not None:
            yield from _object(label, label.xyxy)
    yield "</annotation>"


def _object(label: Label, xyxy: tuple[float, float, float, float]) -> Iterator[str]:
    yield "  <object>"
    yield f"    <name>{text(label.name)}</name>"
    yield "    <pose>Unspecified</pose><truncated>0</truncated><occluded>0</occluded><difficult>0</difficult>"
    corners = zip(("xmin", "ymin", "xmax", "ymax"), xyxy, strict=True)
    yield f"    <bndbox>{''.join(f'<{side}>{number(value)}</{side}>' for side, value in corners)}</bndbox>"
    if label.confidence is not None:
        yield f"    <confidence>{number(label.confidence)}</confidence>"
    yield "  </object>"
