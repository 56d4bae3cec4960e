"""Gold items as they come: JSON, JSON lines, CSV, or COCO. A wrong item fails alone; the others are gold."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

from pydantic_core import from_json

from candor.errors import InvalidRequest

Form: TypeAlias = Literal["json", "jsonl", "csv", "coco"]
FORMS: tuple[Form, ...] = get_args(Form)
Truth: TypeAlias = dict[str, Any]
_KINDS = ("label", "boxes", "text")
_CORNERS = ("x1", "y1", "x2", "y2")
_TYPES: Mapping[str, Form] = {
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/jsonlines": "jsonl",
    "text/csv": "csv",
}
_ITEM = 512  # characters of an item's name
_TEXT = 1_000_000


@dataclass(slots=True)
class GoldFile:
    """The truths of a file by item, and what is wrong with the others."""

    truths: dict[str, Truth] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def add(self, item: object, read: Callable[[], Truth], where: str) -> None:
        """Take an item in, or remember what is wrong with it."""
        name = item if isinstance(item, str) and 0 < len(item) <= _ITEM and "\0" not in item else where
        try:
            if name is where and item != where:
                raise InvalidRequest(f"an item is a text of 1 to {_ITEM} characters, none of them U+0000")
            truth = read()
            if self.truths.get(name, truth) != truth:
                raise InvalidRequest("the item is there twice, with different truths")
            if name not in self.errors:
                self.truths[name] = truth
        except InvalidRequest as error:
            self.truths.pop(name, None)
            self.errors[name] = error.detail


def form_of(content_type: str, asked: str | None) -> Form:
    """Return the form of a body: as asked for, else by its content type; `json` where neither says.

    Raises:
        InvalidRequest: another content type.
    """
    if asked is not None:
        if asked not in FORMS:
            raise InvalidRequest(f"format {asked[:40]!r}: the formats are {', '.join(FORMS)}")
        return asked
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _TYPES:
        return _TYPES[kind]
    if kind in ("", "application/json") or kind.endswith("+json"):
        return "json"
    raise InvalidRequest(f"content type {kind[:80]!r}: send application/json, application/x-ndjson or text/csv; `format` says which it is")


def read_gold(body: bytes, form: Form) -> GoldFile:
    """Return what a file holds. JSON with `images` is taken for COCO.

    Raises:
        InvalidRequest: it is not of the form at all.
    """
    if form == "csv":
        return _csv(body)
    if form == "jsonl":
        return _json_items(_lines(body), "line")
    value = _parsed(body)
    if isinstance(value, dict) and (form == "coco" or "images" in value):
        return _coco(value)
    if not isinstance(value, dict) or not isinstance(value.get("items"), list):
        raise InvalidRequest('send {"items": [{"item": "…", "truth": {…}}, …]}, or a COCO file')
    return _json_items(enumerate(value["items"]), "items")


def truth(value: object) -> Truth:
    """Return a truth in its plain form: exactly one of `label`, `boxes` and `text`.

    Raises:
        InvalidRequest: it is none.
    """
    if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in _KINDS:
        raise InvalidRequest("a truth is an object with exactly one of label, boxes and text")
    ((kind, said),) = value.items()
    if kind == "boxes":
        if not isinstance(said, list):
            raise InvalidRequest("boxes are a list")
        return {"boxes": [_box(box) for box in said]}
    if not ((isinstance(said, str) and len(said) <= _TEXT) or (said is None and kind == "label")):
        raise InvalidRequest(f"{kind} is a text" + (", or null where no label is right" if kind == "label" else ""))
    return {kind: said}


def _box(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not isinstance(value.get("label"), str):
        raise InvalidRequest("a box has a label and xyxy")
    if value.get("crowd"):
        raise InvalidRequest("a region of many objects can't be gold: nobody could say which boxes are missing")
    corners = value.get("xyxy")
    if not isinstance(corners, list) or len(corners) != 4 or any(isinstance(x, bool) or not isinstance(x, int | float) for x in corners):
        raise InvalidRequest("xyxy is four numbers: left, top, right and bottom in pixels")
    return {"label": value["label"], "xyxy": [float(x) for x in corners]}


def _json_items(items: Iterable[tuple[int, Any]], what: str) -> GoldFile:
    found = GoldFile()
    for position, value in items:
        where = f"{what}[{position}]"
        if not isinstance(value, Mapping) or set(value) != {"item", "truth"}:
            found.errors[where] = "an entry is an object with item and truth"
            continue
        found.add(value["item"], partial(truth, value["truth"]), where)
    return found


def _lines(body: bytes) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            yield number, _parsed(line, f"line {number}: ")


def _parsed(body: bytes, where: str = "") -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"{where}not JSON: {error}") from error


def _csv(body: bytes) -> GoldFile:
    try:
        rows = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        names = {name.strip() for name in rows.fieldnames or ()}
        listed = [(rows.line_num, {str(key).strip(): value for key, value in row.items()}) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"not CSV in UTF-8: {error}") from error
    if names in ({"item", "text"}, {"item", "label"}):
        kind = "text" if "text" in names else "label"
        found = GoldFile()
        for number, row in listed:
            said = row[kind]
            found.add(row["item"], partial(truth, {kind: said if kind == "text" else said or None}), f"line[{number}]")
        return found
    if names == {"item", "label", *_CORNERS}:
        return _csv_boxes(listed)
    raise InvalidRequest(f"the columns are item and label, item and text, or item, label, {', '.join(_CORNERS)}; one line for each box")


def _csv_boxes(rows: list[tuple[int, dict[str, Any]]]) -> GoldFile:
    """A line is a box; an item whose one line has no label has no objects."""
    boxes: dict[str, list[dict[str, str]]] = {}
    for number, row in rows:
        boxes.setdefault(row["item"] or f"line[{number}]", []).append(row)
    found = GoldFile()
    for item, lines in boxes.items():
        found.add(item, partial(_boxes_of, lines), item[:_ITEM])
    return found


def _boxes_of(lines: list[dict[str, str]]) -> Truth:
    if len(lines) == 1 and not any(lines[0][name] for name in ("label", *_CORNERS)):
        return {"boxes": []}
    try:
        corners = [[float(line[name]) for name in _CORNERS] for line in lines]
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{', '.join(_CORNERS)} are numbers of pixels") from error
    return truth({"boxes": [{"label": line["label"], "xyxy": xyxy} for line, xyxy in zip(lines, corners, strict=True)]})


def _coco(value: Mapping[str, Any]) -> GoldFile:
    """Items are the images' file names; an image without annotations has no objects."""
    try:
        names = {one["id"]: str(one["name"]) for one in value["categories"]}
        boxes: dict[Any, list[Mapping[str, Any]]] = {}
        for one in value["annotations"]:
            boxes.setdefault(one["image_id"], []).append(one)
        images = [(one["id"], one["file_name"]) for one in value["images"]]
    except (KeyError, TypeError) as error:
        raise InvalidRequest(f"not a COCO file with images, annotations and categories: {error!r}") from error
    found = GoldFile()
    for image, name in images:
        found.add(name, partial(_coco_truth, boxes.get(image, []), names), f"image[{image}]")
    return found


def _coco_truth(annotations: list[Mapping[str, Any]], names: Mapping[Any, str]) -> Truth:
    made = []
    for one in annotations:
        try:
            left, top, width, height = (float(x) for x in one["bbox"])
            label = names[one["category_id"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(f"an annotation needs bbox, four numbers, and the category_id of a category: {error!r}") from error
        made.append({"label": label, "xyxy": [left, top, left + width, top + height], "crowd": bool(one.get("iscrowd"))})
    return truth({"boxes": made})
