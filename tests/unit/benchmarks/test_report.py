from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.machine import disturbed, facts, part_of
from benchmarks.raw import RawRun
from benchmarks.report import as_json, notes, summaries, summarise, table_of
from benchmarks.served import Phase, ServedRun
from benchmarks.session import Ceiling, Results

RAW = RawRun("stub@sha256:00", 16, plain=20.0, ahead=22.0, back_to_back=0.05, period=1.0, latency={"a": 0.050, "b": 0.070}, cpu=1.9)
CLIENTS = Phase(rate=19.0, batch=8.0, p50=0.8, p99=1.1, items=300, cpu={"generator": 0.03, "replica detection": 1.8})
SERVED = ServedRun(CLIENTS, replace(CLIENTS, rate=17.0, batch=15.0, cpu={"generator": 0.05}), [("a", 0.062), ("b", 0.095)])


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
    slow = replace(SERVED, latency=[("a", 0.080), ("b", 0.095)])
    assert "25.0 FAIL" in row(shown(results(slow)), "added, p50 ms")


def test_the_notes_name_missed_floors_and_a_machine_that_is_not_quiet() -> None:
    told = "\n".join(notes(results(), summaries(results()), "others are busy"))
    assert "floors missed: detection: bulk_ratio" in told
    assert "NOT QUIET: others are busy" in told


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
    assert said in next(note for note in notes(found, summaries(found), "") if "single requests" in note)


def test_the_json_has_every_run(tmp_path: Path) -> None:
    found = results()
    value = json.loads(json.dumps(as_json(found, summaries(found), facts(), {"seconds": 1})))
    assert len(value["tasks"]["detection"]["runs"]["raw"]) == 3
    assert value["tasks"]["detection"]["floors"]["bulk_ratio"] is False
    assert value["machine"]["cores"] >= 1
    assert value["floors"]["ratio"] == 0.9


def test_a_disturbed_machine_is_told_of() -> None:
    assert disturbed(0.02) == ""
    assert "50%" in disturbed(0.5)


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
