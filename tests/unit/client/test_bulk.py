from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.api import DraftOptions
from client.bulk import in_order
from client.errors import Refused
from client.files import MediaFile, batches
from tests.unit.client.fake_server import FakeServer, item_error, problem

OPTIONS = DraftOptions("detection")


def files(folder: Path, n: int) -> list[MediaFile]:
    found = []
    for i in range(n):
        path = folder / f"{i:02}.jpg"
        path.write_bytes(b"x" * 10)
        found.append(MediaFile(path, "image", path.name))
    return found


def test_answers_come_in_the_files_order(tmp_path: Path) -> None:
    server = FakeServer()
    some = files(tmp_path, 23)
    drafts = list(server.client().draft_found(some, OPTIONS, batch=4, jobs=3))
    assert [draft["item"] for draft in drafts] == [file.item for file in some]
    assert len(server.requests) == 6


def test_order_holds_where_later_work_ends_first() -> None:
    last_done = threading.Event()

    def work(task: int) -> int:
        if task == 0:
            assert last_done.wait(10)
        if task == 3:
            last_done.set()
        return task

    assert list(in_order(work, range(4), jobs=2)) == [0, 1, 2, 3]


def test_no_more_than_jobs_run_at_once() -> None:
    lock, inside, most = threading.Lock(), 0, 0
    pair = threading.Barrier(2)

    def work(_task: int) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        pair.wait(10)  # two must be inside before either leaves
        with lock:
            inside -= 1

    list(in_order(work, range(12), jobs=2))
    assert most == 2


def test_work_that_has_not_begun_stops_with_the_caller() -> None:
    begun, go = list[int](), threading.Event()

    def work(task: int) -> int:
        begun.append(task)
        if task:
            go.wait(10)
        return task

    results = in_order(work, range(100), jobs=1)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    go.set()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(10)
    assert len(begun) <= 2


def test_an_item_that_failed_for_a_passing_reason_is_sent_again_alone(tmp_path: Path) -> None:
    def entry(item: str, tries: int) -> dict[str, Any]:
        lost = item == "01.jpg" and tries < 3
        return item_error(item, "worker_lost", retryable=True) if lost else {"item": item, "priority": tries}

    server = FakeServer(entry=entry)
    drafts = list(server.client().draft_found(files(tmp_path, 3), OPTIONS))
    assert [draft["priority"] for draft in drafts] == [1, 3, 1]
    assert server.tries == {"00.jpg": 1, "01.jpg": 3, "02.jpg": 1}
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 3


def test_an_item_that_keeps_failing_is_answered_as_the_api_gave_it(tmp_path: Path) -> None:
    server = FakeServer(entry=lambda item, _tries: item_error(item, "worker_lost", retryable=True))
    assert list(server.client().draft_found(files(tmp_path, 1), OPTIONS)) == [item_error("00.jpg", "worker_lost", retryable=True)]
    assert server.tries == {"00.jpg": 3}


def test_a_lasting_item_error_is_not_sent_again(tmp_path: Path) -> None:
    server = FakeServer(entry=lambda item, _tries: item_error(item, "undecodable_image"))
    assert [draft["error"]["code"] for draft in server.client().draft_found(files(tmp_path, 2), OPTIONS)] == ["undecodable_image"] * 2
    assert len(server.requests) == 1


def test_a_batch_that_is_too_large_goes_in_halves(tmp_path: Path) -> None:
    server = FakeServer(too_many=2)
    some = files(tmp_path, 7)
    assert [draft["item"] for draft in server.client().draft_found(some, OPTIONS, batch=7)] == [file.item for file in some]
    assert set(server.tries.values()) == {1}


def test_one_file_that_is_too_large_fails_alone(tmp_path: Path) -> None:
    server = FakeServer(problem("body_too_large", 413), problem("body_too_large", 413))
    first, second = server.client().draft_found(files(tmp_path, 2), OPTIONS)
    assert (first["item"], first["error"]["code"]) == ("00.jpg", "body_too_large")
    assert second["id"] == "drf_01.jpg"


def test_a_file_that_can_not_be_read_fails_alone(tmp_path: Path) -> None:
    some = files(tmp_path, 3)
    some[1].path.unlink()
    drafts = list(FakeServer().client().draft_found(some, OPTIONS))
    assert [draft["item"] for draft in drafts] == ["00.jpg", "01.jpg", "02.jpg"]
    assert drafts[1]["error"]["code"] == "unreadable_file"


def test_what_came_before_a_refusal_has_been_yielded(tmp_path: Path) -> None:
    server = FakeServer(httpx.Response(200, json={"drafts": [{"item": "00.jpg"}]}), problem("unknown_model", 404))
    results = server.client().draft_found(files(tmp_path, 3), OPTIONS, batch=1, jobs=1)
    assert next(results)["item"] == "00.jpg"
    with pytest.raises(Refused):
        next(results)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([1, 1, 1, 1, 1], [2, 2, 1]), ([100, 1, 1], [1, 2]), ([6, 6, 1], [1, 2]), ([], [])],
)
def test_batches_are_bounded_by_number_and_bytes(tmp_path: Path, sizes: Sequence[int], expected: Sequence[int]) -> None:
    some = []
    for i, size in enumerate(sizes):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(b"x" * size)
        some.append(MediaFile(path, "image"))
    cut = list(batches(some, items=2, most_bytes=10))
    assert [len(batch) for batch in cut] == expected
    assert [file for batch in cut for file in batch] == some
