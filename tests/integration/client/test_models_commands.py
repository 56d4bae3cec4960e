from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from tests.unit.client.fake_registry import DIGEST, FAILED, REPORT, FakeRegistry
from tests.unit.client.fake_server import problem

RUNNER = CliRunner()
Run = Callable[..., Result]
WHERE = ("models", "register", "aliases", "calibrate")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `candor models …` against a fake server."""

    def run(server: FakeRegistry, *words: str | Path) -> Result:
        for module in WHERE:
            monkeypatch.setattr(f"client.commands.{module}.Client", server.client_class())
        return RUNNER.invoke(app, ["models", *map(str, words)], env={"COLUMNS": "200"})

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "best.onnx"
    path.write_bytes(b"onnx")
    return path


def test_register_ends_with_a_report_and_what_to_do_next(run: Run, model: Path) -> None:
    server = FakeRegistry()
    result = run(server, "register", "mine", "--artifact", model, "--task", "detection", "--labels", "coco80", "--licence", "MIT")
    assert result.exit_code == 0, result.stderr
    for told in ("ready", "30.0 MB", "4 *", "40.0", "[all] figures are finite"):
        assert told in result.stdout
    assert "candor draft FILES --model mine" in result.stderr
    assert "candor models calibrate mine" in result.stderr
    assert "validating: ran 1 of 9 checks" in result.stderr
    assert result.stderr.count("checks") == 1  # steps that differ in numbers are one line
    assert b'"labels": "coco80"' in server.form
    assert b'filename="best.onnx"' in server.form


def test_a_failed_version_is_2_and_says_why(run: Run, model: Path) -> None:
    result = run(FakeRegistry(report=FAILED), "register", "mine", "--artifact", model, "--task", "detection")
    assert result.exit_code == 2
    assert result.stdout == ""
    for told in ("refused: the file gives NaN: export it anew (unsafe_artifact)", "NaN in 3 of 80 classes", "register it again"):
        assert told in result.stderr


def test_register_as_json_is_the_version_alone(run: Run, model: Path) -> None:
    result = run(FakeRegistry(), "register", "mine", "--artifact", model, "--task", "detection", "--json")
    assert json.loads(result.stdout)["report"] == REPORT


def test_register_without_waiting_says_how_to_watch(run: Run, model: Path) -> None:
    server = FakeRegistry()
    result = run(server, "register", "mine", "--artifact", model, "--task", "detection", "--no-wait", "--alias", "canary")
    assert result.exit_code == 0
    assert server.polls == 0
    assert "candor models watch mine@ver_1" in result.stderr
    assert "alias set mine@canary ver_1" in result.stderr
    assert run(server, "watch", "mine@ver_1").exit_code == 0


def test_an_alias_is_set_once_the_version_is_ready(run: Run, model: Path) -> None:
    server = FakeRegistry()
    assert run(server, "register", "mine", "--artifact", model, "--task", "detection", "--alias", "canary").exit_code == 0
    assert server.told == [{"version": DIGEST, "canary": None}]
    failed = FakeRegistry(report=FAILED)
    run(failed, "register", "mine", "--artifact", model, "--task", "detection", "--alias", "canary")
    assert failed.told == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("register", "mine", "--artifact", "none.onnx", "--task", "detection"), "none.onnx does not exist"),
        (("register", "mine", "--artifact", __file__), "--family"),
        (("show", "mine@v"), "told: unknown_model (unknown_model)"),
        (("split", "mine@beta", "ver_1", "--share", "0.1"), "candor models alias set"),
        (("calibrate", "mine", "--data", "nowhere"), "nowhere is no folder"),
    ],
)
def test_what_went_wrong_is_2_in_one_line(run: Run, words: tuple[str, ...], told: str) -> None:
    result = run(FakeRegistry([(r"GET .*/versions/v", problem("unknown_model", 404))]), *words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_aliases_are_set_split_and_listed(run: Run) -> None:
    server = FakeRegistry()
    assert "mine@production -> sha256:4b1c4b1c4b1c" in run(server, "alias", "set", "mine", DIGEST).stderr
    result = run(server, "split", "mine@production", "sha256:beefbeef", "--share", "0.1")
    assert server.told[-1] == {"version": DIGEST, "canary": {"version": "sha256:beefbeef", "share": 0.1}}
    assert server.if_match == '"1"'  # a move in between must not be lost
    assert "(90%), sha256:beefbeef (10%)" in result.stderr
    assert "sha256:beefbeef (10%)" in run(server, "alias", "list", "mine").stdout


def test_a_rollback_whose_answer_is_lost_is_not_done_twice(run: Run) -> None:
    server = FakeRegistry()
    run(server, "alias", "set", "mine", DIGEST)
    server.aliases["production"]["revision"] = 7
    assert run(server, "alias", "rollback", "mine").exit_code == 0
    answered = server._routes[r"POST /v1/models/mine/aliases/(\w+)/rollback"]

    def lost(self: FakeRegistry, body: bytes, name: str) -> httpx.Response:
        if answered(self, body, name).status_code == 200:
            raise httpx.ReadError("reset")
        return problem("conflict", 409)

    server._routes = {**server._routes, r"POST /v1/models/mine/aliases/(\w+)/rollback": lost}  # type: ignore[misc]
    result = run(server, "alias", "rollback", "mine")
    assert (result.exit_code, server.aliases["production"]["revision"]) == (2, 9)
    assert "conflict" in result.stderr


def test_versions_and_one_of_them_are_shown(run: Run) -> None:
    assert "ver_1" in run(FakeRegistry(), "versions", "mine").stdout
    assert "6 made images" in run(FakeRegistry(), "show", f"mine@{DIGEST}").stdout


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "street"
    folder.mkdir()
    (folder / "labels.csv").write_text("file,label\n")
    return folder


def test_calibrate_uploads_fits_and_promotes(run: Run, data: Path) -> None:
    server = FakeRegistry()
    result = run(server, "calibrate", "mine", "--data", data, "--promote")
    assert result.exit_code == 0, result.stderr
    assert server.received.startswith(b"PK")
    assert server.told == [{"model": "mine", "from": {"upload": "upl_1", "name": "street"}}]
    assert server.asked[-1] == "POST /v1/calibrations/cal_1/promote"
    assert "cal_1: unverified" in result.stdout


def test_calibrate_without_promoting_says_how(run: Run, data: Path) -> None:
    server = FakeRegistry()
    assert "/v1/calibrations/cal_1/report" in run(server, "calibrate", "mine", "--data", data).stderr
    assert "promote" not in server.asked[-1]


def test_a_fit_that_failed_is_2_and_says_why(run: Run, data: Path) -> None:
    server = FakeRegistry(job={"state": "failed", "result": None, "error": {"detail": "too few boxes: 3"}})
    result = run(server, "calibrate", "mine", "--data", data, "--promote")
    assert result.exit_code == 2
    assert "no calibration: too few boxes: 3" in result.stderr
