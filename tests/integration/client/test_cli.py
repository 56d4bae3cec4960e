from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from client import cli
from client.cli import app
from tests.unit.client.fake_server import FakeServer, item_error, problem

RUNNER = CliRunner()
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line against a fake server."""

    def run(server: FakeServer, *words: str | Path) -> Result:
        monkeypatch.setattr("client.commands.draft.Client", server.client_class())
        monkeypatch.setattr("client.commands.models.Client", server.client_class())
        return RUNNER.invoke(app, [str(word) for word in words])

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "media"
    place.mkdir()
    for name in ("1.jpg", "2.jpg", "3.jpg", "notes.txt"):
        (place / name).write_bytes(b"x")
    return place


def one_bad(item: str, _tries: int) -> dict[str, Any]:
    return item_error(item, "undecodable_image") if item.endswith("2.jpg") else {"item": item, "labels": [{"label": "chat égaré"}]}


def test_all_drafted_is_0_and_a_list_in_order(run: Run, folder: Path) -> None:
    result = run(FakeServer(), "draft", folder, "--task", "detection", "--batch", "1")
    assert result.exit_code == 0, result.stderr
    assert [draft["item"] for draft in json.loads(result.stdout)] == [f"{folder}/{n}.jpg" for n in (1, 2, 3)]
    assert "3 drafted, 0 failed (skipped: 1 neither image nor recording)" in result.stderr


def test_some_failed_is_1_and_the_error_is_in_output_and_summary(run: Run, folder: Path) -> None:
    result = run(FakeServer(entry=one_bad), "draft", folder, "--task", "detection", "--format", "jsonl")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[1] == item_error(f"{folder}/2.jpg", "undecodable_image")
    assert lines[0]["labels"][0]["label"] == "chat égaré"
    assert "2 drafted, 1 failed" in result.stderr
    assert "undecodable_image" in result.stderr


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (problem("unknown_model", 404), "told: unknown_model (unknown_model) [request req-1]"),
        (httpx.ConnectError("refused"), "no server answers at http://127.0.0.1:8000: start one with `make serve`"),
        (httpx.Response(200, text="hello"), "is another server there?"),
    ],
)
def test_a_refused_request_is_2_in_one_line(run: Run, folder: Path, fault: httpx.Response | Exception, told: str) -> None:
    result = run(FakeServer(fault), "draft", folder, "--task", "detection")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_nothing_to_draft_is_2(run: Run, folder: Path) -> None:
    for words, told in (
        ([folder / "notes.txt"], "nothing to draft"),
        ([folder / "missing"], "does not exist"),
        ([folder], "--task"),
        ([folder, "--task", "transcription"], "nothing for transcription"),
    ):
        result = run(FakeServer(), "draft", *words)
        assert result.exit_code == 2
        assert told in result.stderr


@pytest.mark.parametrize("name", ["drafts.json", "drafts.jsonl"])
def test_a_file_holds_the_drafts_alone_in_the_format_of_its_name(run: Run, folder: Path, name: str) -> None:
    out = folder / "out" / name
    out.parent.mkdir()
    out.write_text("earlier\n")
    assert run(FakeServer(), "draft", folder, "--task", "detection", "--out", out, "--include-raw").exit_code == 0
    text = out.read_text()
    drafts = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    assert [Path(draft["item"]).name for draft in drafts] == ["1.jpg", "2.jpg", "3.jpg"]
    assert [path.name for path in out.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["drafts.json", "drafts.jsonl"])
def test_ctrl_c_writes_what_there_is(run: Run, folder: Path, name: str) -> None:
    out = folder / name
    done = httpx.Response(200, json={"drafts": [{"item": "1"}]})

    class Interrupted(FakeServer):
        def handle(self, request: httpx.Request) -> httpx.Response:
            if len(self.requests) == 1:
                raise KeyboardInterrupt
            return super().handle(request)

    result = run(Interrupted(done), "draft", folder, "--task", "detection", "--batch", "1", "--jobs", "1", "--out", out)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert "1 drafted, 0 failed, 2 not answered" in result.stderr
    text = out.read_text()
    assert (json.loads(text) if name.endswith(".json") else [json.loads(text)]) == [{"item": "1"}]


@pytest.mark.parametrize("name", ["drafts.json", "drafts.jsonl"])
def test_a_request_that_fails_at_once_leaves_an_earlier_file(run: Run, folder: Path, name: str) -> None:
    out = folder / name
    out.write_text("earlier")
    assert run(FakeServer(problem("not_found", 404)), "draft", folder, "--task", "detection", "--out", out).exit_code == 2
    assert out.read_text() == "earlier"
    assert sorted(path.name for path in folder.iterdir()) == sorted(["1.jpg", "2.jpg", "3.jpg", "notes.txt", name])


def test_a_file_that_can_not_be_written_is_told_before_the_work(run: Run, folder: Path) -> None:
    server = FakeServer()
    result = run(server, "draft", folder, "--task", "detection", "--out", folder)
    assert result.exit_code == 2
    assert "folder" in result.stderr
    assert server.requests == []


def test_models_are_listed(run: Run) -> None:
    result = run(FakeServer(), "models", "list")
    assert result.exit_code == 0
    for word in ("boxes *", "detection", "fake", "uncalibrated", "ready"):
        assert word in result.stdout
    assert [model["name"] for model in json.loads(run(FakeServer(), "models", "list", "--json").stdout)] == ["boxes", "names", "words"]
    assert run(FakeServer(httpx.ConnectError("refused")), "models", "list").exit_code == 2


class _Point:
    """An entry point whose module is not installed."""

    def __init__(self, missing: str) -> None:
        self.name = "far"
        self._missing = missing

    def load(self) -> object:
        raise ModuleNotFoundError(f"No module named {self._missing!r}", name=self._missing)


def test_a_plugin_without_its_packages_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "_plugins", lambda: {"far": _Point("torch")})
    assert "Not installed here" in RUNNER.invoke(app, ["--help"]).stdout
    monkeypatch.setattr(sys, "argv", ["candor", "far", "--deep", "4"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "torch is not installed" in capsys.readouterr().err


def test_a_bug_of_our_own_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_plugins", lambda: {"far": _Point("serving.gone")})
    monkeypatch.setattr(sys, "argv", ["candor", "far"])
    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_a_plugin_is_loaded_only_for_its_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    class Near(_Point):
        def load(self) -> object:
            loaded.append(self.name)

            def near(number: int = 1) -> None:
                """Go near."""
                typer.echo(f"near {number}")

            return near

    monkeypatch.setattr(cli, "_plugins", lambda: {"near": Near("")})
    assert RUNNER.invoke(app, ["draft", "--help"]).exit_code == 0
    assert loaded == []
    assert RUNNER.invoke(app, ["near", "--number", "2"]).stdout == "near 2\n"
    assert "Go near." in RUNNER.invoke(app, ["--help"]).stdout


def test_help_and_the_clients_commands_import_nothing_heavy() -> None:
    code = (
        "import sys, client.cli, candor.subtitles\n"
        "light = [name for name in ('numpy', 'torch', 'ray', 'serving', 'models', 'PIL', 'pydantic') if name in sys.modules]\n"
        "sys.argv = ['candor', '--help']\n"
        "try: client.cli.main()\n"
        "except SystemExit: pass\n"
        "print('heavy', light, [name for name in ('numpy', 'torch', 'ray', 'pydantic', 'fastapi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "heavy [] []"
    for command in ("draft", "models", "serve", "evaluate", "calibrate"):
        assert command in done.stdout
