"""Reviewed labels, to train with or to hand on: each with what it comes of. Honeypots are never among them, and gold is marked.

Reviewers stand under a keyed hash of their name: the same person is the same hash in one project, and nobody's name goes into a file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from candor.drafts import Draft
from candor.errors import InvalidRequest
from store import Store
from store.draws import Draws
from store.gold import Gold
from store.outcomes import Outcomes
from store.project_drafts import DraftPage, ProjectDrafts
from store.projects import Projects
from store.reviews import ReviewRow, Reviews

Form: TypeAlias = Literal["jsonl", "coco"]
_AT_ONCE = 400


@dataclass(frozen=True, slots=True)
class Labelled:
    """One reviewed label, with the draft that it was made from."""

    row: ReviewRow
    draft: Draft
    gold: bool
    reviewer: str

    @property
    def provenance(self) -> dict[str, Any]:
        """What the label comes of."""
        return {
            "review": self.row.id,
            "draft": self.row.draft,
            "model_version": self.draft.model_version,
            "calibration": self.draft.calibration,
            "arm": self.row.arm,
            "verdict": self.row.verdict,
            "gold": self.gold,
            "reviewer": self.reviewer,
            "guideline_version": self.row.guideline_version,
            "finished_at": self.row.finished_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Export:
    """The reviews of a project that go into a file, as they were when it was asked for."""

    store: Store
    team: str
    project: str
    ids: tuple[str, ...]
    key: bytes

    async def text(self, form: Form) -> AsyncIterator[str]:
        """Yield the file, a piece at a time."""
        if form == "coco":
            async for piece in self._coco():
                yield piece
            return
        async for some in self._parts():
            yield "".join(_line(_record(one)) for one in some)

    async def _coco(self) -> AsyncIterator[str]:
        labels: dict[str, None] = {}
        yield f'{{"info": {json.dumps(self._info())}, "images": ['
        number = 0
        async for some in self._parts(boxes=True):
            labels |= dict.fromkeys(box["label"] for one in some for box in (one.row.final or {})["boxes"])
            images = [_image(number + place, one) for place, one in enumerate(some, 1)]
            yield _joined(images, first=not number)
            number += len(some)
        categories = {label: place for place, label in enumerate(sorted(labels), 1)}
        listed = [{"id": place, "name": label} for label, place in categories.items()]
        yield f'], "categories": {json.dumps(listed, ensure_ascii=False)}, "annotations": ['
        image = annotation = 0
        async for some in self._parts(boxes=True):
            made = [
                (image + place, box, categories[box["label"]])
                for place, one in enumerate(some, 1)
                for box in (one.row.final or {})["boxes"]
            ]
            yield _joined([_annotation(annotation + place, *one) for place, one in enumerate(made, 1)], first=not annotation)
            image, annotation = image + len(some), annotation + len(made)
        yield "]}\n"

    async def _parts(self, *, boxes: bool = False) -> AsyncIterator[list[Labelled]]:
        reviews, drafts, gold = Reviews(self.store), Outcomes(self.store), Gold(self.store)
        for start in range(0, len(self.ids), _AT_ONCE):
            rows = await reviews.of_ids(self.team, self.project, self.ids[start : start + _AT_ONCE])
            rows = [row for row in rows if row.final is not None and (not boxes or "boxes" in row.final)]
            of_rows = await drafts.drafts([row.draft for row in rows])
            known = await gold.find(self.team, self.project, [row.item for row in rows])
            found = [Labelled(row, of_rows[row.draft], row.item in known, pseudonym(self.key, row.reviewer)) for row in rows]
            if found:
                yield found

    def _info(self) -> dict[str, Any]:
        told = "Reviewed labels with where they come from; honeypots are not among them"
        return {"description": told, "project": self.project, "date_created": datetime.now(UTC).isoformat()}


async def export(store: Store, team: str, project: str, form: Form, *, every: bool = False) -> Export:
    """Return what is to be exported of a project: the newest review of each item, or every one.

    Raises:
        UnknownProject: there is none of that name.
        InvalidRequest: COCO of a project without boxes, or with several labels of one image.
    """
    await Projects(store).get(team, project)
    ids = await Reviews(store).finals(team, project, every=every)
    if form == "coco":
        if every:
            raise InvalidRequest("a COCO file holds one set of boxes for an image: take jsonl for every review")
        first = await Reviews(store).of_ids(team, project, ids[:1])
        if first and "boxes" not in (first[0].final or {}):
            raise InvalidRequest("a COCO file holds boxes, and this project has none: take jsonl")
    return Export(store, team, project, tuple(ids), (await Draws(store).secret(team, project)).key)


async def drafted(store: Store, team: str, project: str, after: str | None, limit: int) -> DraftPage:
    """Return the newest drafts of a project's items behind one; those of items that were withheld, or are honeypots, are not among them.

    Raises:
        UnknownProject: there is none of that name, and never was one with drafts.
    """
    page = await ProjectDrafts(store).page(team, project, after, limit)
    if not page.drafts and after is None:
        await Projects(store).get(team, project)  # a wrong name is told; one that was deleted keeps its drafts
    return page


def pseudonym(key: bytes, reviewer: str) -> str:
    """Return what stands for a reviewer: under the project's secret, so that nobody finds the name by trying names."""
    return "rvr_" + hmac.new(key, json.dumps(["reviewer", reviewer]).encode(), hashlib.sha256).hexdigest()[:16]


def _record(one: Labelled) -> dict[str, Any]:
    size = one.draft.payload.get("image_size")
    of_image = {} if size is None else {"image_size": size}
    return {"item": one.row.item, "task": one.draft.task, **of_image, "final": dict(one.row.final or {}), "provenance": one.provenance}


def _image(number: int, one: Labelled) -> dict[str, Any]:
    width, height = one.draft.payload["image_size"]
    return {"id": number, "file_name": one.row.item, "width": width, "height": height, "candor": one.provenance}


def _annotation(number: int, image: int, box: Mapping[str, Any], category: int) -> dict[str, Any]:
    left, top, right, bottom = box["xyxy"]
    width, height = round(right - left, 6), round(bottom - top, 6)
    sizes = {"bbox": [left, top, width, height], "area": round(width * height, 6)}
    return {"id": number, "image_id": image, "category_id": category, **sizes, "iscrowd": 0}


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _joined(values: list[dict[str, Any]], *, first: bool) -> str:
    text = ", ".join(json.dumps(value, ensure_ascii=False) for value in values)
    return text if first or not text else ", " + text
