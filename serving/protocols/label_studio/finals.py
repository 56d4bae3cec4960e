"""What a person left of a task in Label Studio, as the final label of a Candor review: pixels, the project's own labels, plain text.

Label Studio measures in percent of the image as it is shown, so after EXIF rotation, as drafts do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import cos, radians, sin
from typing import Any

from candor.errors import InvalidRequest
from serving.protocols.label_studio.config import Layout

Region = Mapping[str, Any]
Size = tuple[float, float]
_PERCENT = 100.0


@dataclass(slots=True)
class Final:
    """A final label, and what of the annotation it can't hold, in words for the log."""

    label: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def final_of(
    result: Sequence[Region],
    layout: Layout,
    names: Mapping[str, str],
    *,
    size: Size | None = None,
    drafted: str | None = None,
) -> Final:
    """Return the final label of an annotation. `names` are the project's labels by those of the config; others stay as they are.

    `size` is the image's in pixels, where a draft knows it; `drafted` the label of an image's draft, which counts where several are
    ticked and it is among them, since a review has one.

    Raises:
        InvalidRequest: a region is not as Label Studio writes it, or nothing says how large the image is.
    """
    try:
        if layout.task == "detection":
            return _boxes(result, layout, names, size)
        if layout.task == "classification":
            return _choice(result, layout, names, drafted)
        return Final({"text": _text(result, layout)})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRequest(f"the annotation has a region that is not as Label Studio writes it: {error!r}") from error


def _of(result: Sequence[Region], name: str) -> list[Region]:
    return [region for region in result if region.get("from_name") == name]


def _boxes(result: Sequence[Region], layout: Layout, names: Mapping[str, str], size: Size | None) -> Final:
    final = Final({"boxes": []})
    for region in _of(result, layout.control.name):
        value = region["value"]
        labels = value.get(layout.control.result_type) or []
        wide, high = size or _own_size(region)
        if not labels:
            final.notes.append(f"{region['id']}: a box without a label is left out")
            continue
        if value.get("rotation"):
            final.notes.append(f"{region['id']}: a box that is turned counts as the upright one around it")
        xyxy = _corners(value, wide, high)
        if xyxy[0] >= xyxy[2] or xyxy[1] >= xyxy[3]:
            final.notes.append(f"{region['id']}: a box without an area is left out")
            continue
        final.label["boxes"].append({"label": names.get(str(labels[0]), str(labels[0])), "xyxy": xyxy})
    return final


def _own_size(region: Region) -> Size:
    wide, high = region.get("original_width"), region.get("original_height")
    if not wide or not high:
        raise InvalidRequest("nothing says how large the image is: the region has no original_width and original_height")
    return float(wide), float(high)


def _corners(value: Mapping[str, Any], wide: float, high: float) -> list[float]:
    """Return a box in pixels, within the image. A turned one, which turns about its corner, is the least upright box around it."""
    left, top = float(value["x"]) * wide / _PERCENT, float(value["y"]) * high / _PERCENT
    width, height = float(value["width"]) * wide / _PERCENT, float(value["height"]) * high / _PERCENT
    turn = radians(float(value.get("rotation") or 0.0))
    along, across = (width * cos(turn), width * sin(turn)), (-height * sin(turn), height * cos(turn))
    xs = [left, left + along[0], left + across[0], left + along[0] + across[0]]
    ys = [top, top + along[1], top + across[1], top + along[1] + across[1]]
    sides = (min(xs), wide), (min(ys), high), (max(xs), wide), (max(ys), high)
    return [round(min(max(side, 0.0), most), 3) for side, most in sides]


def _choice(result: Sequence[Region], layout: Layout, names: Mapping[str, str], drafted: str | None) -> Final:
    told = [str(choice) for region in _of(result, layout.control.name) for choice in region["value"].get("choices") or []]
    chosen = [names.get(choice, choice) for choice in told]
    if not chosen:
        return Final({"label": None})
    if len(chosen) == 1:
        return Final({"label": chosen[0]})
    one = drafted if drafted in chosen else chosen[0]
    return Final({"label": one}, [f"of {len(chosen)} choices {one!r} counts: a review has one label"])


def _text(result: Sequence[Region], layout: Layout) -> str:
    control = layout.text_control
    regions = _of(result, (control or layout.control).name)
    if control is not None:
        regions = sorted(regions, key=lambda region: (float(region["value"]["start"]), float(region["value"]["end"])))
    texts = [_joined(region["value"].get("text")) for region in regions]
    return " ".join(text for text in texts if text)


def _joined(text: Any) -> str:
    """Return the text of one region: a list where the annotator may enter several."""
    if isinstance(text, str):
        return text.strip()
    return " ".join(str(one).strip() for one in text or [] if str(one).strip())
