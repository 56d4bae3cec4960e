from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import InvalidRequest
from review import words
from review.boxes import Box, box_agreement, box_alpha, match
from review.compare import compare
from review.words import align, disagreement, edits, plain, transcript_agreement
from tests.unit.review.payloads import classification, detection, gold_of, transcription

texts = st.lists(st.sampled_from("abcd"), max_size=8)


# --- words


@settings(max_examples=40, deadline=None)
@given(texts, texts)
def test_steps_lead_from_one_text_to_the_other_by_fewest_edits(first: list[str], second: list[str]) -> None:
    steps = align(first, second)
    assert [step.first for step in steps if step.first is not None] == list(range(len(first)))
    assert [step.second for step in steps if step.second is not None] == list(range(len(second)))
    for step in steps:
        both = step.first is not None and step.second is not None
        assert (step.kind in ("kept", "substituted")) == both
        if step.first is not None and step.second is not None:
            assert (step.kind == "kept") == (first[step.first] == second[step.second])
    table = [[i + j for j in range(len(second) + 1)] for i in range(len(first) + 1)]
    for i in range(1, len(first) + 1):
        for j in range(1, len(second) + 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (first[i - 1] != second[j - 1]))
    assert edits(first, second) == table[-1][-1]


def test_long_texts_are_aligned_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_CELLS", 400)
    chance = random.Random(3)  # noqa: S311 - of a test
    first = [f"w{chance.randrange(500)}" for _ in range(300)]
    second = [*first[:40], "new", *first[41:150], *first[160:], "end"]
    steps = align(first, second)
    assert [step.first for step in steps if step.first is not None] == list(range(300))
    assert [step.second for step in steps if step.second is not None] == list(range(len(second)))
    assert edits(first, second) == 12


def test_symmetric_word_error_rate() -> None:
    assert disagreement("The old town.", "the cold town") == pytest.approx(2 * 1 / 6)
    assert disagreement("a b c", "a b") == disagreement("a b", "a b c") == pytest.approx(2 / 5)
    assert (disagreement("", ""), disagreement("a", ""), disagreement("a b", "c d e f g")) == (0, 1, 1)
    assert transcript_agreement([("a b", "a b"), ("a b c", "a b")]) == pytest.approx(1 - 2 / 9)
    assert transcript_agreement([("", "")]) is None
    assert plain("  Well, 'tis  DONE … ") == "well tis done"


# --- drafts and final labels


def test_an_unchanged_draft_is_accepted() -> None:
    for task, draft in (("detection", detection()), ("classification", classification()), ("transcription", transcription())):
        found = compare(task, draft, gold_of(draft))  # type: ignore[arg-type]
        assert (found.verdict, found.changed, found.size) == ("accepted", 0, 0)


def test_boxes_that_were_relabelled_moved_deleted_and_added() -> None:
    draft = detection("d", 2)
    boxes = gold_of(draft)["boxes"]
    boxes[0]["label"] = "yak"
    boxes[1]["xyxy"] = [boxes[1]["xyxy"][0] + 20, *boxes[1]["xyxy"][1:]]
    boxes[2]["xyxy"] = [round(x) for x in boxes[2]["xyxy"]]  # a client that rounds to pixels moved nothing
    final = [boxes[2], boxes[0], {"label": "cow", "xyxy": [0, 0, 10, 10]}, boxes[1]]
    found = compare("detection", draft, {"boxes": final})
    kinds = {(edit.kind, edit.draft, edit.final) for edit in found.edits}
    assert kinds == {("relabelled", "d.0", 1), ("moved", "d.1", 3), ("kept", "d.2", 0), ("deleted", "d.3", None), ("added", None, 2)}
    assert (found.verdict, found.changed, found.size) == ("corrected", 4, 0.8)


def test_a_box_that_was_only_moved_is_a_correction() -> None:
    draft = detection("d", 2)
    boxes = gold_of(draft)["boxes"]
    boxes[0]["xyxy"][2] += 15
    found = compare("detection", draft, {"boxes": boxes})
    assert (found.verdict, found.changed) == ("corrected", 1)


