"""COCO: one JSON file of images, categories and annotations. A confidence is an annotation's `score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

from client.exports.labelled import Labelled
from client.exports.spools import Spool


class Coco:
    """Writes images as they come; boxes wait on the disk until all labels are known, so that ids follow from the labels alone."""

    def __init__(self, file: IO[str], near: Path | None) -> None:
        self._file = file
        self._boxes = Spool(near)
        self._labels = set[str]()
        self._images = 0
        told = "Labels from Candor. `score` is a calibrated confidence; it is absent where there is none"
        file.write(f'{{"info": {json.dumps({"description": told})}, "licenses": [],\n"images": [')

    def add(self, one: Labelled) -> None:
        """Take an image."""
        self._images += 1
        width, height = one.size or (0, 0)
        image = {"id": self._images, "file_name": one.item, "width": width, "height": height, "candor": one.provenance}
        self._file.write(f"{',' if self._images > 1 else ''}\n{_json(image)}")
        for label in one.labels:
            if label.xyxy is not None:
                self._labels.add(label.name)
                self._boxes.add([self._images, label.name, label.xyxy, label.confidence])

    def end(self) -> None:
        """Write what waited."""
        ids = {label: number for number, label in enumerate(sorted(self._labels), 1)}
        categories = [{"id": number, "name": label, "supercategory": ""} for label, number in ids.items()]
        self._file.write(f'\n],\n"categories": {_json(categories)},\n"annotations": [')
        for number, (image, label, xyxy, confidence) in enumerate(self._boxes, 1):
            made = {"id": number, "image_id": image, "category_id": ids[label], **_sizes(xyxy), "iscrowd": 0}
            made |= {} if confidence is None else {"score": confidence}
            self._file.write(f"{',' if number > 1 else ''}\n{_json(made)}")
        self._file.write("\n]}\n")

    def close(self) -> None:
        """Forget what waits."""
        self._boxes.close()


def _sizes(xyxy: list[float]) -> dict[str, Any]:
    left, top, right, bottom = xyxy
    width, height = round(right - left, 6), round(bottom - top, 6)
    return {"bbox": [left, top, width, height], "area": round(width * height, 6)}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
