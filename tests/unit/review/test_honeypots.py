from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from candor.errors import InvalidRequest
from candor.predictions import Task
from review.boxes import boxes_of, overlaps
from review.caught import judge
from review.compare import compare
from review.honeypots import MIX, OMISSIONS, ErrorKind, Planted, Sources, honeypot, plant
from tests.unit.review.payloads import Payload, classification, detection, gold_of, transcription

MAKERS: dict[Task, Callable[..., Payload]] = {"detection": detection, "classification": classification}
TEXTS = ["A grey cat sat near red barns", "Some dogs ran home over hills. nobody saw them leave", "quiet boxes fix over lay toddy"]
POOL: dict[Task, list[Payload]] = {
    "detection": [detection("n", seed) for seed in range(20, 32)],
    "classification": [classification("n", seed) for seed in range(20, 32)],
    "transcription": [transcription(text, "n", seed) for seed, text in enumerate(TEXTS)],
}
CONFUSION = {"cat": {"fox": 3.0, "cow": 1.0}}
LABELS = ("cat", "dog", "cow", "fox")


def sources(task: Task) -> Sources:
    return Sources(POOL[task], CONFUSION, LABELS)


def natural(task: Task, seed: int) -> Payload:
    return transcription(seed=seed) if task == "transcription" else MAKERS[task]("d", seed)


