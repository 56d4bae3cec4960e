from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from calibration.correctness import TrueBoxes
from candor.errors import InvalidRequest, WrongTask
from candor.predictions import Task
from serving.evaluation.datasets import read_folder
from tests.unit.serving.evaluation.made import manifest, written

LABELS = [["file", "imagenet_index", "label"], ["a.jpg", "", "cat"], ["b.jpg", "", "Dog"]]
TEXTS = [
    ["file", "text", "speaker", "source"],
    ["a.flac", "hello there", "s1", "radio"],
    ["b.flac", "", "s1", "phone"],
    ["c.flac", "no", "", ""],
]


def coco(**changed: Any) -> dict[str, Any]:
    return {
        "info": {"description": "made"},
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 100, "height": 80, "coco_split": "val2017"},
            {"id": 8, "file_name": "b.jpg", "coco_split": "train2017"},
        ],
        "categories": [{"id": 1, "name": "Dog"}, {"id": 2, "name": "cat"}, {"id": 3, "name": "zebra"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 40]},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [5, 5, 10.5, 10], "iscrowd": 1},
            {"id": 3, "image_id": 8, "category_id": 2, "bbox": [0, 0, 9, 9]},
        ],
        **changed,
    }


def test_coco_boxes_become_corners_with_the_models_classes(tmp_path: Path) -> None:
    found = read_folder(written(tmp_path, "detection", coco(), ["images/a.jpg", "images/b.jpg"]), manifest())
    (example,) = found.examples
    truth = example.truth
    assert isinstance(truth, TrueBoxes)
    assert truth.xyxy.tolist() == [[1, 2, 31, 42], [5, 5, 15.5, 15]]
    assert truth.class_index.tolist() == [1, 0]  # of the model's cat, dog, owl
    assert truth.crowd.tolist() == [False, True]
    assert (example.file, example.size, example.source) == ("images/a.jpg", (100, 80), "val2017")
    assert example.sha256 == hashlib.sha256(b"images/a.jpg").hexdigest()
    assert found.judged_classes == frozenset({0, 1})  # the data label no owls
    assert found.notes == ("1 images of train2017 left out, as the model may have learnt from them", "made")


def test_a_split_is_chosen_by_name(tmp_path: Path) -> None:
    where = written(tmp_path, "detection", coco(), ["images/a.jpg", "b.jpg"])  # an image may lie beside the labels, too
    assert [e.file for e in read_folder(where, manifest(), "train2017").examples] == ["b.jpg"]
    assert [e.file for e in read_folder(where, manifest(), "all").examples] == ["b.jpg", "images/a.jpg"]
    with pytest.raises(InvalidRequest, match="no images of split 'test'; it has train2017, val2017"):
        read_folder(where, manifest(), "test")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3]}]}, r"annotation 4: bbox \[1, 2, 3\] is not four"),
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 1, "bbox": [1, 2, 0, 3]}]}, "annotation 4: .* has no area"),
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 1, "bbox": [1, 2, float("nan"), 3]}]}, "annotation 4: bbox"),
        ({"annotations": [{"id": 4, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]}]}, "annotation 4: there is no image 9"),
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4]}]}, "annotation 4: there is no category 5"),
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}]}, "category 3: 'zebra' is not a label of m"),
        ({"annotations": [{"id": 4}]}, "entry 0 of 'annotations'"),
        ({"images": [{"id": 7, "file_name": "none.jpg"}]}, "annotation 3: there is no image 8"),
        ({"images": [{"id": 7, "file_name": "none.jpg"}], "annotations": []}, "image 7: there is no file 'none.jpg'"),
        ({"images": [{"id": 7, "file_name": "../x.jpg"}], "annotations": []}, "image 7: file '../x.jpg' lies outside the folder"),
        ({"images": [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}], "annotations": []}, "image id 7 is used twice"),
        ({"images": [], "annotations": []}, "has no rows"),
        ({"categories": None}, "no list 'categories'"),
    ],
)
def test_a_wrong_coco_file_is_told_by_its_entry(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    where = written(tmp_path / "data", "detection", coco(**changed), ["images/a.jpg", "images/b.jpg"])
    with pytest.raises(InvalidRequest, match=said) as raised:
        read_folder(where, manifest())
    assert "annotations.json" in raised.value.detail


def test_the_first_wrong_row_is_told_and_the_others_counted(tmp_path: Path) -> None:
    rows = [*LABELS, ["c.jpg", "", "bird"], ["d.jpg", "", "fish"]]
    with pytest.raises(InvalidRequest, match=r"labels\.csv line 4: label 'bird' is not a label of m .*1 more rows are wrong"):
        read_folder(written(tmp_path, "classification", rows, ["a.jpg", "b.jpg"]), manifest("classification"))


def test_labels_by_name(tmp_path: Path) -> None:
    found = read_folder(written(tmp_path, "classification", LABELS, ["a.jpg", "b.jpg"]), manifest("classification"))
    assert [(e.file, e.truth) for e in found.examples] == [("a.jpg", 0), ("b.jpg", 1)]
    assert found.clusters == 2


def test_pictures_of_one_photographer_are_a_cluster(tmp_path: Path) -> None:
    rows = [["file", "label", "author"], ["a.jpg", "cat", "ann"], ["b.jpg", "cat", "ann"], ["c.jpg", "cat", ""], ["d.jpg", "cat", " "]]
    found = read_folder(written(tmp_path, "classification", rows, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]), manifest("classification"))
    assert [e.cluster == "ann" for e in found.examples] == [True, True, False, False]
    assert found.clusters == 3


