from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from client.files import MediaFile
from scripts.demo.drafting import Drafted
from scripts.demo.report import row_of, table_of, unique_stems, write_report
from tests.unit.scripts.drafts import boxes, classes, drafted, failed, speech

TWO_CATS = ((1.0, 2.0, 30.0, 40.0), (5.0, 5.0, 20.0, 20.0), (0.0, 0.0, 9.0, 9.0))


@pytest.mark.parametrize(
    ("one", "cells"),
    [
        (
            drafted("detection", boxes((64, 48), *TWO_CATS, classes=(0, 1, 0)), [0.9, 0.5, 0.25]),
            ["cat.jpg", "detection", "cat x2, dog", "0.25 to 0.90", "calibrated", "30", "4"],
        ),
        (drafted("detection", boxes((64, 48))), ["cat.jpg", "detection", "(nothing found)", "-", "uncalibrated", "30", "4"]),
        (drafted("classification", classes(0, 3), [0.05, 0.95]), ["cat.jpg", "classification", "dog", "0.95", "calibrated", "30", "4"]),
        (drafted("classification", classes(0, 3)), ["cat.jpg", "classification", "dog", "-", "uncalibrated", "30", "4"]),
        (
            drafted("transcription", speech("Ask not"), [0.8, 0.8]),
            ["cat.jpg", "transcription", "Ask not", "0.80", "calibrated", "30", "4"],
        ),
        (drafted("transcription", speech("")), ["cat.jpg", "transcription", "(no speech)", "-", "uncalibrated", "30", "4"]),
        (
            failed("detection", "undecodable_image"),
            ["cat.jpg", "detection", "undecodable_image: [why]", "-", "-", "-", "-"],
        ),
    ],
)
def test_a_row_says_what_was_drafted_or_why_not(one: Drafted, cells: list[str]) -> None:
    assert [cell.plain for cell in row_of(one)] == cells


@pytest.mark.parametrize("width", [90, 140])
def test_long_text_is_cut_and_leaves_the_other_columns_whole(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    said = "word " * 60
    console.print(table_of([drafted("transcription", speech(said), path=Path("a/talk.wav")), failed("detection", "undecodable_image")]))
    assert isinstance(console.file, io.StringIO)
    table = console.file.getvalue()
    assert max(len(line) for line in table.splitlines()) <= width
    assert table.count("word") < 20
    assert "…" in table
    for whole in ("talk.wav", "transcription", "uncalibrated", "batch", "undecodable_image"):
        assert whole in table


def test_files_are_written_for_what_was_drafted(tmp_path: Path) -> None:
    picture = tmp_path / "cat.jpg"
    Image.new("RGB", (64, 48), "white").save(picture)
    out = tmp_path / "out"
    all_of_it = [
        drafted("detection", boxes((64, 48), *TWO_CATS), path=picture),
        failed("detection", "undecodable_image", tmp_path / "bad.jpg"),
        drafted("classification", classes(0, 3), path=picture),
        drafted("transcription", speech("Ask not"), path=tmp_path / "talk.wav"),
    ]
    written = write_report(all_of_it, out)
    assert sorted(path.name for path in out.iterdir()) == ["cat.png", "contact-sheet.png", "drafts.json", "talk.srt"]
    assert sorted(written) == sorted(out.iterdir())
    assert json.loads((out / "drafts.json").read_text()) == [one.entry for one in all_of_it]
    assert "00:00:00,000 --> 00:00:01,500\nAsk not" in (out / "talk.srt").read_text()
    Image.open(out / "cat.png").verify()


def test_no_two_items_share_a_file_and_none_leaves_the_folder() -> None:
    names = ["a.jpg", "a.png", "A.gif", "sub/a.jpg", "sub-a.jpg", "contact-sheet.png", "../x.jpg", "/etc/y.jpg"]
    stems = unique_stems(MediaFile(Path("p"), "image", name) for name in names)
    assert list(stems) == names
    assert len({stem.lower() for stem in stems.values()} | {"contact-sheet"}) == len(names) + 1
    assert all("/" not in stem and not stem.startswith(".") for stem in stems.values())
    assert stems["sub/a.jpg"] == "sub-a"
