from __future__ import annotations

from serving.reviewing.agreement import agreement, scale_of
from serving.reviewing.effect import effect, prices_of
from serving.reviewing.page import html
from serving.reviewing.people import Judged
from tests.unit.serving.reviewing.made import honeypot, one, work

PEOPLE = [f"p{number}" for number in range(10)]


def test_drafts_that_save_time_and_spoil_nothing_pay() -> None:
    told = effect(work(PEOPLE, 120, lambda shown: 6 if shown else 10, lambda _: 0.02))
    assert told["verdict"] == "assist pays"
    assert 0.55 < told["time_ratio"]["value"] < 0.65
    assert told["rests_on"] == "gold items"


def test_drafts_that_make_errors_hurt_though_they_save_time() -> None:
    rows = work(PEOPLE, 120, lambda shown: 6 if shown else 10, lambda shown: 0.3 if shown else 0.02)
    assert effect(rows)["verdict"] == "assist hurts"
    dear, cheap = (effect(rows, prices_of({"price_of_second": 0.01, "price_of_error": error}, {})) for error in (10.0, 0.0001))
    assert (dear["verdict"], cheap["verdict"]) == ("assist hurts", "assist pays")
    assert 0.0001 < dear["break_even"] < 10


def test_without_known_truths_drafts_never_pay() -> None:
    told = effect(work(PEOPLE, 120, lambda shown: 6 if shown else 10, lambda _: 0.0, truth=None, gold_since=None))
    assert told["verdict"] == "not enough evidence"
    assert told["more_controls"] > 0
    assert f"{told['more_controls']:,} more control items" in told["says"]


def test_too_few_items_say_how_many_more() -> None:
    told = effect(work(PEOPLE, 2, lambda _: 10, lambda _: 0))
    assert (told["verdict"], told["time_ratio"]["status"]) == ("not enough evidence", "not enough")
    assert effect([])["verdict"] == "not enough evidence"


def test_honeypots_and_people_without_drafts_are_no_part_of_the_effect() -> None:
    rows = work(PEOPLE, 120, lambda shown: 6 if shown else 10, lambda _: 0.02)
    more: list[Judged] = [honeypot(9000 + at, seconds=500.0) for at in range(100)]
    more += [one(9200 + at, arm="withheld", propensity=1.0, seconds=500.0) for at in range(100)]
    more += [one(9400 + at, seconds=None) for at in range(10)]
    assert effect([*rows, *more]) == effect(rows)


def _overlap(arm: str, agreeing: float, start: int) -> list[Judged]:
    found = []
    for at in range(60):
        label = "cat" if at % 2 else "dog"
        other = label if at < 60 * agreeing else ("dog" if at % 2 else "cat")
        for name, said in (("ann", label), ("bob", other)):
            found.append(one(start + at, item=f"{arm}{at}", arm=arm, reviewer=name, final={"label": said}))
    return found


def test_agreement_blind_and_drafted_and_the_gap() -> None:
    told = agreement([*_overlap("withheld", 0.7, 0), *_overlap("assisted", 1.0, 100)])["tasks"]["classification"]
    assert (told["blind"]["items"], told["drafted"]["items"]) == (60, 60)
    assert told["blind"]["observed"] == 0.7
    assert abs(told["blind"]["value"] - 0.4) < 0.01
    assert told["drafted"]["value"] == 1
    assert told["gap"]["low"] > 0.2
    assert told["blind"]["alpha"]["value"] < 0.5
    few = agreement(_overlap("withheld", 1.0, 0)[:18])["tasks"]["classification"]
    assert (few["blind"]["status"], few["gap"]["status"]) == ("not enough", "not enough")


def test_far_apart_is_worse_than_near_on_a_scale() -> None:
    scale = scale_of({"labels": ["Good", "fair", "poor"], "ordered": True})
    grades = {"near": [("good", "fair"), ("fair", "poor")], "far": [("good", "poor"), ("poor", "good")]}
    found = {}
    for name, apart in grades.items():
        pairs = [("good", "good"), ("fair", "fair"), ("poor", "poor"), *apart] * 8
        rows = [
            one(2 * at + who, item=f"i{at}", arm=arm, reviewer=f"p{who}", final={"label": label})
            for arm in ("withheld", "assisted")
            for at, pair in enumerate([*pairs, ("good", "off the scale")])
            for who, label in enumerate(pair)
        ]
        found[name] = agreement(rows, scale)["tasks"]["classification"]
        assert "weighted" not in agreement(rows, scale_of({"labels": scale}))["tasks"]["classification"]["blind"]
    near, far = (found[name]["blind"]["weighted"] for name in ("near", "far"))
    assert near["linear"]["n"] == 40
    assert near["linear"]["low"] < near["linear"]["value"] < near["linear"]["high"]
    assert far["quadratic"]["value"] < far["linear"]["value"] < near["linear"]["value"] < near["quadratic"]["value"]
    assert found["near"]["blind"]["value"] < near["linear"]["value"]
    assert found["near"]["gap"]["weighted"]["linear"]["value"] == 0
    other = agreement(rows, ("bad", "worse"))["tasks"]["classification"]["blind"]["weighted"]["linear"]
    assert (other["status"], other["n"], other["value"]) == ("not enough", 0, None)


def test_agreement_on_boxes_and_words() -> None:
    box = {"label": "car", "xyxy": [0, 0, 10, 10]}
    rows = [
        one(at, item=f"i{at // 2}", task=task, arm="withheld", reviewer=f"p{at % 2}", final=final if at != 1 else other, truth=None)
        for task, final, other in (("detection", {"boxes": [box]}, {"boxes": []}), ("transcription", {"text": "a b"}, {"text": "a c"}))
        for at in range(40)
    ]
    told = agreement(rows)["tasks"]
    assert told["detection"]["blind"]["value"] == 2 * 19 / 39
    assert told["detection"]["blind"]["low"] < 2 * 19 / 39
    assert told["transcription"]["blind"]["value"] == 1 - 1 / 40
    assert told["transcription"]["blind"]["alpha"]["items"] == 20


def test_the_page_says_the_verdict_first_and_shows_text_as_text() -> None:
    rows = work([*PEOPLE[:-1], "<script>alert(1)</script>"], 120, lambda shown: 6 if shown else 10, lambda _: 0.02)
    told = html("street <b>", rows)
    assert "<strong>Assist pays</strong>" in told
    assert "<script>alert" not in told
    assert "street &lt;b&gt;" in told
    assert told.index("Assist pays") < told.index("Reviewers")
    assert "Not enough evidence" in html("p", [])
