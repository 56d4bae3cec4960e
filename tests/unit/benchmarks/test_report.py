from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.machine import Others, facts, part_of
from benchmarks.raw import RawRun
from benchmarks.report import as_json, notes, summaries, summarise, table_of
from benchmarks.served import Phase, ServedRun
from benchmarks.session import Ceiling, Results

RAW = RawRun(
    "stub@sha256:00",
    16,
    plain=20.0,
    ahead=22.0,
    half=19.5,
    back_to_back=0.05,
    period=1.0,
    latency={"a": 0.050, "b": 0.070},
    cpu=1.9,
    others=0.02,
)
CLIENTS = Phase(rate=19.0, batch=8.0, p50=0.8, p99=1.1, items=300, cpu={"generator": 0.03, "others": 0.01, "replica detection": 1.8})
SERVED = ServedRun(CLIENTS, replace(CLIENTS, rate=17.0, batch=15.0, cpu={"generator": 0.05, "others": 0.03}), [("a", 0.062), ("b", 0.095)])


def results(served: ServedRun = SERVED, single: float = 1000.0, cpu: float = 0.5) -> Results:
    return Results({"detection": [RAW] * 3}, {"detection": [served] * 3}, Ceiling(single, cpu), Ceiling(5000.0, 0.5))


def shown(found: Results) -> str:
    console = Console(file=io.StringIO(), width=150)
    console.print(table_of(summaries(found), 3))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if name in line)


def test_a_summary_holds_served_against_raw() -> None:
    found = summarise("detection", [RAW] * 3, [SERVED] * 3)
    assert found.clients_ratio == pytest.approx(0.95)
    assert found.bulk_ratio == pytest.approx(0.85)
    assert found.ahead_ratio == pytest.approx(19 / 22)
    assert (found.added_p50, found.added_p99) == pytest.approx((0.012, 0.025))
    assert found.paced == 6
    assert found.generator_cpu == 0.05
    assert found.floors == {"clients_ratio": True, "bulk_ratio": False, "added_p50": True}


def test_the_table_says_in_words_which_floors_are_reached() -> None:
    text = shown(results())
    assert "0.95 pass" in row(text, "served / raw, clients")
    assert "0.85 FAIL" in row(text, "served / raw, bulk")
    assert "12.0 pass" in row(text, "added, p50 ms")
    assert ">= 0.90" in row(text, "served / raw, bulk")
    assert "19.50" in row(text, "in batches of 8")
    slow = replace(SERVED, latency=[("a", 0.080), ("b", 0.095)])
    assert "25.0 FAIL" in row(shown(results(slow)), "added, p50 ms")


def test_the_notes_name_missed_floors() -> None:
    assert notes(results(), summaries(results()))[-1] == "floors missed: detection: bulk_ratio"
    good = replace(SERVED, bulk=SERVED.clients)
    assert notes(results(good), summaries(results(good)))[-1] == "every floor is reached"


@pytest.mark.parametrize("where", ["raw", "served"])
def test_nothing_is_judged_on_a_machine_that_others_kept_busy(where: str) -> None:
    found = results()
    if where == "raw":
        found.raw["detection"][1] = replace(RAW, others=1.5)
    else:
        found.served["detection"][1] = replace(SERVED, bulk=replace(SERVED.bulk, cpu={"generator": 0.05, "others": 1.5}))
    text = shown(found)
    assert "not judged" in row(text, "served / raw, bulk")
    assert "pass" not in text
    assert "FAIL" not in text
    assert notes(found, summaries(found))[-1].startswith("NOT JUDGED")


@pytest.mark.parametrize(
    ("single", "cpu", "said"),
    [
        (1900.0, 0.9, "100 times the busiest task here, enough"),
        (60.0, 0.1, "the null application was the limit"),
        (60.0, 0.9, "GENERATOR LIMITS"),
    ],
)
def test_the_notes_say_when_the_generator_limits(single: float, cpu: float, said: str) -> None:
    found = results(single=single, cpu=cpu)
    assert said in next(note for note in notes(found, summaries(found)) if "single requests" in note)


def test_the_json_has_every_run(tmp_path: Path) -> None:
    found = results()
    value = json.loads(json.dumps(as_json(found, summaries(found), facts(), {"seconds": 1})))
    assert len(value["tasks"]["detection"]["runs"]["raw"]) == 3
    assert value["tasks"]["detection"]["floors"]["bulk_ratio"] is False
    assert value["machine"]["cores"] >= 1
    assert value["floors"]["ratio"] == 0.9


def test_other_work_is_what_the_machine_did_beside_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, whole = iter([10.0, 14.0]), iter([100.0, 107.0])
    monkeypatch.setattr("benchmarks.machine.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("benchmarks.machine._whole", lambda: next(whole))
    assert Others().cores(own=5.0) == 0.5  # two of seven seconds, over four


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("ray::ServeReplica:detection:detection", "replica detection"),
        ("/env/bin/haproxy -f /tmp/haproxy.cfg", "haproxy"),
        ("ray::ProxyActor", "proxy"),
        ("/env/bin/raylet --haproxy_like", "rest"),
        ("", "rest"),
    ],
)
def test_the_parts_of_a_server_are_told_apart(command: str, part: str) -> None:
    assert part_of(command) == part
