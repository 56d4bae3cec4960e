"""Formats of other tools: what is in them, what is left out, and where files go. Tools' own readers are in tests/integration/client."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from client.cli import app
from client.errors import BadOption, Refused
from client.exports.asked import ExportClient
from client.exports.forms import FORMS
from client.exports.places import Places, write
from client.exports.table import plain
from client.output import Format, Wanted, opened
from tests.unit.client.fake_server import FakeServer, item_error, problem

RUNNER = CliRunner()
SIZE = [640, 480]


def boxes(item: str, *labels: tuple[str, float | None], status: str = "calibrated", **more: Any) -> dict[str, Any]:
    made = [{"id": f"{item}.{n}", "label": name, "xyxy": [0.0, 1.5, 320.25, 480.0], "confidence": c} for n, (name, c) in enumerate(labels)]
    return {"item": item, "task": "detection", "confidence_status": status, "image_size": SIZE, "labels": made, "route": "review", **more}


def speech(item: str, *words: str) -> dict[str, Any]:
    timed = [{"text": word, "start": float(n), "end": n + 0.5, "confidence": 0.5} for n, word in enumerate(words)]
    segments = [{"start": 0.0, "end": float(len(words)), "text": " ".join(words), "confidence": None, "words": timed}] if words else []
    return {"item": item, "task": "transcription", "confidence_status": "calibrated", "text": " ".join(words), "segments": segments}


def reviewed(item: str, final: dict[str, Any], task: str) -> dict[str, Any]:
    return {"item": item, "task": task, "image_size": SIZE, "final": final, "provenance": {"draft": "drf_1", "gold": False}}


def write_all(out: Path, how: str, *entries: dict[str, Any], **wanted: Any) -> list[str]:
    with opened(out, Format(how), Wanted(**wanted)) as output:
        for entry in entries:
            output.write(entry)
    return output.notes()


def break_off(out: Path, how: Format, entry: dict[str, Any], *, keep: bool) -> None:
    with suppress(KeyboardInterrupt), opened(out, how, Wanted(keep=keep)) as output:
        output.write(entry)
        raise KeyboardInterrupt


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_failed_and_from_scratch_items_are_left_out_and_counted(tmp_path: Path) -> None:
    entries = [boxes("a.jpg", ("cat", 0.5)), item_error("b.jpg", "undecodable_image"), boxes("c.jpg", route="from_scratch"), boxes("d.jpg")]
    for how in ("coco", "yolo", "voc", "cvat", "label-studio", "csv"):
        out = tmp_path / f"{how}.out"
        assert "not in it: 1 failed, 1 to be labelled from scratch" in write_all(out, how, *entries)
        text = out.read_text() if out.is_file() else " ".join(files(out))
        stems = [
            f"{'/' if out.is_dir() else ''}{name}{('.txt' if how == 'yolo' else '.xml') if out.is_dir() else '.jpg'}" for name in "abcd"
        ]
        assert [stem in text for stem in stems] == [True, False, False, True]
    assert files(tmp_path / "yolo.out") == ["classes.txt", "data.yaml", "labels/a.txt", "labels/d.txt"]
    assert (tmp_path / "yolo.out" / "labels" / "d.txt").read_text() == ""


def test_yolo_numbers_follow_the_labels_and_only_predictions_have_a_sixth_column(tmp_path: Path) -> None:
    entries = [boxes("in/a.jpg", ("zebra", 0.25)), boxes("in/b.jpg", ("big cat", None), ("zebra", 0.75))]
    assert write_all(tmp_path / "5", "yolo", *entries) == ["yolo does not hold confidences, which yolo-predictions has"]
    assert write_all(tmp_path / "6", "yolo-predictions", *reversed(entries)) == []
    shares = "0.25019531 0.50156250 0.50039062 0.99687500"
    assert (tmp_path / "5/labels/in/b.txt").read_text() == f"0 {shares}\n1 {shares}\n"
    assert (tmp_path / "6/labels/in/b.txt").read_text() == f"0 {shares}\n1 {shares} 0.750000\n"
    assert '  0: "big cat"\n  1: "zebra"\n' in (tmp_path / "6/data.yaml").read_text()


@pytest.mark.parametrize("status", ["uncalibrated", "unverified"])
def test_a_number_that_is_no_calibrated_confidence_is_in_no_format(tmp_path: Path, status: str) -> None:
    for how in ("coco", "yolo-predictions", "voc", "cvat", "label-studio", "csv"):
        out = tmp_path / f"{how}.out"
        write_all(out, how, boxes("a.jpg", ("cat", 0.123456), status=status, confidence=0.123456))
        assert not any("0.123456" in path.read_text() for path in ([out] if out.is_file() else out.rglob("*.*")))


def test_a_format_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(
        BadOption, match=r"coco does not hold labels of transcription: take one of label-studio, csv, srt, vtt, textgrid, json"
    ):
        write_all(tmp_path / "out.json", "coco", task="transcription")
    with pytest.raises(BadOption, match="name a folder with --out"), opened(None, Format.voc):
        pass
    with pytest.raises(BadOption, match=r"srt does not hold texts that people wrote, which have no times: .*, csv, json"):
        write_all(tmp_path / "out", "srt", reviewed("a.wav", {"text": "hello"}, "transcription"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old.xml").touch()
    with pytest.raises(BadOption, match="is not empty"):
        write_all(tmp_path / "full", "voc", boxes("a.jpg"))
    assert files(tmp_path) == ["full/old.xml"]


def test_another_task_is_counted_not_mixed_in(tmp_path: Path) -> None:
    said = write_all(tmp_path / "x.csv", "csv", reviewed("a", {"label": None}, "classification"), reviewed("b", {"boxes": []}, "detection"))
    assert said == ["not in it: 1 of detection"]
    assert (tmp_path / "x.csv").read_text() == "item,label\na,\n"


@pytest.mark.parametrize("how", sorted(FORMS))
def test_what_breaks_off_leaves_nothing_half_unless_it_is_to_be_kept(tmp_path: Path, how: str) -> None:
    entry = speech("a.wav", "hi") if how in ("srt", "vtt", "textgrid") else boxes("a.jpg", ("cat", 0.5))
    for keep in (False, True):
        break_off(tmp_path / "out", Format(how), entry, keep=keep)
        assert bool(list(tmp_path.iterdir())) == keep
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_json_of_an_export_that_broke_off_is_not_written(tmp_path: Path) -> None:
    for how in (Format.json, Format.jsonl):
        (tmp_path / how).write_text("earlier")
        break_off(tmp_path / how, how, {"item": "a"}, keep=False)
        assert (tmp_path / how).read_text() == "earlier"


def test_nothing_taken_leaves_an_earlier_file_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("earlier")
    assert write_all(out, "coco", item_error("a", "undecodable_image")) == ["not in it: 1 failed"]
    assert out.read_text() == "earlier"


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NAMES = st.one_of(
    TEXTS, st.lists(st.sampled_from(["..", ".", "", "a", "A", "b.jpg", "/", "~", "a.txt", "x" * 300, " ", "é"])).map("/".join)
)
QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_a_file_lies_under_its_items_path_or_address(tmp_path: Path) -> None:
    items = ["/data/a b/1.jpg", "s3://bucket/2.jpg", "https://host/x/3.jpg?sig=a/b", "4.jpg", "4.png", "../5.jpg", "é.jpg"]
    (told,) = write_all(tmp_path / "out", "voc", *(boxes(item) for item in items))
    names = [name.removeprefix("Annotations/") for name in files(tmp_path / "out")]
    assert {"data/a b/1.xml", "bucket/2.xml", "host/x/3.xml", "4.xml", "é.xml"} < {*names}
    assert [name[:2] for name in names if "-" in name] == ["4-", "5-"]
    assert told.startswith("2 files have other names than their items")
    with pytest.raises(BadOption, match="voc is none"):
        write_all(tmp_path / "more", "voc", boxes("a"), prefix="s3://")


@QUICK
@given(st.lists(NAMES, unique=True, max_size=8))
def test_no_items_file_leaves_its_folder_and_none_takes_anothers_place(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "in"
    places = Places(".txt")
    for name in names:
        write(folder, places.of(name), json.dumps(name))
    found = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert sorted(json.loads(path.read_text()) for path in found) == sorted(names)
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in found)


@pytest.mark.parametrize("label", ["=1+1", "+cmd|'/C calc'!A0", "-2", "@x", "'", "'=x", "\tx", 'plain, "quoted"\nline'])
def test_no_cell_is_a_formula(tmp_path: Path, label: str) -> None:
    write_all(tmp_path / "x.csv", "csv", boxes("a", (label, None)))
    with (tmp_path / "x.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["label"][0] not in "=+-@\t\r"
    assert plain(row["label"]) == label


def test_draft_names_images_by_their_place_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "media" / "day 1").mkdir(parents=True)
    for name in ("1.jpg", "day 1/2.jpg"):
        (tmp_path / "media" / name).touch()
    server = FakeServer(entry=lambda item, _tries: boxes(item, ("cat", 0.5)))
    monkeypatch.setattr("client.commands.draft.Client", server.client_class())
    for number, (words, names) in enumerate(
        [
            (["media"], ["1.jpg", "day 1/2.jpg"]),
            (["media/1.jpg", "media/day 1"], ["1.jpg", "day 1/2.jpg"]),
            ([str(tmp_path / "media" / "day 1" / "2.jpg"), "--prefix", "s3://b/"], ["s3://b/2.jpg"]),
        ]
    ):
        monkeypatch.chdir(tmp_path)
        result = RUNNER.invoke(app, ["draft", *words, "--task", "detection", "--format", "coco", "--out", f"{number}.json"])
        assert result.exit_code == 0, result.stderr
        assert [image["file_name"] for image in json.loads(Path(f"{number}.json").read_text())["images"]] == names
    refused = RUNNER.invoke(app, ["draft", "media", "--task", "detection", "--format", "srt"])
    assert (refused.exit_code, "srt does not hold labels of detection" in refused.stderr) == (2, True)


def test_one_recordings_subtitles_are_one_file(tmp_path: Path) -> None:
    write_all(tmp_path / "a.srt", "srt", speech("x/a.wav", "hello", "there"))
    assert (tmp_path / "a.srt").read_text() == "1\n00:00:00,000 --> 00:00:01,500\nhello there\n\n"
    with pytest.raises(BadOption, match="let --out be a folder"):
        write_all(tmp_path / "b.srt", "srt", speech("a.wav"), speech("b.wav"), keep=False)
    with pytest.raises(BadOption, match="let --out be a folder"):
        write_all(tmp_path / "b.srt", "srt", items=2)
    assert files(tmp_path) == ["a.srt"]


def test_without_praatio_textgrid_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "praatio.textgrid", None)
    with pytest.raises(BadOption, match="pip install praatio"):  # before anything is drafted
        write_all(tmp_path / "out", "textgrid")
    assert not list(tmp_path.iterdir())


class Stream(httpx.SyncByteStream):
    """An answer that may break in its middle."""

    def __init__(self, *pieces: bytes, broken: bool = False) -> None:
        self._pieces = pieces
        self._broken = broken

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._broken:
            raise httpx.RemoteProtocolError("peer closed connection")


def test_reviewed_labels_are_read_as_they_come_and_begun_again_after_a_passing_refusal() -> None:
    waits: list[float] = []
    answers = [problem("overloaded", 503, retryable=True), httpx.Response(200, stream=Stream(b'{"item": "a"}\n{"it', b'em": "b"}\n'))]
    with ExportClient(transport=httpx.MockTransport(lambda _: answers.pop(0)), wait=waits.append) as candor:
        assert [one["item"] for one in candor.reviewed("p")] == ["a", "b"]
    assert len(waits) == 1
    unknown = httpx.MockTransport(lambda _: problem("unknown_project", 404))
    with ExportClient(transport=unknown) as candor, pytest.raises(Refused, match="told: unknown_project"):
        list(candor.reviewed("p"))


@pytest.mark.parametrize(
    ("pieces", "broken"), [(b'{"item": "a"}\n', True), (b'{"item": "a"}\n{"it', True), (b'{"item": "a"}\n{"it', False)]
)
def test_a_broken_export_writes_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: bytes, broken: bool) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Stream(pieces, broken=broken)))
    monkeypatch.setattr("client.commands.export.ExportClient", partial(ExportClient, transport=transport))
    result = RUNNER.invoke(app, ["export", "p", "--out", str(tmp_path / "out.jsonl")])
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "broke in the middle of the labels: ask again" in result.stderr
