"""YOLO: a text file of boxes for each image under `labels/`, as shares of its size, and `data.yaml` with the names of the classes.

Training takes five columns and no sixth. With `scores`, a line has the confidence as its sixth, as `yolo predict save_conf=True` writes it.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from client.exports.labelled import Labelled, Unfit
from client.exports.places import Places, write
from client.exports.spools import Spool


class Yolo:
    """Boxes wait on the disk until all labels are known, so that the numbers of classes follow from the labels alone."""

    def __init__(self, folder: Path, *, scores: bool) -> None:
        self._folder = folder
        self._scores = scores
        self.places = Places(".txt")
        self._waiting = Spool(folder)
        self._labels = set[str]()

    def add(self, one: Labelled) -> None:
        """Take an image; one without labels has an empty file.

        Raises:
            Unfit: its size is not known.
        """
        if one.size is None or min(one.size) <= 0:
            raise Unfit("of unknown size")
        boxes = [(label.name, _shares(label.xyxy, one.size), label.confidence) for label in one.labels if label.xyxy is not None]
        self._labels.update(name for name, _, _ in boxes)
        self._waiting.add([self.places.of(one.item).as_posix(), boxes])

    def end(self) -> None:
        """Write all files."""
        names = sorted(self._labels)
        ids = {name: number for number, name in enumerate(names)}
        for path, boxes in self._waiting:
            lines = "".join(self._line(ids[name], shares, confidence) for name, shares, confidence in boxes)
            write(self._folder, PurePosixPath("labels", path), lines)
        listed = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(names))
        head = "# Put the images under images/, as the labels lie under labels/\ntrain: images\nval: images\n"
        write(self._folder, PurePosixPath("data.yaml"), f"{head}names:{f'{chr(10)}{listed}' if names else ' {}' + chr(10)}")
        write(self._folder, PurePosixPath("classes.txt"), "".join(f"{' '.join(name.split())}\n" for name in names))

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.close()

    def _line(self, number: int, shares: list[float], confidence: float | None) -> str:
        last = f" {confidence:.6f}" if self._scores and confidence is not None else ""
        return f"{number} {' '.join(f'{share:.8f}' for share in shares)}{last}\n"


def _shares(xyxy: tuple[float, float, float, float], size: tuple[int, int]) -> list[float]:
    """Return centre and size as shares of the image, cut at its border: a training refuses an image with a box that leaves it."""
    width, height = size
    left, right = (min(max(x / width, 0.0), 1.0) for x in xyxy[::2])
    top, bottom = (min(max(y / height, 0.0), 1.0) for y in xyxy[1::2])
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