def shape(value: Any) -> Any:
    """The fields and kinds of values, whatever they are and however many."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


KINDS = [(task, kind) for task, kinds in MIX.items() for kind in kinds]


@pytest.mark.parametrize(("task", "kind"), KINDS)
def test_each_kind_of_error_is_caught_when_put_right_and_missed_when_left(task: Task, kind: ErrorKind) -> None:
    rng = np.random.default_rng(3)
    for seed in range(8):
        draft = natural(task, seed)
        gold = gold_of(draft)
        made = plant(kind, draft, gold, sources(task), rng, "d")
        assert made is not None, (kind, seed)
        wrong, planted = made
        assert planted.kind == kind
        assert not planted.natural
        comparison = compare(task, wrong, gold)
        assert comparison.changed - sum(edit.kind == "moved" for edit in comparison.edits) in (1, 2)  # a shifted box is one gone, one new
        assert judge(planted, gold) == "caught"
        assert judge(planted, gold_of(wrong) if wrong["labels" if "labels" in wrong else "segments"] else {"boxes": []}) == "missed"
        assert gold_of(draft) == gold  # the natural draft is left as it was


@pytest.mark.parametrize("task", list(MIX))
def test_a_honeypot_looks_like_a_natural_draft(task: Task) -> None:
    rng = np.random.default_rng(4)
    for seed in range(12):
        draft = natural(task, seed)
        made = honeypot(task, draft, gold_of(draft), sources(task), rng, "d")
        assert made is not None
        assert shape(made[0]) == shape(draft)
        for rows in (made[0].get("labels", []), made[0].get("segments", [])):
            assert [row["id"] for row in rows] == [f"d.{i}" for i in range(len(rows))]
        scores = [row["raw"]["score"] for row in made[0].get("labels", [])]
        assert scores == sorted(scores, reverse=True)
        for segment in made[0].get("segments", []):
            assert segment["text"] == " ".join(word["text"] for word in segment["words"])
            times = [(word["start"], word["end"]) for word in segment["words"]]
            assert all(start <= end for start, end in times)
            assert times == sorted(times)


@pytest.mark.parametrize("task", ["detection", "transcription"])
def test_a_third_of_the_errors_are_omissions(task: Task) -> None:
    assert sum(share for kind, share in MIX[task].items() if kind in OMISSIONS) >= 0.3
    rng, kinds = np.random.default_rng(5), Counter[str]()
    for seed in range(80):
        draft = natural(task, seed)
        made = honeypot(task, draft, gold_of(draft), sources(task), rng, "d")
        kinds[made[1].kind if made else "none"] += 1
    assert sum(kinds[kind] for kind in OMISSIONS) >= 0.25 * 80
    assert set(kinds) == set(MIX[task])


def test_confidences_of_planted_labels_are_those_of_natural_drafts_row_by_row() -> None:
    rng = np.random.default_rng(6)
    rows = {(one["confidence"], one["no_edit"], one["raw"]["logit"]) for draft in POOL["detection"] for one in draft["labels"]}
    drawn = set()
    for seed in range(60):
        draft = detection("d", seed)
        wrong, planted = plant("class_swap", draft, gold_of(draft), sources("detection"), rng, "d") or ({}, None)
        assert planted is not None
        label = next(one for one in wrong["labels"] if one["id"] == planted.label)
        drawn.add((label["confidence"], label["no_edit"], label["raw"]["logit"]))
    assert drawn <= rows
    assert len(drawn) > 20


def test_the_same_seed_makes_the_same_honeypot() -> None:
    draft = transcription()
    made = [honeypot("transcription", draft, gold_of(draft), sources("transcription"), np.random.default_rng(9), "d") for _ in range(2)]
    assert made[0] == made[1]


def test_confusions_decide_which_class_is_shown() -> None:
    draft = {
        "image_size": [64, 64],
        "labels": [{"id": "d.0", "label": "cat", "confidence": 0.9}, {"id": "d.1", "label": "dog", "confidence": 0.1}],
    }
    pool = Sources([draft], CONFUSION, LABELS)
    rng = np.random.default_rng(2)
    shown = Counter(
        str((plant("class_swap", draft, {"label": "cat"}, pool, rng, "d") or ({}, None))[0]["labels"][0]["label"]) for _ in range(200)
    )
    assert set(shown) == {"fox", "cow"}
    assert shown["fox"] > 2 * shown["cow"]


def test_a_shifted_box_is_wrong_and_still_about_its_object() -> None:
    rng = np.random.default_rng(8)
    for seed in range(20):
        draft = detection("d", seed)
        _, planted = plant("box_shift", draft, gold_of(draft), sources("detection"), rng, "d") or ({}, None)
        assert planted is not None
        assert planted.shown is not None
        assert planted.truth is not None
        assert 0.19 < overlaps(boxes_of([planted.shown]), boxes_of([planted.truth]))[0, 0] < 0.46


# --- errors that the model made by itself


def test_a_real_error_is_preferred_and_the_draft_left_alone() -> None:
    draft = detection("d", 1)
    gold = gold_of(draft)
    gold["boxes"].append({"label": "cow", "xyxy": [10, 260, 60, 310]})
    made = honeypot("detection", draft, gold, sources("detection"), np.random.default_rng(0), "d")
    assert made is not None
    assert made[0] == draft
    assert (made[1].kind, made[1].natural, made[1].label) == ("box_missing", True, None)
    assert judge(made[1], gold) == "caught"
    assert judge(made[1], gold_of(draft)) == "missed"
    assert judge(made[1], {"boxes": [{"label": "fox", "xyxy": [10, 260, 60, 310]}]}) == "noticed"


def test_real_errors_of_words_and_classes() -> None:
    spoken = transcription("we went to the old town")
    found = {}
    for text in ("we went to the cold town", "we went to old town", "we went to the very old town"):
        made = honeypot("transcription", spoken, {"text": text}, sources("transcription"), np.random.default_rng(0), "d")
        assert made is not None
        assert judge(made[1], {"text": text}) == "caught"
        assert judge(made[1], {"text": spoken["text"]}) == "missed"
        found[made[1].kind] = made[1].at
    assert found == {"word_substituted": 4, "word_inserted": 3, "word_missing": 4}
    draft = classification()
    wrong = honeypot("classification", draft, {"label": "something else"}, sources("classification"), np.random.default_rng(0), "d")
    assert wrong is not None
    assert judge(wrong[1], {"label": "something else"}) == "caught"
    assert judge(wrong[1], {"label": draft["labels"][0]["label"]}) == "missed"
    assert judge(wrong[1], {"label": None}) == "noticed"


def test_a_duplicate_is_no_honeypot_since_nobody_could_tell_which_of_both_was_kept() -> None:
    draft = detection("d", 1)
    gold = gold_of(draft)
    double = {**draft["labels"][0], "id": "d.4", "xyxy": [x + 3 for x in draft["labels"][0]["xyxy"]]}
    made = honeypot("detection", {**draft, "labels": [*draft["labels"], double]}, gold, sources("detection"), np.random.default_rng(0), "d")
    assert made is None or not made[1].natural


# --- judging


def word(kind: ErrorKind, shown: str | None, truth: str | None, at: int, text: str) -> Planted:
    return Planted(kind, None, {"text": text, "word": shown}, {"text": "he sold the red car to her", "word": truth}, at)


@pytest.mark.parametrize(
    ("planted", "final", "expected"),
    [
        (word("word_substituted", "bar", "car", 4, "he sold the red bar to her"), "he sold a red car to him", "caught"),
        (word("word_substituted", "bar", "car", 4, "he sold the red bar to her"), "she sold the red bar to him", "missed"),
        (word("word_substituted", "bar", "car", 4, "he sold the red bar to her"), "he sold the red van to her", "noticed"),
        (word("word_substituted", "bar", "car", 4, "he sold the red bar to her"), "he sold the red to her", "noticed"),
        (word("word_missing", None, "red", 3, "he sold the car to her"), "He sold the red car, to him!", "caught"),
        (word("word_missing", None, "red", 3, "he sold the car to her"), "he sold the car to him", "missed"),
        (word("word_missing", None, "red", 3, "he sold the car to her"), "he sold the blue car to her", "noticed"),
        (word("word_missing", None, "red", 3, "he sold the car to her"), "he sold a car to her", "missed"),
        (word("word_inserted", "big", None, 3, "he sold the big red car to her"), "he sold that red car to her", "caught"),
        (word("word_inserted", "big", None, 3, "he sold the big red car to her"), "he sold the big red car", "missed"),
        (word("word_inserted", "big", None, 3, "he sold the big red car to her"), "he sold the large red car to him", "noticed"),
        (word("word_inserted", "big", None, 3, "he sold the big red car to her"), "", "caught"),
    ],
)
def test_only_the_words_own_place_counts(planted: Planted, final: str, expected: str) -> None:
    assert judge(planted, {"text": final}) == expected


SHOWN, TRUE = {"label": "cat", "xyxy": [60, 10, 160, 110]}, {"label": "cat", "xyxy": [10, 10, 110, 110]}


@pytest.mark.parametrize(
    ("planted", "final", "expected"),
    [
        (Planted("box_shift", "d.0", SHOWN, TRUE), [{"label": "cat", "xyxy": [20, 10, 120, 110]}], "caught"),
        (Planted("box_shift", "d.0", SHOWN, TRUE), [{"label": "cat", "xyxy": [61, 10, 161, 110]}], "missed"),
        (Planted("box_shift", "d.0", SHOWN, TRUE), [], "noticed"),
        (Planted("box_shift", "d.0", SHOWN, TRUE), [{"label": "cat", "xyxy": [75, 10, 175, 110]}], "noticed"),
        (Planted("box_spurious", "d.0", SHOWN, None), [], "caught"),
        (Planted("box_spurious", "d.0", SHOWN, None), [SHOWN], "missed"),
        (Planted("box_spurious", "d.0", SHOWN, None), [{**SHOWN, "label": "dog"}], "noticed"),
        (Planted("class_swap", "d.0", {**TRUE, "label": "dog"}, TRUE), [{**TRUE, "label": "cow"}], "noticed"),
        (Planted("class_swap", "d.0", {**TRUE, "label": "dog"}, TRUE), [], "noticed"),
        (Planted("class_swap", "d.0", {**TRUE, "label": "dog"}, TRUE), [{**TRUE, "label": "dog"}], "missed"),
    ],
)
def test_only_the_boxes_own_place_counts(planted: Planted, final: list[Payload], expected: str) -> None:
    assert judge(planted, {"boxes": [*final, {"label": "cow", "xyxy": [300, 10, 400, 110]}]}) == expected


def test_a_final_label_of_another_task_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="`boxes`"):
        judge(Planted("box_missing", None, None, TRUE), {"label": "cat"})
    with pytest.raises(InvalidRequest, match="`text`"):
        judge(word("word_missing", None, "red", 3, "a"), {"boxes": []})


def test_drafts_without_a_place_for_an_error_make_no_honeypot() -> None:
    empty = {"image_size": [10, 10], "labels": []}
    rng = np.random.default_rng(0)
    assert honeypot("detection", empty, {"boxes": []}, Sources([], {}), rng, "d") is None
    assert honeypot("detection", detection(), gold_of(detection()), Sources([], {}), rng, "d") is not None  # a box may be left out
    assert honeypot("transcription", transcription("hm"), {"text": "hm"}, sources("transcription"), rng, "d") is None
    assert honeypot("classification", classification(), gold_of(classification()), Sources([], {}), rng, "d") is None
