"""Label sets are well-known, read from a file, or given; and fit the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from candor.errors import InvalidRequest
from models.families._image_labels import labels_of, names_in


def test_coco_has_80_labels() -> None:
    labels = labels_of("coco", 80)
    assert (labels[0], labels[9], labels[16], labels[79]) == ("person", "traffic light", "dog", "toothbrush")
    assert labels[17] == "horse"


def test_labels_are_read_from_a_file_a_list_or_the_models_own(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("rot\n\n grün \n", encoding="utf-8")
    assert labels_of(str(tmp_path / "names.txt"), 2) == ("rot", "grün")
    assert labels_of(["a", "b"], 2, ("x", "y")) == ("a", "b")
    assert labels_of("from-model", 2, ("x", "y")) == ("x", "y")
    assert labels_of(None, 2, ("x", "y")) == ("x", "y")
    assert labels_of(["a"], None) == ("a",)


def test_what_a_file_names_is_taken_as_names_alone(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    assert names_in({10: "b", 2: "a"}) == ("a", "b")
    assert names_in(["x", "y"]) == ("x", "y")
    for other in (str(tmp_path / "secret"), "coco80", None, 7, {"0": "a"}):
        assert names_in(other) == ()


@pytest.mark.parametrize(
    ("option", "classes", "reason"),
    [
        (None, 2, "set options.labels"),
        (["a"], 2, "has 2 classes and options.labels gives 1"),
        (["a", "a"], 2, "more than once: a"),
        ("/no/such/file", 2, "neither a known label set"),
        ([1, 2], 2, "a list of strings"),
        (7, 2, "a list of strings"),
        (["a", " "], 2, "label 1 is empty"),
        (["a\0", "b"], 2, "label 0 .* NUL"),
        (["a", "\ud800"], 2, "label 1"),
        (["a", "b" * 201], 2, "label 1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(option: Any, classes: int, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        labels_of(option, classes)
