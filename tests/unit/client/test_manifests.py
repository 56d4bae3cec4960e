from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from client.errors import BadOption
from client.folders import pack
from client.manifests import Given, labels_of, manifest_of, pairs, read_manifest

ONNX = Path("model.onnx")


def test_the_manifest_has_what_was_given_in_its_places() -> None:
    given = Given(
        task="detection",
        labels="coco80",
        size="416x320",
        preprocess=["mean=[0, 0, 0]", "layout=letterbox"],
        head="yolox",
        postprocess=["nms_iou=null"],
        options=["max_boxes=10"],
        threshold=0.3,
        licence="MIT",
        metadata=["run=7b", "epochs=12"],
    )
    assert manifest_of(ONNX, given) == {
        "schema": 1,
        "family": "onnx",
        "task": "detection",
        "labels": "coco80",
        "input": {"size": [416, 320], "mean": [0, 0, 0], "layout": "letterbox"},
        "output": {"head": "yolox", "nms_iou": None},
        "options": {"max_boxes": 10},
        "display_threshold": 0.3,
        "licence": "MIT",
        "metadata": {"run": "7b", "epochs": 12},
    }


def test_options_are_taken_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("family: onnx\ntask: detection\ninput: {size: [1, 1], layout: crop}\nlicence: MIT\n")
    found = manifest_of(ONNX, Given(size="640", licence="Apache-2.0"), read_manifest(path))
    assert (found["input"], found["licence"]) == ({"size": [640, 640], "layout": "crop"}, "Apache-2.0")


@pytest.mark.parametrize(
    ("given", "task"),
    [
        (Given(family="timm"), "classification"),
        (Given(family="whisper"), "transcription"),
        (Given(family="ultralytics"), "detection"),
        (Given(head="logits"), "classification"),
        (Given(head="yolox"), "detection"),
    ],
)
def test_the_task_is_told_where_it_is_plain(given: Given, task: str) -> None:
    assert manifest_of(ONNX, given)["task"] == task


@pytest.mark.parametrize(
    ("artifact", "given", "told"),
    [
        ("model.onnx", Given(), "--task"),
        ("model.pt", Given(), "--family"),
        ("model.onnx", Given(task="detection", size="big"), "640x480"),
        ("model.onnx", Given(task="detection", options=["a"]), "key=value"),
        ("model.onnx", Given(task="detection", labels="coco81"), "coco80"),
    ],
)
def test_what_is_missing_or_wrong_is_told_with_the_way_out(artifact: str, given: Given, told: str) -> None:
    with pytest.raises(BadOption, match=told):
        manifest_of(Path(artifact), given)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "\ufeffcar\r\n\n  van \n"),
        ("labels.json", '["car", "van"]'),
        ("data.yaml", "path: x\nnames:\n  1: van\n  0: car\n"),
        ("data.yml", "names: [car, van]"),
    ],
)
def test_labels_are_read_from_what_people_have(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert labels_of(str(path)) == ["car", "van"]


@pytest.mark.parametrize(("name", "text"), [("l.json", "{"), ("l.yaml", "names: {1: car}"), ("l.json", "3"), ("l.yaml", "a: b")])
def test_other_files_are_no_labels(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(BadOption, match="--labels"):
        labels_of(str(path))


@pytest.mark.parametrize("text", ["[1]", "a: [", "just words"])
def test_a_file_that_is_no_manifest(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(BadOption):
        read_manifest(path)


@pytest.mark.parametrize(
    ("word", "value"), [("a=1", 1), ("a=x=y", "x=y"), ("a=", ""), ("a=[1, 2]", [1, 2]), ("a=true", True), ("a=1x", "1x")]
)
def test_values_are_json_or_text(word: str, value: Any) -> None:
    assert pairs("--option", [word]) == {"a": value}


def test_a_folder_packs_to_the_same_bytes_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "1.jpg").write_bytes(b"pixels")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").write_bytes(b"hidden")
    (folder / "annotations.json").write_text("{}")
    pack(folder, tmp_path / "1.zip")
    (folder / "images" / "1.jpg").touch()
    pack(folder, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        assert archive.namelist() == ["annotations.json", "images/1.jpg"]
        assert archive.read("images/1.jpg") == b"pixels"


def test_a_folder_without_labels_is_told_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"labels\.csv"):
        pack(tmp_path, tmp_path / "1.zip")
    with pytest.raises(BadOption, match="no folder"):
        pack(tmp_path / "none", tmp_path / "1.zip")
