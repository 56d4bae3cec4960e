from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.retries import Retries, retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-2", 0.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        (None, None),
        ("nan", None),
    ],
)
def test_retry_after_is_read_as_number_or_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@given(st.integers(1, 50), st.floats(0, 0.999), st.none() | st.floats(0, 60))
def test_a_pause_is_bounded_and_never_shorter_than_asked(failures: int, drawn: float, asked: float | None) -> None:
    retries = Retries(first=0.5, longest=20.0, draw=lambda: drawn)
    pause = retries.pause(failures, asked)
    assert pause >= (asked or 0.0)
    assert 0.25 <= pause <= 20.0 + (asked or 0.0)


def test_a_server_that_asks_for_an_hour_is_not_waited_for_an_hour() -> None:
    assert Retries(draw=lambda: 0.0).pause(1, 3600.0) == 120.0