def test_nothing_left_is_rejected_and_a_first_label_is_a_correction() -> None:
    draft = detection()
    assert compare("detection", draft, {"boxes": []}).verdict == "rejected"
    assert compare("detection", draft, {"boxes": [{"label": "cat", "xyxy": [600, 300, 640, 320]}]}).verdict == "rejected"
    empty = {"image_size": [9, 9], "labels": []}
    assert compare("detection", empty, {"boxes": []}).verdict == "accepted"
    assert compare("detection", empty, {"boxes": [{"label": "cat", "xyxy": [0, 0, 4, 4]}]}).verdict == "corrected"
    assert compare("transcription", transcription("a b"), {"text": "c d"}).verdict == "rejected"
    assert compare("transcription", transcription("a b"), {"text": "c b"}).verdict == "corrected"
    assert compare("transcription", transcription("Ah, so."), {"text": "ah so"}).verdict == "accepted"


@pytest.mark.parametrize(("position", "verdict"), [(0, "accepted"), (1, "corrected"), (2, "corrected")])
def test_a_class_further_down_the_list_is_a_correction(position: int, verdict: str) -> None:
    draft = classification()
    found = compare("classification", draft, {"label": draft["labels"][position]["label"]})
    assert found.verdict == verdict
    assert compare("classification", draft, {"label": "unheard of"}).verdict == "rejected"
    assert compare("classification", draft, {"label": None}).verdict == "rejected"
    assert compare("classification", {"labels": []}, {"label": "cat"}).verdict == "corrected"


def test_two_boxes_on_one_object_are_matched_by_class_first() -> None:
    near, nearer = Box("cat", (0, 0, 100, 100)), Box("dog", (0, 0, 100, 90))
    final = Box("dog", (0, 0, 100, 98))
    [(first, second, overlap)] = match([near, nearer], [final])
    assert (first, second) == (1, 0)
    assert overlap == pytest.approx(90 / 98)
    assert match([near], [final], same_class=True) == []


@pytest.mark.parametrize(
    ("task", "final"),
    [
        ("detection", {"label": "cat"}),
        ("detection", {"boxes": [{"label": "cat"}]}),
        ("detection", {"boxes": [{"label": "cat", "xyxy": [0, 0, float("nan"), 1]}]}),
        ("detection", {"boxes": [{"label": "cat", "xyxy": [5, 0, 0, 1]}]}),
        ("detection", {"boxes": "all"}),
        ("transcription", {"text": None}),
        ("classification", {"text": "cat", "label": "cat"}),
        ("classification", {}),
    ],
)
def test_final_labels_of_the_wrong_kind_are_refused(task: str, final: dict[str, object]) -> None:
    draft = {"detection": detection(), "classification": classification(), "transcription": transcription()}[task]
    with pytest.raises(InvalidRequest):
        compare(task, draft, final)  # type: ignore[arg-type]


# --- two people's boxes


def test_agreement_of_boxes_by_hand() -> None:
    cat, dog = Box("cat", (0, 0, 10, 10)), Box("dog", (20, 0, 30, 10))
    shifted, renamed = Box("cat", (0, 2, 10, 10)), Box("cow", (20, 0, 30, 10))
    found = box_agreement([([cat, dog], [shifted, renamed]), ([], []), ([cat], [])])
    assert (found.images, found.first, found.second, found.matched) == (3, 3, 2, 1)
    assert found.f1 == pytest.approx(2 / 5)
    assert found.mean_iou == pytest.approx(0.8)
    assert found.classes is not None  # cat-cat, dog-cow, cat-missing
    assert found.classes.observed == pytest.approx(1 / 3)
    assert found.classes.chance == pytest.approx(2 / 3 * 1 / 3)
    assert box_agreement([([], [])]).f1 is None


def test_alpha_of_boxes_by_hand() -> None:
    cat, dog = Box("cat", (0, 0, 10, 10)), Box("dog", (20, 0, 30, 10))
    shifted = Box("cat", (0, 2, 10, 10))
    # units: (cat, shifted) 0.2 apart, (dog, dog) 0 apart; of all six pairs four are of different classes
    assert box_alpha([[[cat, dog], [shifted, dog]]]) == pytest.approx(1 - (2 * 0.2 / 4) / (2 * (0.2 + 0 + 4) / 12))
    assert box_alpha([[[cat, dog], [dog, cat]]]) == pytest.approx(1)
    assert box_alpha([[[cat], []], [[], [dog]]]) == pytest.approx(1 - 1 / (2 * 5 / 12))  # less than chance: no object is shared
    assert box_alpha([[[], []]]) is None
