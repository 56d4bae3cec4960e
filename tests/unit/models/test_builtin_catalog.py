from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candor.errors import InvalidRequest, UnknownModel, UnsafeArtifact, WrongTask
from candor.families import Adopted
from models import builtin
from models.builtin.recipe import Recipe
from tests.unit.models.catalogs import Home, entry
from tests.unit.models.packages import Mirror, served, sha

FILES = {"tiny/weights.bin": b"numbers" * 100}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    return Mirror(tmp_path / "mirror", monkeypatch)


@pytest.fixture
def recipe(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    def convert(members: Mapping[str, Path], folder: Path) -> Adopted:
        (folder / "model.json").write_bytes(members["weights.bin"].read_bytes()[:70])
        return Adopted(labels=("cat", "dog"), input={"size": 8}, display_threshold=0.25, licence="CC0")

    files = {"model.json": sha(b"numbers" * 10)}
    made = Recipe("tiny", "classification", "fake", served(mirror, FILES), files, sha(b"cat\ndog"), convert, "Small.")
    monkeypatch.setattr(builtin, "RECIPES", {"tiny": made})
    return made


def pin(monkeypatch: pytest.MonkeyPatch, recipe: Recipe, **changes: Any) -> None:
    monkeypatch.setattr(builtin, "RECIPES", {"tiny": replace(recipe, **changes)})


def test_installs_by_name_and_then_without_the_index(home: Home, recipe: Recipe, mirror: Mirror) -> None:
    steps: list[str] = []
    tiny = entry(source="builtin:tiny")
    done = home.catalog(tiny).install("cats", lambda what, *_: steps.append(what))
    assert done.manifest.files == recipe.files
    assert (done.manifest.licence, done.manifest.notes) == ("CC0", "Small.")
    assert steps[-1] == "converting tiny"
    assert home.catalog(tiny).install("cats") == done
    assert len(mirror.downloads) == 1


def test_options_go_over_the_facts(home: Home, recipe: Recipe) -> None:
    done = home.catalog(entry(source="builtin:tiny", options={"display_threshold": 0.5, "size": 9})).install("cats")
    assert (done.manifest.display_threshold, done.manifest.input) == (0.5, {"size": 9})
    with pytest.raises(InvalidRequest, match="unknown options color: this built-in model has display_threshold, size"):
        home.catalog(entry(source="builtin:tiny", options={"color": 1})).install("cats")


def test_a_conversion_that_gives_another_file_is_refused(home: Home, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, recipe, files={"model.json": "0" * 64})
    with pytest.raises(UnsafeArtifact, match=rf"tiny was converted into a model\.json with SHA-256 .* where {'0' * 64} is pinned"):
        home.catalog(entry(source="builtin:tiny")).install("cats")
    pin(monkeypatch, recipe, labels_sha256="0" * 64)
    with pytest.raises(UnsafeArtifact, match="label set"):
        home.catalog(entry(source="builtin:tiny")).install("cats")
    assert home.within("cats") == []


def test_a_recipe_that_changes_is_installed_anew(home: Home, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = entry(source="builtin:tiny")
    home.catalog(tiny).install("cats")
    pin(monkeypatch, recipe, files={**recipe.files, "more.json": sha(b"{}")})
    assert home.catalog(tiny).installed("cats") is None


def test_the_wrong_task_or_family_is_refused(home: Home, recipe: Recipe) -> None:
    with pytest.raises(WrongTask, match=r"tiny is for task classification and family fake: models\.cats says detection and fake"):
        home.catalog(entry(source="builtin:tiny", task="detection")).install("cats")


def test_an_unknown_name_lists_all(home: Home, recipe: Recipe) -> None:
    with pytest.raises(UnknownModel, match="no built-in model 'huge': one of tiny"):
        home.catalog(entry(source="builtin:huge")).install("cats")