def test_imagenet_indices_count_for_a_thousand_labels(tmp_path: Path) -> None:
    thousand = manifest("classification", labels=(*(f"label {i}" for i in range(999)), "label 7"))
    where = written(tmp_path, "classification", [["file", "imagenet_index"], ["a.jpg", "999"]], ["a.jpg"])
    assert read_folder(where, thousand).examples[0].truth == 999
    with pytest.raises(InvalidRequest, match="line 2: imagenet_index needs a model of 1000 labels; m has 3"):
        read_folder(where, manifest("classification"))
    written(tmp_path, "classification", [["file", "label"], ["a.jpg", "label 7"]], [])
    with pytest.raises(InvalidRequest, match="line 2: label 'label 7' is the name of several classes of m"):
        read_folder(where, thousand)


@pytest.mark.parametrize("written_index", ["1000", "-1", "1.5", "cat"])
def test_a_wrong_index_is_told(written_index: str, tmp_path: Path) -> None:
    where = written(tmp_path, "classification", [["file", "imagenet_index"], ["a.jpg", written_index]], ["a.jpg"])
    with pytest.raises(InvalidRequest, match=r"labels\.csv line 2: imagenet_index"):
        read_folder(where, manifest("classification", labels=tuple(map(str, range(1000)))))


def test_texts_with_speakers_and_sources(tmp_path: Path) -> None:
    where = written(tmp_path, "transcription", TEXTS, ["a.flac", "b.flac", "c.flac"])
    found = read_folder(where, manifest("transcription"))
    assert [(e.truth, e.source) for e in found.examples] == [("hello there", "radio"), ("", "phone"), ("no", "")]
    assert found.clusters == 2  # one speaker, and a recording of nobody known
    assert [e.file for e in found.from_sources(["phone"]).examples] == ["b.flac"]
    assert found.from_sources([]) is found
    with pytest.raises(InvalidRequest, match="no source 'tv': it has phone, radio"):
        found.from_sources(["phone", "tv"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["file"], ["a.flac"]], r"transcripts\.csv line 1: there is no column text"),
        ([["file", "text"], ["a.flac"]], r"transcripts\.csv line 2: the row does not have 2 fields"),
        ([["file", "text"], ["a.flac", "x", "y"]], "line 2: the row does not have 2 fields"),
        ([["file", "text"], ["", "x"]], "line 2: no file is named"),
        ([["file", "text"], ["z.flac", "x"]], "line 2: there is no file 'z.flac'"),
        ([["file", "text"], ["/etc/passwd", "x"]], "line 2: file '/etc/passwd' lies outside the folder"),
        ([["file", "text"], ["a.flac", "x"], ["./a.flac", "y"]], "line 3: file './a.flac' is named a second time"),
        ([["file", "text"], ["x" * 300, "x"]], "line 2: file 'x+' can't be read"),
        ([["file", "text"]], "has no rows"),
        ([], "line 1: there is no column file"),
    ],
)
def test_a_wrong_csv_is_told_by_its_line(rows: list[list[str]], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=said):
        read_folder(written(tmp_path, "transcription", rows, ["a.flac"]), manifest("transcription"))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"file,text\na.flac,\xff\n", "not UTF-8"), (b'file,text\na.flac,"open\n', r"transcripts\.csv line 2: unexpected end of data")],
)
def test_broken_text_is_told(content: bytes, said: str, tmp_path: Path) -> None:
    where = written(tmp_path, "transcription", [], ["a.flac"])
    (where / "transcripts.csv").write_bytes(content)
    with pytest.raises(InvalidRequest, match=said):
        read_folder(where, manifest("transcription"))


