"""Boxes of one image against others: overlap, matching one to one, and how far two people's boxes agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from candor.errors import InvalidRequest
from candor.predictions import Floats
from review.agreement import Agreement, alpha_of_distance, kappa, table_of

IOU = 0.5  # from here on two boxes are of one object, as in the correctness rule
MISSING = "(missing)"


@dataclass(frozen=True, slots=True)
class Box:
    """One labelled box, in pixels."""

    label: str
    xyxy: tuple[float, float, float, float]


def boxes_of(regions: Sequence[Mapping[str, Any]]) -> tuple[Box, ...]:
    """Read boxes from JSON values with `label` and `xyxy`.

    Raises:
        InvalidRequest: a region lacks one of both, or its corners are not four finite numbers in order.
    """
    try:
        found = tuple(Box(str(one["label"]), tuple(float(x) for x in one["xyxy"])) for one in regions)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"a region needs a label and xyxy, four numbers: {error!r}") from error
    for box in found:
        if len(box.xyxy) != 4 or not np.isfinite(box.xyxy).all() or box.xyxy[0] > box.xyxy[2] or box.xyxy[1] > box.xyxy[3]:
            raise InvalidRequest(f"xyxy is left, top, right and bottom in pixels, not {box.xyxy}")
    return found


def overlaps(first: Sequence[Box], second: Sequence[Box]) -> Floats:
    """Return intersection over union (n, m); 0 where a union is empty."""
    a, b = (np.array([box.xyxy for box in some], np.float64).reshape(-1, 4) for some in (first, second))
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.clip(corner, 0, None).prod(axis=2)
    own, other = ((c[:, 2:] - c[:, :2]).prod(axis=1) for c in (a, b))
    union = own[:, None] + other[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def match(first: Sequence[Box], second: Sequence[Box], *, same_class: bool = False, iou: float = IOU) -> list[tuple[int, int, float]]:
    """Return pairs (position, position, IoU) one to one: as many of one class as can be, then as many as can be, then the greatest IoU.

    Only boxes that overlap by `iou` or more are of one object, and with `same_class` only those of one label.

    Source: Kuhn, "The Hungarian method for the assignment problem" (1955), as scipy's linear_sum_assignment solves it.
    """
    if not first or not second:
        return []
    overlap = overlaps(first, second)
    same = np.array([[a.label == b.label for b in second] for a in first])
    allowed = (overlap >= iou) & (same | (not same_class))
    many = min(len(first), len(second)) + 1.0  # more than all overlaps together
    gain = np.where(allowed, overlap + many + many * many * same, 0.0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return [(int(i), int(j), float(overlap[i, j])) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]


@dataclass(frozen=True, slots=True)
class BoxAgreement:
    """How far two people agree on the boxes of the same images.

    `f1` is 2 m / (a + b) with m pairs of one class at IoU 0.5 or more; `mean_iou` that of the pairs. `classes` is the kappa of the
    labels of matched boxes whatever their class, a box that only one of both has being labelled MISSING by the other.
    """

    images: int
    first: int
    second: int
    matched: int
    f1: float | None
    mean_iou: float | None
    classes: Agreement | None


def box_agreement(images: Sequence[tuple[Sequence[Box], Sequence[Box]]]) -> BoxAgreement:
    """Compare two people's boxes, image by image. Empty images agree, but say nothing: they count as images alone.

    Source of the F1: Hripcsak and Rothschild, "Agreement, the F-measure, and reliability in information retrieval" (JAMIA, 2005).
    """
    pairs, ious = Counter[tuple[str, str]](), list[float]()
    a = b = 0
    for first, second in images:
        a, b = a + len(first), b + len(second)
        ious += [overlap for _, _, overlap in match(first, second, same_class=True)]
        met = match(first, second)
        pairs.update((first[i].label, second[j].label) for i, j, _ in met)
        pairs.update((box.label, MISSING) for i, box in enumerate(first) if i not in {i for i, _, _ in met})
        pairs.update((MISSING, box.label) for j, box in enumerate(second) if j not in {j for _, j, _ in met})
    labels = list(pairs.elements())
    classes = kappa(table_of([one for one, _ in labels], [one for _, one in labels])) if labels else None
    total, matched = a + b, len(ious)
    return BoxAgreement(len(images), a, b, matched, 2 * matched / total if total else None, float(np.mean(ious)) if ious else None, classes)


def box_alpha(images: Sequence[Sequence[Sequence[Box]]]) -> float | None:
    """Return Krippendorff's alpha of many people's boxes: `images` hold each person's boxes; None where it is undefined.

    The units are objects: each person's boxes are gathered, in turn, with those already there (IoU 0.5 or more, any class). The distance
    of two boxes is 1 - IoU, and 1 where their classes differ or one of both is missing. Chance is any two labels of all units.

    Source of the distance: Braylan, Alonso and Lease, "Measuring annotator agreement generally" (WWW, 2022).
    """
    units: list[list[Box | None]] = []
    for people in images:
        objects: list[list[Box | None]] = []
        for person, boxes in enumerate(people):
            seen = [next(box for box in unit if box is not None) for unit in objects]
            met = {j: i for i, j, _ in match(seen, boxes)}
            for j, box in enumerate(boxes):
                if j not in met:
                    objects.append([None] * person)
                objects[met.get(j, -1)].append(box)
            for unit in objects:
                unit.extend([None] * (person + 1 - len(unit)))
        units += objects
    return alpha_of_distance(units, _distance)


def _distance(first: Box | None, second: Box | None) -> float:
    if first is None or second is None:
        return 0.0 if first is second else 1.0
    return 1.0 if first.label != second.label else 1 - float(overlaps([first], [second])[0, 0])
