from __future__ import annotations

from datetime import timedelta

from review.alarms import Screen
from serving.reviewing.people import draft_is_right, judge, same, step
from store.judged import Step
from tests.unit.serving.reviewing.made import START, honeypot, one, row

BOX = {"label": "car", "xyxy": [10, 10, 50, 50]}
NEAR = {"label": "car", "xyxy": [12, 10, 50, 48]}
FAR = {"label": "car", "xyxy": [60, 60, 90, 90]}


def test_labels_are_the_same_by_the_rule_of_their_task() -> None:
    assert same("classification", {"label": "cat"}, {"label": "cat"})
    assert not same("classification", {"label": None}, {"label": "cat"})
    assert same("transcription", {"text": "Hello,  World"}, {"text": "hello world"})
    assert not same("transcription", {"text": "hello"}, {"text": "hello world"})
    assert same("detection", {"boxes": [BOX]}, {"boxes": [NEAR]})
    for other in ([], [FAR], [BOX, FAR], [{**BOX, "label": "bus"}]):
        assert not same("detection", {"boxes": [BOX]}, {"boxes": other})


def test_a_box_that_is_moved_a_little_is_a_right_draft() -> None:
    payload = {"labels": [{"id": "d.0", **BOX}]}
    assert draft_is_right("detection", payload, {"boxes": [NEAR]})
    assert not draft_is_right("detection", payload, {"boxes": [FAR]})
    assert not draft_is_right("detection", payload, {"boxes": []})


def test_reviews_are_judged_against_gold() -> None:
    right, wrong = one(), one(final={"label": "dog"}, verdict="corrected")
    assert (right.draft_right, right.final_right, right.corrected) == (True, True, False)
    assert (wrong.draft_right, wrong.final_right, wrong.corrected) == (True, False, True)
    unknown = one(truth=None, gold_since=None)
    assert (unknown.draft_right, unknown.final_right) == (None, None)
    assert judge([row(skipped=True)]) == []


def test_a_honeypot_whose_gold_label_was_corrected_since_counts_no_more() -> None:
    assert honeypot(caught="missed").caught == "missed"
    assert honeypot(caught="missed", gold_since=START + timedelta(days=1)).caught is None
    assert honeypot(caught="missed", truth=None, gold_since=None).caught is None
    assert one(caught="missed").caught is None  # it was none


def test_only_calibrated_confidence_counts_and_only_chance_randomises() -> None:
    assert (one().right, one(confidence_status="unverified").right, one(confidence=None).right) == (0.9, None, None)
    assert [one(propensity=value).randomised for value in (0.9, 1.0, None)] == [True, False, False]


def _screen(*steps: Step) -> Screen:
    screen = Screen(raised_items=3)
    for told in steps:
        screen = step(screen, told)
    return screen


def test_the_screen_sees_honeypots_and_what_was_shown_as_the_model_made_it() -> None:
    accepted = Step("rev_1", "ann", "assisted", "accepted", right=0.5)
    assert _screen(accepted).reviews == 1
    assert _screen(Step("rev_1", "ann", "honeypot", "accepted", "missed")).reviews == 1
    blind, unsure = Step("rev_1", "ann", "withheld", "corrected", right=0.5), Step("rev_1", "ann", "assisted", "accepted")
    assert _screen(blind, unsure, Step("drw_1", "ann", "assisted")).reviews == 0


def test_the_rate_is_raised_for_so_many_items_that_are_drawn() -> None:
    missed = [Step(f"rev_{at}", "ann", "honeypot", "accepted", "missed") for at in range(8)]
    drawn = Step("drw_9", "ann", "assisted")
    assert not _screen(*missed[:3]).raised
    assert _screen(*missed, drawn, drawn).raised
    assert not _screen(*missed, drawn, drawn, drawn).raised