def test_a_csv_split(tmp_path: Path) -> None:
    rows = [["file", "text", "split"], ["a.flac", "x", "train"], ["b.flac", "y", "dev"]]
    where = written(tmp_path, "transcription", rows, ["a.flac", "b.flac"])
    chosen = {name: [e.file for e in read_folder(where, manifest("transcription"), name).examples] for name in (None, "all", "train")}
    assert chosen == {None: ["b.flac"], "all": ["a.flac", "b.flac"], "train": ["a.flac"]}
    written(tmp_path, "transcription", TEXTS, ["a.flac", "b.flac", "c.flac"])
    with pytest.raises(InvalidRequest, match="line 1: there is no column split"):
        read_folder(where, manifest("transcription"), "dev")


@pytest.mark.parametrize(("task", "needs"), [("detection", "annotations.json"), ("transcription", "transcripts.csv")])
def test_labels_for_another_task_are_told(task: Task, needs: str, tmp_path: Path) -> None:
    where = written(tmp_path, "classification", LABELS, ["a.jpg", "b.jpg"])
    with pytest.raises(WrongTask, match=f"labels.csv, which is for classification; m is for {task} and needs {needs}"):
        read_folder(where, manifest(task))
    with pytest.raises(InvalidRequest, match="is not a folder"):
        read_folder(where / "none", manifest(task))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest, match=f"holds no labels: .* needs {needs}"):
        read_folder(tmp_path / "empty", manifest(task))


def test_a_link_to_a_file_elsewhere_is_a_file(tmp_path: Path) -> None:
    where = written(tmp_path / "data", "transcription", [["file", "text"], ["link.flac", "x"]], [])
    (tmp_path / "elsewhere").write_bytes(b"sound")
    (where / "link.flac").symlink_to(tmp_path / "elsewhere")
    assert read_folder(where, manifest("transcription")).examples[0].sha256 == hashlib.sha256(b"sound").hexdigest()


def test_the_hash_is_of_files_and_labels_and_not_of_their_order(tmp_path: Path) -> None:
    def digest(rows: list[list[str]]) -> str:
        return read_folder(written(tmp_path, "classification", rows, ["a.jpg", "b.jpg"]), manifest("classification")).sha256

    first = digest(LABELS)
    assert digest([LABELS[0], LABELS[2], LABELS[1]]) == first
    assert digest([LABELS[0], LABELS[1], ["b.jpg", "", "owl"]]) != first
    assert digest(LABELS[:2]) != first
    (tmp_path / "a.jpg").write_bytes(b"another picture")
    assert read_folder(tmp_path, manifest("classification")).sha256 != first


def test_crowd_flags_and_boxes_are_part_of_the_hash(tmp_path: Path) -> None:
    def digest(**changed: Any) -> str:
        document = coco()
        document["annotations"][0] |= changed
        return read_folder(written(tmp_path, "detection", document, ["images/a.jpg"]), manifest()).sha256

    assert len({digest(), digest(iscrowd=1), digest(bbox=[1, 2, 30, 41]), digest(category_id=2)}) == 4
    assert json.loads((tmp_path / "annotations.json").read_text())["annotations"][0]["category_id"] == 2


def test_a_limit_takes_the_same_items_again(tmp_path: Path) -> None:
    names = [f"{i}.flac" for i in range(20)]
    where = written(tmp_path, "transcription", [["file", "text"], *([name, "x"] for name in names)], names)
    whole = read_folder(where, manifest("transcription"))
    some = whole.limited(5)
    assert len(some.examples) == 5
    assert {e.file for e in some.examples} < {e.file for e in whole.limited(6).examples}
    assert some.notes == ("limited to 5 of 20 items",)
    assert whole.limited(None) is whole.limited(20) is whole
