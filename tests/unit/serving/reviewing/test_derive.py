"""What a final label makes of a draft, by task and by what was shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.drafts import Draft
from candor.errors import InvalidRequest
from serving.reviewing.derive import Vocabulary, derive, evidence, labels_of, require_boxes, shown, truth_of, written
from store.draws import DrawRow
from store.gold import GoldItem
from store.reviews import ReviewRow
from tests.unit.serving.reviewing.drawn import drew
from tests.unit.store.drafts import draft

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = ("cat", "dog")
corner = st.integers(0, 60)
box = st.builds(
    lambda label, x, y, w, h: {"label": label, "xyxy": [float(x), float(y), float(x + w + 1), float(y + h + 1)]},
    st.sampled_from(LABELS),
    corner,
    corner,
    corner,
    corner,
)
boxes = st.lists(box, max_size=6)


def boxed(labels: list[dict[str, Any]], **changes: Any) -> Draft:
    shown_labels = [{"id": f"d.{n}", **one, "confidence": 0.5, "raw": {"score": 0.5, "logit": 0.0}} for n, one in enumerate(labels)]
    return draft(task="detection", payload={"image_size": [200, 200], "labels": shown_labels}, **changes)


def spoken(*segments: str) -> Draft:
    made = [{"id": f"d.{n}", "text": text, "words": [{"text": word} for word in text.split()]} for n, text in enumerate(segments)]
    return draft(task="transcription", payload={"text": " ".join(segments), "language": "en", "segments": made})


@given(boxes)
@settings(max_examples=30, deadline=None)
def test_labels_that_come_back_as_they_were_are_accepted(labels: list[dict[str, Any]]) -> None:
    made = boxed(labels)
    final = written("detection", {"labels": [(one["label"], one["xyxy"]) for one in made.payload["labels"]]})
    require_boxes(final, made.payload["image_size"])
    found = derive(made, None, Vocabulary(LABELS).checked(final))
    assert (found.verdict, found.caught) == ("accepted", None)
    assert [edit["kind"] for edit in found.edits] == ["kept"] * len(labels)


@given(boxes, boxes)
@settings(max_examples=30, deadline=None)
def test_each_label_of_both_sides_is_in_one_edit_and_a_withheld_draft_has_only_added_ones(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    made = boxed(before)
    edits = derive(made, None, {"boxes": after}).edits
    assert sorted(edit["draft"] for edit in edits if edit["draft"] is not None) == [f"d.{n}" for n in range(len(before))]
    assert sorted(edit["final"] for edit in edits if edit["final"] is not None) == list(range(len(after)))
    hidden = derive(made, drew(made, "withheld"), {"boxes": after})
    assert [edit["kind"] for edit in hidden.edits] == ["added"] * len(after)
    honest = derive(boxed([]), None, {"boxes": after})
    assert (hidden.verdict, hidden.edits) == (honest.verdict, honest.edits)  # nothing tells a withheld draft from an empty one


def test_what_is_to_be_made_from_scratch_was_shown_without_labels() -> None:
    made = boxed([{"label": "cat", "xyxy": [0.0, 0.0, 9.0, 9.0]}])
    scratch = replace(made, payload={**made.payload, "route": "from_scratch"})
    assert (len(shown(made, "assisted")["labels"]), shown(scratch, "assisted")["labels"], shown(made, "withheld")["labels"]) == (1, [], [])
    assert shown(spoken("a b"), "withheld") == {"text": "", "language": "en", "segments": []}


@pytest.mark.parametrize(
    ("text", "verdict"), [("Hello, world again", "accepted"), ("hello word again", "corrected"), ("x y z", "rejected"), ("", "rejected")]
)
def test_transcripts_are_compared_by_words(text: str, verdict: str) -> None:
    assert derive(spoken("hello world", "again"), None, {"text": text}).verdict == verdict


@pytest.mark.parametrize(
    ("task", "final", "told"),
    [
        ("detection", {"text": "x"}, "boxes"),
        ("classification", {"text": "x"}, "label"),
        ("transcription", {"labels": []}, "text"),
        ("detection", {"labels": [("cat", None)]}, "xyxy"),
    ],
)
def test_final_labels_of_another_task_are_refused(task: Any, final: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        written(task, final)


def test_labels_are_those_of_the_project_whatever_their_case() -> None:
    words = Vocabulary(["Cat", "dog"])
    assert words.checked({"label": " cAT"}) == {"label": "Cat"}
    assert words.checked({"label": None}) == {"label": None}
    assert Vocabulary().checked({"boxes": [{"label": "any", "xyxy": (1, 2, 3, 4)}]}) == {"boxes": [{"label": "any", "xyxy": [1, 2, 3, 4]}]}
    told = []
    for _ in range(25):
        with pytest.raises(InvalidRequest) as error:
            words.name("dgo")
        told.append("did you mean 'dog'" in error.value.detail)
    assert told == [True] * 20 + [False] * 5  # looking for near labels takes time
    assert labels_of({"labels": ["a"], "label_map": {"x": "b", "y": "a"}}) == ["a", "b"]
    assert labels_of({}) == []


@pytest.mark.parametrize("corners", [[-2, 0, 5, 5], [0, 0, 203, 5], [5, 0, 5, 5], [0, 5, 5, 5]])
def test_boxes_lie_in_the_image_and_have_an_area(corners: list[float]) -> None:
    with pytest.raises(InvalidRequest):
        require_boxes({"boxes": [{"label": "cat", "xyxy": corners}]}, [200, 200])
    require_boxes({"boxes": [{"label": "cat", "xyxy": [-1, 0, 201, 5]}]}, [200, 200])


def test_a_draft_of_an_old_form_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="what it takes"):
        derive(draft(task="classification", payload={}), None, {"label": "cat"})


def test_gold_that_is_gone_leaves_a_review_and_a_skipped_one_says_nothing() -> None:
    made = boxed([])
    row = ReviewRow("t", "p", "e", made.id, made.item, "ann", NOW, "f", final={"boxes": []}, revision=2)
    drawn, known = drew(made, gold=True), GoldItem(made.item, 3, {"boxes": []}, NOW)
    assert [streams(row, drawn, known), streams(row, drawn, None), streams(row, None, known)] == [["gold"], ["review"], ["review"]]
    assert evidence(replace(row, final=None), drawn, known) == []
    assert streams(row, drew(made, gold=False), known) == ["review"]  # it became gold after it drew
    (withheld,) = evidence(row, drew(made, "withheld", gold=True, propensity=0.25), known)
    assert (withheld.stream, withheld.propensity, withheld.source) == ("blind", 0.25, "candor:review:e#2")


def test_the_draft_behind_a_honeypot_is_judged_by_gold() -> None:
    made = boxed([])
    row = ReviewRow("t", "p", "e", made.id, made.item, "ann", NOW, "f", final={"boxes": []}, revision=2)
    drawn = replace(drew(made, "honeypot", gold=True), natural="drf_twin")
    planted, natural = evidence(row, drawn, GoldItem(made.item, 3, {"boxes": []}, NOW))
    assert (planted.draft, planted.stream) == (made.id, "honeypot")
    assert (natural.draft, natural.stream, natural.source) == ("drf_twin", "gold", "candor:gold#3")
    assert streams(row, drawn, None) == ["honeypot"]


def streams(row: ReviewRow, drawn: DrawRow | None, known: GoldItem | None) -> list[str]:
    return [one.stream for one in evidence(row, drawn, known)]


def test_truths_of_other_kinds_differ() -> None:
    assert truth_of({"text": "x"}) != truth_of({"label": "x"})
