"""Makes the package of a new family from the templates beside this file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from candor.errors import InvalidRequest
from candor.families import family_names
from candor.predictions import Task

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_WHAT: Mapping[Task, str] = {
    "classification": "names an image by its mean colour",
    "detection": "finds what is brighter than the rest of an image",
    "transcription": "writes a word wherever a recording is loud",
}
_EXAMPLE: Mapping[Task, Mapping[str, Any]] = {
    "classification": {
        "black": [10, 10, 10],
        "white": [245, 245, 245],
        "red": [220, 40, 40],
        "green": [60, 150, 60],
        "blue": [40, 60, 200],
    },
    "detection": {"label": "bright", "deviations": 1.5},
    "transcription": {"word": "tone", "level": 0.02},
}
_FILES = {"pyproject.toml": "pyproject.toml.j2", "README.md": "README.md.j2", "tests/test_family.py": "test_family.py.j2"}


def make_package(name: str, task: Task, folder: Path) -> list[Path]:
    """Write a package that works as it is into a new folder, and return its files.

    Raises:
        InvalidRequest: the name can't be one, is taken, or there is something in the folder.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{name[:60]!r} can't name a family: up to 40 small letters, digits and _, beginning with a letter")
    if name in family_names():
        raise InvalidRequest(f"there is a family {name!r} already: `candor families list` shows them")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidRequest(f"{folder} is not empty: name another folder with --to")
    package = f"candor_{name}"
    values = {
        "name": name,
        "task": task,
        "what": _WHAT[task],
        "media": "RECORDING.wav" if task == "transcription" else "PICTURE.jpg",
        "package": package,
        "distribution": package.replace("_", "-"),
        "title": "".join(part.capitalize() for part in name.split("_")),
    }
    # what is made are programs and no pages
    templates = Environment(  # noqa: S701
        loader=PackageLoader("serving.own_families", ""), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    files = {path: templates.get_template(template).render(values) for path, template in _FILES.items()}
    files[f"{package}/family.py"] = templates.get_template(f"{task}.py.j2").render(values)
    files[f"{package}/__init__.py"] = f'"""A model family for Candor: {task}."""\n'
    files["example/model.json"] = json.dumps(_EXAMPLE[task], indent=2) + "\n"
    try:
        return [_written(folder / path, text) for path, text in files.items()]
    except OSError as error:
        raise InvalidRequest(f"{folder} can't be written: {error.strerror}") from error


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return path
