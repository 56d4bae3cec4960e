from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candor.errors import (
    InvalidRequest,
    ModelUnavailable,
    StorageUnavailable,
    UnknownAlias,
    UnknownModel,
    UnsafeArtifact,
    WrongTask,
)
from candor.fake import FakeFamily
from candor.families import Adopted, get_family
from models import artifacts
from models.catalog import ModelEntry
from tests.unit.models.catalogs import Home, entry


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def adoptions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that the fake family takes in, copies of whose bytes become its weights."""
    seen: list[str] = []

    def adopt(self: FakeFamily, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        seen.append(source)
        path = Path(source)
        (folder / "model.json").write_bytes(path.read_bytes() if path.is_absolute() else source.encode())
        return Adopted(labels=tuple(options.get("labels", ("cat", "dog"))), licence="CC0")

    monkeypatch.setattr(FakeFamily, "adopt", adopt)
    return seen


def test_a_model_is_installed_once(home: Home, adoptions: list[str]) -> None:
    catalog = home.catalog()
    assert catalog.installed("cats") is None
    done = catalog.install("cats")
    assert (done.manifest.name, done.manifest.task, done.manifest.labels) == ("cats", "classification", ("cat", "dog"))
    assert done.folder.name == done.manifest.digest.removeprefix("sha256:")[:16]
    assert done.verify() == done.folder
    assert catalog.install("cats") == done
    assert home.catalog().installed("cats") == done
    assert home.within("cats") == [done.folder.name]
    assert adoptions == ["tiny"]


def test_the_version_says_nothing_of_the_machine(home: Home, tmp_path: Path, adoptions: list[str]) -> None:
    (tmp_path / "a").mkdir()
    for name in ("one.bin", "a/two.bin"):
        (tmp_path / name).write_bytes(b"weights")
    one = home.catalog(entry(source=f"file:{tmp_path}/one.bin")).install("cats")
    two = home.catalog(entry(source=f"file:{tmp_path}/a/two.bin")).install("cats")
    assert one.manifest.digest == two.manifest.digest
    assert two.manifest.notes == "from file two.bin"


def test_other_options_are_another_version(home: Home) -> None:
    one = home.catalog().install("cats")
    other = entry(options={"labels": ["cat", "dog", "cow"]})
    assert home.catalog(other).installed("cats") is None
    two = home.catalog(other).install("cats")
    assert two.manifest.digest != one.manifest.digest
    assert home.catalog().installed("cats") == one
    assert {one.folder.name, two.folder.name} == set(home.within("cats"))


def test_references(home: Home) -> None:
    catalog = home.catalog()
    with pytest.raises(ModelUnavailable, match="dogs is not installed"):
        catalog.resolve("dogs")
    done = catalog.install("dogs")
    hexed = done.manifest.digest.removeprefix("sha256:")
    for reference in (
        "dogs",
        "dogs@production",
        "dogs@next",
        f"dogs@sha256:{hexed}",
        f"dogs@sha256:{hexed[:8]}",
        f"dogs@sha256:{hexed[:12].upper()}",
    ):
        assert catalog.resolve(reference, "classification") == done


@pytest.mark.parametrize(
    ("reference", "error", "said"),
    [
        ("dgos", UnknownModel, r"no model 'dgos'\. Did you mean dogs\? This server has: cats, dogs, words"),
        ("elephant", UnknownModel, r"no model 'elephant'\. This server has"),
        ("", UnknownModel, "no model ''"),
        ("../dogs", UnknownModel, "no model"),
        ("dogs@staging", UnknownAlias, r"no alias 'staging': it has production, next; a version is written dogs@sha256:"),
        ("dogs@", UnknownAlias, "no alias ''"),
        ("dogs@sha256:0123456", UnknownModel, "at least 8 hex digits"),
        ("dogs@sha256:0123456789", UnknownModel, r"there is none\)\. Installed here: sha256:[0-9a-f]{16}"),
        ("dogs@sha256:../../../x", UnknownModel, "there is none"),
    ],
)
def test_references_to_nothing_say_what_there_is(home: Home, reference: str, error: type[Exception], said: str) -> None:
    catalog = home.catalog()
    catalog.install("dogs")
    with pytest.raises(error, match=said):
        catalog.resolve(reference)


def test_a_model_for_another_task_is_refused_and_the_fitting_ones_named(home: Home) -> None:
    with pytest.raises(WrongTask, match=r"words is a model for transcription, not classification\. For classification: cats, dogs"):
        home.catalog().resolve("words", "classification")


def test_an_old_version_of_another_task_is_not_served_under_the_new_one(home: Home) -> None:
    old = home.catalog().install("cats")
    catalog = home.catalog(entry(task="detection"))
    catalog.install("cats")
    with pytest.raises(WrongTask, match="is a model for classification, not detection"):
        catalog.resolve(f"cats@{old.manifest.digest}")


def test_a_version_that_two_prefixes_fit_is_not_guessed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = home.catalog()
    done = catalog.install("cats")
    monkeypatch.setattr(catalog, "versions", lambda name: [done, done])
    with pytest.raises(UnknownModel, match="several fit"):
        catalog.resolve(f"cats@{done.manifest.digest[:20]}")


def test_versions_lists_the_old_ones_too_and_skips_what_is_spoilt(home: Home) -> None:
    one = home.catalog().install("cats")
    two = home.catalog(entry(options={"labels": ["x"]})).install("cats")
    found = {installed.folder for installed in home.catalog().versions("cats")}
    assert found == {one.folder, two.folder}
    text = (two.folder / "manifest.json").read_text()
    (two.folder / "manifest.json").write_text(text.replace('"x"', '"y"'))
    assert [installed.folder for installed in home.catalog().versions("cats")] == [one.folder]
    assert home.catalog().versions("dogs") == []


def test_changed_weights_are_refused_when_loaded(home: Home) -> None:
    done = home.catalog().install("cats")
    weights = done.folder / "model.json"
    weights.write_bytes(bytes(weights.stat().st_size))
    again = home.catalog().installed("cats")
    assert again is not None
    with pytest.raises(UnsafeArtifact, match="expected"):
        again.verify()


@pytest.mark.parametrize("damaged", ["model.json", "manifest.json"])
@pytest.mark.parametrize("content", [None, b"{}"])
def test_an_installation_that_is_visibly_damaged_is_repaired(home: Home, damaged: str, content: bytes | None) -> None:
    done = home.catalog().install("cats")
    (done.folder / damaged).unlink()
    if content is not None:
        (done.folder / damaged).write_bytes(content)
    assert home.catalog().installed("cats") is None
    assert home.catalog().install("cats").verify() == done.folder
    assert home.within("cats") == [done.folder.name]


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"KEY": 3}', '{"KEY": {"digest": "sha256:../../x"}}'])
def test_a_spoilt_pointer_is_an_installation_that_is_not_there(home: Home, text: str) -> None:
    done = home.catalog().install("cats")
    pointer = home.folder / "models" / "cats" / "source.json"
    pointer.write_text(text.replace("KEY", next(iter(json.loads(pointer.read_text())))))
    assert home.catalog().installed("cats") is None
    assert home.catalog().install("cats").folder == done.folder


def test_a_pointer_that_leads_out_is_not_followed(home: Home) -> None:
    home.catalog().install("cats")
    pointer = home.folder / "models" / "cats" / "source.json"
    values = json.loads(pointer.read_text())
    next(iter(values.values()))["sizes"] = {"../../../secret": 3}
    pointer.write_text(json.dumps(values))
    (home.folder / "secret").write_bytes(b"abc")
    assert home.catalog().installed("cats") is None


class TestSourceFiles:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "mine.pt"
        path.write_bytes(b"weights")
        return path

    @pytest.fixture
    def mine(self, file: Path) -> ModelEntry:
        return entry(source=f"file:{file}")

    def test_a_changed_file_is_another_version(self, home: Home, file: Path, mine: ModelEntry, adoptions: list[str]) -> None:
        one = home.catalog(mine).install("cats")
        file.write_bytes(b"better!")
        os.utime(file, ns=(1, 1))
        assert home.catalog(mine).installed("cats") is None
        assert home.catalog(mine).resolve("cats") == one  # until it is installed, the old one serves
        two = home.catalog(mine).install("cats")
        assert two.manifest.digest != one.manifest.digest
        assert home.catalog(mine).resolve(f"cats@{one.manifest.digest}") == one
        assert len(adoptions) == 2

    def test_a_touched_file_is_the_same_version(self, home: Home, file: Path, mine: ModelEntry, adoptions: list[str]) -> None:
        one = home.catalog(mine).install("cats")
        os.utime(file, ns=(1, 1))
        assert home.catalog(mine).install("cats") == one
        assert home.catalog(mine).installed("cats") == one  # and is not hashed again
        assert len(adoptions) == 1

    def test_a_file_that_is_gone_is_not_missed(self, home: Home, file: Path, mine: ModelEntry) -> None:
        one = home.catalog(mine).install("cats")
        file.unlink()
        assert home.catalog(mine).install("cats") == one

    def test_going_back_leaves_a_version_in_use_alone(self, home: Home, file: Path, mine: ModelEntry, adoptions: list[str]) -> None:
        one = home.catalog(mine).install("cats")
        inode = one.folder.stat().st_ino
        for number, content in enumerate((b"better!", b"weights")):
            file.write_bytes(content)
            os.utime(file, ns=(number, number))
            last = home.catalog(mine).install("cats")
        assert last == one
        assert one.folder.stat().st_ino == inode

    def test_a_file_that_is_not_there_is_named(self, home: Home, tmp_path: Path) -> None:
        with pytest.raises(ModelUnavailable, match=r"models\.cats\.source names the file .*nowhere\.pt, which is not there"):
            home.catalog(entry(source=f"file:{tmp_path}/nowhere.pt")).install("cats")
        with pytest.raises(ModelUnavailable, match="not there"):
            home.catalog(entry(source=f"file:{tmp_path}")).install("cats")
        assert home.within("cats") == []

    def test_a_file_that_changes_while_it_is_read_is_refused(
        self, home: Home, file: Path, mine: ModelEntry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def adopt(self: FakeFamily, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
            (folder / "model.json").write_bytes(file.read_bytes())
            file.write_bytes(b"more of it comes")
            return Adopted()

        monkeypatch.setattr(FakeFamily, "adopt", adopt)
        with pytest.raises(ModelUnavailable, match="changed while it was read"):
            home.catalog(mine).install("cats")
        assert home.within("cats") == []

    def test_a_file_with_the_name_of_an_official_model_stays_a_file(
        self, home: Home, tmp_path: Path, adoptions: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "tiny").write_bytes(b"mine")
        monkeypatch.chdir(tmp_path)
        home.catalog(entry(source="file:tiny")).install("cats")
        assert adoptions == [str(tmp_path / "tiny")]


def test_threads_that_want_the_same_install_it_once(home: Home, adoptions: list[str]) -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(home.catalog().install("cats").folder)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert adoptions == ["tiny"]


def test_who_waits_for_another_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go, said = threading.Event(), threading.Event(), []

    def adopt(self: FakeFamily, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        inside.set()
        go.wait(10)
        (folder / "model.json").write_text("{}")
        return Adopted()

    def progress(what: str, done: int, total: int) -> None:
        said.append(what)
        if "waiting" in what:
            go.set()

    monkeypatch.setattr(FakeFamily, "adopt", adopt)
    first = threading.Thread(target=home.catalog().install, args=("cats",))
    first.start()
    inside.wait(10)
    home.catalog().install("cats", progress)
    first.join()
    assert said == ["waiting for another process that installs cats"]


def install_until_killed(folder: Path, pipe: Any) -> None:
    def adopt(self: FakeFamily, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        (folder / "model.json").write_text("half")
        pipe.send(str(folder))
        signal.pause()
        raise AssertionError

    FakeFamily.adopt = adopt  # type: ignore[method-assign]
    Home(folder).catalog().install("cats")


def test_a_killed_install_leaves_nothing_that_counts(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=install_until_killed, args=(home.folder, theirs))
    process.start()
    half = Path(ours.recv())
    process.kill()
    process.join()
    assert (half / "model.json").read_text() == "half"
    catalog = home.catalog()
    assert catalog.installed("cats") is None
    assert catalog.versions("cats") == []
    done = catalog.install("cats")  # the lock died with its holder
    assert home.within("cats") == [done.folder.name]


def failing(error: Exception) -> Callable[..., Adopted]:
    def adopt(self: FakeFamily, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        (folder / "model.json").write_text("half")
        raise error

    return adopt


def test_a_family_that_refuses_leaves_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeFamily, "adopt", failing(UnsafeArtifact("it would run code")))
    with pytest.raises(UnsafeArtifact, match="it would run code"):
        home.catalog().install("cats")
    assert home.within("cats") == []
    monkeypatch.undo()
    assert home.catalog().install("cats").verify()


def test_a_full_disk_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeFamily, "adopt", failing(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StorageUnavailable, match=r"is full.*storage\.models"):
        home.catalog().install("cats")
    assert home.within("cats") == []


def test_a_disk_that_fills_up_at_the_last_moment_leaves_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts, "_sync", refuse)
    with pytest.raises(StorageUnavailable, match=r"[\d,]+ bytes and more are needed there"):
        home.catalog().install("cats")
    assert home.within("cats") == []
    assert home.catalog().installed("cats") is None


def test_a_home_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(StorageUnavailable, match=r"can't be written: .*storage\.models"):
        Home(tmp_path).catalog().install("cats")


def test_a_family_that_writes_nothing_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeFamily, "adopt", lambda *_: Adopted())
    with pytest.raises(ModelUnavailable, match="without writing any file"):
        home.catalog().install("cats")


def test_a_family_that_writes_a_link_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def adopt(self: FakeFamily, source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
        (folder / "model.json").symlink_to("/etc/hostname")
        return Adopted()

    monkeypatch.setattr(FakeFamily, "adopt", adopt)
    with pytest.raises(UnsafeArtifact, match="no links"):
        home.catalog().install("cats")


def test_a_family_without_the_task_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_family("fake"), "tasks", frozenset({"detection"}), raising=False)
    with pytest.raises(WrongTask, match="family fake has no models for classification: only for detection"):
        home.catalog().install("cats")


def test_a_family_that_is_not_installed_is_named(home: Home) -> None:
    with pytest.raises(InvalidRequest, match="no family 'nothing' is installed: one of"):
        home.catalog(replace(entry(), family="nothing")).install("cats")


@pytest.mark.parametrize("name", ["", "a/b", "a@b", "../a", ".hidden", "a b"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="a model's name"):
        entry(name)


@pytest.mark.parametrize("source", ["", "tiny", "builtin:", "http://host/x.pt"])
def test_a_source_that_is_none_is_refused(source: str) -> None:
    with pytest.raises(InvalidRequest, match=r"models\.cats\.source is builtin:NAME"):
        entry(source=source)


def test_options_that_are_no_json_are_refused(home: Home) -> None:
    with pytest.raises(InvalidRequest, match=r"models\.cats\.options"):
        home.catalog(entry(options={"size": float("nan")})).install("cats")
