from __future__ import annotations

import numpy as np
import pytest

from calibration.words import normaliser_for
from candor.errors import UnreadableItem
from serving.evaluation.rows import Calibrator, build_rows, seen_by, side, sides_of
from tests.unit.calibration.records import VERSION, record
from tests.unit.serving.evaluation.made import boxes, example, folder, image_class, spoken, true_boxes

A, B, C = [0.0, 0, 10, 10], [20.0, 20, 40, 40], [60.0, 60, 80, 80]


def test_boxes_in_crowds_and_of_classes_that_nobody_labelled_are_no_rows() -> None:
    truth = true_boxes((A, 0, False), (C, 0, True))
    found = boxes((A, 0, 0.9), (B, 0, 0.8), (C, 0, 0.7), (B, 2, 0.6))
    rows = build_rows(folder("detection", [example("a", truth)], judged_classes=[0, 1]), [found])
    assert rows.score.tolist() == [0.9, 0.8]
    assert rows.correct.tolist() == [1.0, 0.0]
    assert rows.logits.tolist() == pytest.approx([np.log(9), np.log(4)])
    # The same without the crowd flag and with all classes labelled: every box counts.
    plain = build_rows(folder("detection", [example("a", true_boxes((A, 0, False), (C, 0, False)))]), [found])
    assert plain.correct.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_rows_know_their_item_and_source_and_failures_give_none() -> None:
    data = folder("transcription", [example("a", "one", "s1"), example("b", "two", "s2"), example("c", "uh three", "s2")])
    rows = build_rows(data, [spoken("one"), UnreadableItem(), spoken("uh tree")], normaliser_for("en"))
    assert rows.item.tolist() == [0, 2]  # "uh" normalises to nothing
    assert rows.cluster.tolist() == ["s1", "s2"]
    assert rows.correct.tolist() == [1.0, 0.0]


def test_an_image_is_one_row_with_all_its_logits() -> None:
    rows = build_rows(folder("classification", [example("a", 1), example("b", 2)]), [image_class(0, 1, 0), image_class(3, 0, 0)])
    assert rows.logits.tolist() == [[0, 1, 0], [3, 0, 0]]
    assert rows.correct.tolist() == [1.0, 0.0]
    assert rows.score[0] == pytest.approx(np.e / (np.e + 2))
    assert rows.truth is not None
    assert rows.truth.tolist() == [1, 2]


def test_confidences_are_those_of_serving() -> None:
    data = folder("classification", [example("a", 1)])
    found = build_rows(data, [image_class(0, 2, 0)], None, Calibrator(record("classification"), VERSION, None))
    assert found.confidence is not None
    assert found.confidence[0] == pytest.approx(np.e / (np.e + 2))  # temperature 2
    other = build_rows(data, [image_class(0, 2, 0)], None, Calibrator(record("classification"), "m@sha256:" + "b" * 64, None))
    assert other.confidence is None


def test_nothing_to_judge_is_no_rows() -> None:
    rows = build_rows(folder("detection", [example("a", true_boxes((A, 0, False)))]), [UnreadableItem()])
    assert (len(rows.correct), len(rows.item), rows.confidence) == (0, 0, None)


def test_the_split_is_as_it_says_and_always_the_same() -> None:
    sides = np.array([side(f"speaker {i}") for i in range(2000)])
    for name, share in (("fit", 0.4), ("select", 0.2), ("test", 0.4)):
        assert abs((sides == name).mean() - share) < 0.04
    assert [side(name) for name in "abcdef"] == ["test", "test", "test", "select", "fit", "test"]  # nothing may move it


@pytest.mark.parametrize("speakers", [3, 5, 8, 29])
def test_few_clusters_are_on_all_sides(speakers: int) -> None:
    sides = sides_of(folder("transcription", [example(f"{i}.flac", "x", f"s{i}") for i in range(speakers)]))
    counts = [int((sides == name).sum()) for name in ("fit", "select", "test")]
    assert min(counts) >= 1
    assert abs(counts[0] - counts[2]) <= 1


def test_a_cluster_stands_on_one_side() -> None:
    data = folder("transcription", [example(f"{i}.flac", "x", f"s{i % 7}") for i in range(70)])
    sides = sides_of(data)
    for speaker in range(7):
        assert len(set(sides[speaker::7].tolist())) == 1


def test_an_item_that_the_fit_has_seen_brings_its_speaker_along() -> None:
    data = folder("transcription", [example("a", "x", "s1"), example("b", "x", "s1"), example("c", "x", "s2")])
    seen = seen_by(record("transcription", fitted_items=(data.examples[0].sha256[:16],)), data)
    assert seen.tolist() == [True, True, False]
