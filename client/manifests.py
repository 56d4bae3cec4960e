"""Makes the manifest of a registration from what the command line is given."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from client.errors import BadOption

LABEL_SETS = ("coco80", "imagenet1k", "from-model")
_TASKS = {"ultralytics": "detection", "timm": "classification", "whisper": "transcription"}
_CLASSIFIER_HEADS = ("logits", "probabilities")
_SIZE = re.compile(r"(\d{1,5})(?:[xX,](\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Given:
    """What was given on the command line; what is empty was not."""

    family: str | None = None
    task: str | None = None
    labels: str | None = None
    size: str | None = None
    preprocess: Sequence[str] = ()
    head: str | None = None
    postprocess: Sequence[str] = ()
    options: Sequence[str] = ()
    threshold: float | None = None
    licence: str | None = None
    notes: str | None = None
    metadata: Sequence[str] = ()


def manifest_of(artifact: Path, given: Given, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the manifest: what is given, over `base`, which was read from a file.

    Raises:
        BadOption: an option can't be read, or family or task are left open.
        OSError: the file of labels can't be read.
    """
    found: dict[str, Any] = {"schema": 1, **(base or {})}
    _merge(found, "input", {**pairs("--preprocess", given.preprocess), **({"size": _size(given.size)} if given.size else {})})
    _merge(found, "output", {**pairs("--postprocess", given.postprocess), **({"head": given.head} if given.head else {})})
    _merge(found, "options", pairs("--option", given.options))
    _merge(found, "metadata", pairs("--metadata", given.metadata))
    plain = {
        "family": given.family,
        "task": given.task,
        "display_threshold": given.threshold,
        "licence": given.licence,
        "notes": given.notes,
    }
    found.update({key: value for key, value in plain.items() if value is not None})
    if given.labels is not None:
        found["labels"] = labels_of(given.labels)
    if "family" not in found:
        if artifact.suffix.lower() != ".onnx":
            raise BadOption(f"say with --family what runs {artifact.name}: onnx, ultralytics, timm, whisper, or a family of your own")
        found["family"] = "onnx"
    if "task" not in found:
        found["task"] = _task(str(found["family"]), found.get("output", {}).get("head"))
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest, JSON or YAML.

    Raises:
        BadOption: it is neither, or no object.
        OSError: it can't be read.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadOption(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise BadOption(f"{path} holds no manifest: an object with family, task, labels and so on")
    return value


def labels_of(text: str) -> list[str] | str:
    """Return the labels that `--labels` names: a well-known set, or a file.

    A file has a label a line, or is JSON or YAML: a list, a mapping of indices to labels, or such a thing under `names`, as in
    Ultralytics' data.yaml.

    Raises:
        BadOption: it is no set and no such file.
        OSError: the file can't be read.
    """
    path = Path(text)
    if text in LABEL_SETS and not path.exists():
        return text
    if not path.is_file():
        raise BadOption(f"--labels: {text!r} is no file, and none of the sets {', '.join(LABEL_SETS)}")
    try:
        written = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() not in (".json", ".yaml", ".yml"):
            return [line.strip() for line in written.splitlines() if line.strip()]
        value = yaml.safe_load(written)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadOption(f"--labels: {path} can't be read: {' '.join(str(error).split())}") from error
    value = value.get("names", value) if isinstance(value, dict) else value
    if isinstance(value, dict):
        value = _in_order(path, value)
    if not isinstance(value, list):
        raise BadOption(f"--labels: {path} holds no list of labels, and none under `names`")
    return [str(label) for label in value]


def pairs(option: str, given: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` words as a mapping. A value is read as JSON where it is, else as text.

    Raises:
        BadOption: one of them has no `=`.
    """
    found: dict[str, Any] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or not key.strip():
            raise BadOption(f"{option}: {word!r} is not key=value, such as {option} {key.strip() or 'key'}=1")
        try:
            found[key.strip()] = json.loads(value)
        except ValueError:
            found[key.strip()] = value
    return found


def _merge(found: dict[str, Any], name: str, given: Mapping[str, Any]) -> None:
    if given:
        found[name] = {**(found.get(name) or {}), **given}


def _size(text: str) -> list[int]:
    matched = _SIZE.fullmatch(text.strip())
    if matched is None:
        raise BadOption(f"--size: {text!r} is not WIDTHxHEIGHT, such as 640x480, or one number for a square")
    return [int(matched[1]), int(matched[2] or matched[1])]


def _task(family: str, head: Any) -> str:
    if family in _TASKS:
        return _TASKS[family]
    if family == "onnx" and head is not None:
        return "classification" if head in _CLASSIFIER_HEADS else "detection"
    raise BadOption(f"say with --task what a model of family {family} is for: detection, classification or transcription")


def _in_order(path: Path, value: Mapping[Any, Any]) -> list[Any]:
    try:
        ordered = sorted((int(index), label) for index, label in value.items())
    except (TypeError, ValueError):
        ordered = []
    if not ordered or [index for index, _ in ordered] != list(range(len(ordered))):
        raise BadOption(f"--labels: {path} is a mapping whose keys are not 0, 1, 2 and so on")
    return [label for _, label in ordered]
