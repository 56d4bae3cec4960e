"""The command `candor report`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from serving.calibrations.commands import report
from tests.unit.serving.calibrations.synthetic import full_figures, full_record, old_record


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_writes_the_page_beside_the_record_and_says_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(old_record().as_json()))
    found = run(tmp_path / "mine.json")
    assert found.exit_code == 0, found.output
    assert found.output.startswith("Not verified: 200 held-out rows; a claim takes at least 1,000\n- Label about 660 items")
    assert f"wrote {tmp_path / 'mine.html'}" in found.output
    assert "<h2>Not verified</h2>" in (tmp_path / "mine.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.html", "mine.json"]


def test_writes_plots_where_they_are_asked_for(tmp_path: Path) -> None:
    figures = {"slices": full_figures()["slices"]}
    (tmp_path / "r.json").write_text(json.dumps(full_record(figures=figures, further={}).as_json()))
    found = run(tmp_path / "r.json", "--out", tmp_path / "page.html", "--svg", tmp_path / "a", "--png", tmp_path / "b")
    assert found.exit_code == 0, found.output
    assert (tmp_path / "a" / "page.slices.svg").read_text().startswith("<?xml")
    assert (tmp_path / "b" / "page.slices.png").read_bytes().startswith(b"\x89PNG")


def test_says_where_there_are_no_plots(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(old_record().as_json()))
    found = run(tmp_path / "mine.json", "--out", tmp_path / "p.html", "--svg", tmp_path)
    assert "no plots: this record has no figures for any" in found.output


@pytest.mark.parametrize("kind", ["missing", "text", "edited", "shape", "itself", "folder"])
def test_what_can_not_be_done_is_told_in_a_line(tmp_path: Path, kind: str) -> None:
    record = full_record(figures={"slices": 3} if kind == "shape" else {}, further={}).as_json()
    path = tmp_path / "r.json"
    path.write_text("no" if kind == "text" else json.dumps({**record, **({"reason": "better"} if kind == "edited" else {})}))
    (tmp_path / "folder").mkdir()
    out = {"itself": path, "folder": tmp_path / "folder"}.get(kind, tmp_path / "o.html")
    found = run(tmp_path / "none.json" if kind == "missing" else path, "--out", out)
    assert found.exit_code == 2
    said = {
        "missing": "can't be read: No such file",
        "text": "is not JSON",
        "edited": "was changed after it was made",
        "shape": "slices is not a list",
        "itself": "is the record itself",
        "folder": "can't be written",
    }
    assert said[kind] in found.output
    assert "Traceback" not in found.output
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "r.json"]
