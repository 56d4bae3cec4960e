from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import InvalidRequest
from review.alarms import Detector, Screen, accused, advance, log_mixture, log_odds_of, log_odds_of_review


def by_hand(missed: list[bool], run_length: float) -> int | None:
    """The definition, in plain arithmetic: after how many honeypots the alarm comes."""
    r = [0.0] * 4
    for at, one in enumerate(missed, 1):
        r = [(value + 1) * ((1 - p1) / 0.2 if one else p1 / 0.8) for value, p1 in zip(r, (0.1, 0.2, 0.35, 0.5), strict=True)]
        if sum(r) / 4 >= run_length:
            return at
    return None


def seen(missed: list[bool]) -> list[tuple[str, bool]]:
    return [(f"i{at}", one) for at, one in enumerate(missed)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), max_size=25), st.integers(0, 25))
def test_the_alarm_comes_when_the_definition_says_and_survives_storage(missed: list[bool], cut: int) -> None:
    start = Detector(run_length=50)
    whole = start.run(seen(missed))
    found = start.run(seen(missed)[:cut])
    resumed = Detector.from_json(json.loads(json.dumps(found.as_json()))).run(seen(missed)[cut:])
    assert resumed == whole
    assert (whole.alarm.at if whole.alarm else None) == by_hand(missed, 50)
    assert whole.honeypots == len(missed)


def test_three_misses_raise_nothing_and_a_stamper_is_found() -> None:
    assert Detector().run(seen([True] * 3)).alarm is None
    alarm = Detector().run(seen([True] * 12)).alarm
    assert alarm is not None
    assert alarm.at <= 8


def test_the_alarm_stays_and_says_what_it_rests_on() -> None:
    missed = [False] * 60 + [True, True, False, True, True, True, True, True, True]
    found = Detector().run(seen(missed))
    alarm = found.alarm
    assert alarm is not None
    assert alarm.first == "i60"
    assert alarm.at == 60 + alarm.n
    assert alarm.items == tuple(f"i{at}" for at in range(60, alarm.at) if missed[at])
    assert alarm.misses == len(alarm.items)
    assert alarm.says.startswith(f"{alarm.misses} of the last {alarm.n} honeypots were missed")
    assert "once in 10,000 honeypots" in alarm.says
    later = found.run(seen([False] * 50))
    assert later.alarm == alarm
    assert later.value < 1
    assert later.cleared() == Detector()


def test_long_records_keep_their_latest_part_as_evidence() -> None:
    found = Detector().run(seen([False] * 500))
    assert (len(found.recent), found.honeypots) == (400, 500)
    assert found.recent[-1].item == "i499"
    assert 0 < found.value < 2


def test_no_factor_can_be_expected_to_grow_while_the_null_holds() -> None:
    for catch in (0.8, 0.9, 1.0):
        caught, missed = np.exp(log_odds_of([False, True]))
        assert (catch * caught + (1 - catch) * missed <= 1 + 1e-12).all()
    for right in (0.0, 0.3, 0.9, 1.0):
        corrected, passed = np.exp(log_odds_of_review([True, False], [right, right]))
        for catch in (0.81, 0.9, 1.0):
            rate = (1 - right) * catch
            assert (rate * corrected + (1 - rate) * passed <= 1 + 1e-12).all()


def test_many_reviewers_at_once_are_each_by_himself() -> None:
    rng = np.random.default_rng(4)
    missed = rng.random((3, 30)) < 0.5
    log_r = np.full((3, 4), -np.inf)
    for at in range(30):
        log_r = advance(log_r, log_odds_of(missed[:, at]))
    single = [Detector().run(seen(row.tolist())).value for row in missed]
    assert np.exp(log_mixture(log_r)) == pytest.approx(single)


# --- the screen


def test_a_screen_raises_the_rate_for_a_while_and_accuses_nobody() -> None:
    screen = Screen()
    for _ in range(2000):
        screen = screen.update(corrected=False, right=0.9)
        if screen.raised:
            break
    assert (screen.times, screen.left) == (1, 150)
    assert 50 < screen.reviews < 200
    assert screen.log_r == ()
    for _ in range(150):
        assert screen.raised
        screen = screen.drawn()
    assert not screen.raised
    assert screen.drawn() == screen
    again = Screen.from_json(json.loads(json.dumps(screen.update(corrected=True, right=0.5).as_json())))
    assert again == screen.update(corrected=True, right=0.5)


def test_an_honest_reviewer_and_a_sure_model_raise_nothing() -> None:
    rng = np.random.default_rng(5)
    screen = Screen()
    for _ in range(1500):
        right = float(rng.beta(9, 1))
        screen = screen.update(corrected=bool(rng.random() < (1 - right) * 0.9), right=right)
    assert screen.times == 0
    sure = Screen()
    for _ in range(300):
        sure = sure.update(corrected=False, right=1.0)  # nothing to correct is expected, so nothing is strange
    assert sure.times == 0


# --- many reviewers


def test_naming_many_at_once_asks_for_more() -> None:
    assert accused([90, 1, 0.5, 2]).tolist() == [True, False, False, False]
    assert accused([79, 1, 0.5, 2]).tolist() == [False] * 4
    assert accused([79, 41, 0.5, 2]).tolist() == [True, True, False, False]  # two of four: 4 / (2 x 0.05) = 40 each
    assert accused([]).tolist() == []
    for wrong in ([-1.0], [np.nan]):
        with pytest.raises(InvalidRequest):
            accused(wrong)


def test_evidence_is_the_mean_of_stakes() -> None:
    found = Detector().run(seen([True, False]))
    assert found.evidence == pytest.approx(np.mean([(1 - p) / 0.2 * p / 0.8 for p in (0.1, 0.2, 0.35, 0.5)]))
    assert Detector().evidence == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"floor": 1.0},
        {"worse": [0.9, 0.1, 0.2, 0.3]},
        {"run_length": 0.5},
        {"log_r": [0.0]},
        {"log_r": [np.nan] * 4},
        {"honeypots": 0},
        {"colour": 1},
        {"alarm": {}},
        {"recent": [1]},
    ],
)
def test_states_that_are_none_are_refused(wrong: dict[str, object]) -> None:
    right = Detector().run(seen([True, False])).as_json()
    with pytest.raises(InvalidRequest):
        Detector.from_json({**right, **wrong})
    with pytest.raises(InvalidRequest):
        Detector.from_json([])
    with pytest.raises(InvalidRequest):
        Screen.from_json({**Screen().as_json(), "left": -1})
    with pytest.raises(InvalidRequest):
        Screen.from_json({"left": 1})
