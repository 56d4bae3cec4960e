"""What an annotation says: seconds by person, boxes in pixels, the project's own words; and what of a report is kept."""

from __future__ import annotations

from typing import Any, cast

import pytest

from candor.errors import InvalidRequest
from serving.protocols.label_studio import edits
from serving.protocols.label_studio.config import layout, read
from serving.protocols.label_studio.events import kept
from serving.protocols.label_studio.finals import final_of
from store.connections import Connection
from tests.unit.serving.protocols.label_studio_recorded import INVITE, hook


class Of:
    id, remote_project = "con_1", "2"


def test_of_a_report_that_is_kept_which_reviews_are_made_of() -> None:
    of = cast(Connection, Of)
    names = ("created", "updated_by_another", "bulk_created", "bulk_deleted", "task_deleted", "project_updated", "choices")
    found = {name: kept(of, hook(name)) for name in names}
    assert [len(some) for some in found.values()] == [1, 1, 2, 2, 0, 0, 0]  # the last is of another project
    assert INVITE not in str(found)
    assert [one.body for one in found["bulk_deleted"]] == [{"annotation": "7", "project": "2"}, {"annotation": "8", "project": "2"}]
    for body in ({}, {"action": "ANNOTATION_CREATED"}, {"action": "ANNOTATION_CREATED", "project": {"id": 2}, "annotation": "?"}):
        assert kept(of, body) == []


def reports(*said: tuple[float, int, float | None, str]) -> list[edits.Report]:
    """Reports of one annotation: second, person, lead time, what was left. The first made it."""
    made = {"id": 1, "task": 2, "created_at": "2026-01-05T08:00:00Z", "completed_by": said[0][1]}
    return [
        edits.read(
            {
                **made,
                "updated_at": f"2026-01-05T08:00:{second:09.6f}Z",
                "updated_by": by,
                "lead_time": lead,
                "result": [{"id": left}],
            },
            "3",
        )
        for second, by, lead, left in said
    ]


def spent(*told: edits.Report) -> dict[str, float | None]:
    known: dict[str, Any] = {}
    for one in told:
        known = edits.with_edit(known, one)
    return {person: edits.seconds_of(known, person) for person in edits.people_of(known)}


def test_seconds_are_what_the_sum_grew_by_whatever_the_order_of_the_reports() -> None:
    told = reports((0, 1, 9, "a"), (10, 2, 16, "b"), (20, 1, 18.5, "c"), (30, 1, 18.5, "c"))
    assert spent(*told) == spent(*told[::-1]) == spent(*told, *told) == {"1": 11.5, "2": 7.0}
    assert spent(*told[1:]) == {"1": 2.5, "2": None}  # what came before it was missed: nobody knows whose it was
    assert spent(*reports((0, 1, None, "a"))) == {"1": None}


SEGMENTS = ("segments", {"text": "hello, world and good bye"})
WHOLE = ("whole", {"text": "hello world again"})


@pytest.mark.parametrize(("name", "final"), [SEGMENTS, WHOLE, ("choices", {"label": "hund"})])
def test_final_labels_are_in_the_projects_own_words(name: str, final: dict[str, Any]) -> None:
    said = hook(name)
    place = layout(read(said["project"]["label_config"]))
    assert final_of(said["annotation"]["result"], place, {"dog": "hund"}).label == final


def test_boxes_are_measured_by_the_draft_or_by_the_region() -> None:
    said = hook("created")
    place = layout(read(said["project"]["label_config"]))
    (first, *_) = said["annotation"]["result"]
    assert final_of([first], place, {"car": "auto"}).label == {"boxes": [{"label": "auto", "xyxy": [20, 10, 80, 60]}]}
    assert final_of([first], place, {}, size=(400, 200)).label["boxes"][0]["xyxy"] == [40, 20, 160, 120]
    turned = {**first, "value": {**first["value"], "rotation": 45, "x": 50, "y": 20, "width": 10, "height": 20}}
    found = final_of([turned], place, {})
    assert found.label["boxes"][0]["xyxy"] == pytest.approx([85.858, 20, 114.142, 48.284], abs=0.01)
    assert "upright" in found.notes[0]
    flat = {**first, "value": {**first["value"], "width": 0}}
    assert final_of([flat, {**first, "from_name": "other"}], place, {}).label == {"boxes": []}
    unknown = {name: value for name, value in first.items() if name != "original_width"}
    with pytest.raises(InvalidRequest, match="how large"):
        final_of([unknown], place, {})
    with pytest.raises(InvalidRequest, match="as Label Studio writes"):
        final_of([{**first, "value": {"rectanglelabels": ["car"]}}], place, {})


def test_of_several_choices_the_drafted_one_counts() -> None:
    said = hook("choices")
    place = layout(read(said["project"]["label_config"]))
    ticked = [{**said["annotation"]["result"][0], "value": {"choices": ["cat", "dog"]}}]
    assert final_of(ticked, place, {}, drafted="dog").label == {"label": "dog"}
    assert final_of(ticked, place, {}, drafted="bird").label == {"label": "cat"}
    assert final_of([], place, {}).label == {"label": None}
