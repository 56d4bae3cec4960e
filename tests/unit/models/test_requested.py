"""The manifest of a registration: every wrong field is named, and an unknown one with the nearest known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from candor.errors import InvalidRequest
from models.requested import Requested, check_name, json_schema, parse
from models.requested_options import FAMILIES

KNOWN = [*FAMILIES, "mine"]
PLAIN = {"family": "onnx", "task": "detection"}
WHOLE = {
    "schema": 1,
    "family": "onnx",
    "task": "detection",
    "labels": ["cat", "dog"],
    "input": {"size": [640, 480], "mean": [0.5, 0.5, 0.5]},
    "output": {"head": "yolox", "nms_iou": None},
    "options": {"std": [1, 1, 1], "scale": None},
    "display_threshold": 0.3,
    "licence": "MIT",
    "notes": "grün",
    "metadata": {"run": {"epochs": 3}},
}


def test_the_parts_become_one_set_of_options() -> None:
    found = parse(WHOLE, KNOWN)
    options = {"size": [640, 480], "mean": [0.5, 0.5, 0.5], "head": "yolox", "nms_iou": None, "std": [1, 1, 1]}
    assert found.settings == options
    assert found.options() == {**options, "labels": ["cat", "dog"], "display_threshold": 0.3}
    assert Requested.of(json.loads(json.dumps(found.as_request()))) == found
    assert parse(PLAIN, KNOWN).options() == {}
    assert parse({**PLAIN, "labels": "coco80"}, KNOWN).options() == {"labels": "coco80"}


def test_the_options_of_somebodys_own_family_are_its_own_affair() -> None:
    assert parse({"family": "mine", "task": "detection", "options": {"anything": None}}, KNOWN).settings == {"anything": None}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"famly": "onnx"}, "`famly` is an unknown field. Did you mean `family`?"),
        ({"zzz": 1}, "`zzz` is an unknown field (known: display_threshold, family"),
        ({"family": "onx"}, "`family`: no family 'onx' is installed. Did you mean `onnx`?"),
        ({"task": "segmentation"}, "`task`: "),
        ({"schema": 2}, "`schema`: "),
        ({"labels": "coco"}, "Did you mean `coco80`?"),
        ({"labels": "/etc/passwd"}, "no known label set"),
        ({"labels": []}, "`labels`: has 0 labels"),
        ({"labels": ["a"] * 100_001}, "`labels`: has 100001 labels"),
        ({"labels": ["a", " "]}, "label 1 is empty"),
        ({"labels": ["a", "b", "a"]}, "'a' is there more than once"),
        ({"labels": ["a", 1]}, "`labels`: give a list of strings"),
        ({"labels": ["a\0"]}, "NUL"),
        ({"labels": ["\ud800"]}, "not JSON"),
        ({"input": {"siez": [1, 1]}}, "`input.siez` is an unknown field. Did you mean `size`?"),
        ({"input": {"head": "yolox"}}, "`input.head` is an unknown field"),
        ({"input": {"size": [4097, 64]}}, "`input.size.0`: "),
        ({"input": {"size": [64]}}, "`input.size`: "),
        ({"input": {"mean": [0.5, 0.5]}}, "`input.mean`: "),
        ({"input": {"std": [1, 0, 1]}}, "`input.std.1`: "),
        ({"input": {"scale": "255"}}, "`input.scale`: "),
        ({"input": {"crop_pct": 1.5}}, "`input.crop_pct`: "),
        ({"input": {"size": [64, 64]}, "options": {"size": [64, 64]}}, "`size` is given in input and in options"),
        ({"output": {"head": "yolov99"}}, "`output.head`: "),
        ({"options": {"labels": ["a"]}}, "`options.labels`: give `labels` beside"),
        ({"display_threshold": 1.0}, "`display_threshold`: "),
        ({"task": "classification", "display_threshold": 0.5}, "only models for detection"),
        ({"family": "whisper"}, "`task`: the family whisper has models for transcription only"),
        ({"family": "whisper", "task": "transcription", "labels": ["a"]}, "`labels`: a model for transcription has none"),
        ({"family": "whisper", "task": "transcription", "options": {"langage": "en"}}, "Did you mean `language`?"),
        ({"family": "ultralytics", "input": {"size": "640"}}, "`input.size`: "),
        ({"family": "timm", "task": "classification", "output": {"head": "logits"}}, "`output.head` is an unknown field"),
        ({"metadata": {"a": "x" * 70_000}}, "`metadata`: is 70,008 bytes"),
        ({"metadata": {"a": float("nan")}}, "not JSON"),
        ({"notes": "x" * 4001}, "`notes`: "),
        ({"family": 7}, "`family`: "),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse({**PLAIN, **change}, KNOWN)
    assert reason in raised.value.detail


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(InvalidRequest, match=r"`task` is missing; `labls` is .*; `input\.sise` is"):
        parse({"family": "onnx", "labls": "coco80", "input": {"sise": 1}}, KNOWN)
    nested: Any = "deep"
    for _ in range(50):
        nested = [nested]
    for value, reason in (([], "not a JSON object"), ({**PLAIN, "metadata": {"a": nested}}, "nested")):
        with pytest.raises(InvalidRequest, match=reason):
            parse(value, KNOWN)


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a@b", "a b", "a" * 101, "..", "a\n"])
def test_names_that_can_not_be_models_are_refused(name: str) -> None:
    assert check_name("yolov8n.v2+x") == "yolov8n.v2+x"
    with pytest.raises(InvalidRequest, match="model's name"):
        check_name(name)


def test_the_published_schema_says_the_same() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid(WHOLE)
    assert check.is_valid(PLAIN)
    wrong: list[dict[str, Any]] = [
        {"famly": 1},
        {"labels": "coco"},
        {"input": {"siez": 1}},
        {"task": "transcription"},
        {"labels": ["a", "a"]},
    ]
    assert not [change for change in wrong if check.is_valid({**PLAIN, **change})]
    published = Path(__file__).parents[3] / "docs" / "reference" / "manifest.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == schema


def test_the_guide_names_every_option() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    for family, options in FAMILIES.items():
        known = {f"{name}.{field}" for name in ("input", "output") for field in options.parts[name].model_fields}
        inner = {name.partition(".")[2] for name in known}
        known |= {f"options.{field}" for field in options.options.model_fields if field not in inner}
        assert not [name for name in sorted(known) if f"`{name}`" not in guide], family
