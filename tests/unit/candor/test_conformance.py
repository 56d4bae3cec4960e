"""The suite that every family passes: the fake one does, and each broken rule is found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candor.conformance import NonConformant, check, differences, predict
from candor.errors import CandorError, InvalidRequest, UnreadableItem
from candor.fake import FakeFamily, FakeModel
from candor.families import Device, MediaLimits, PreparedItem, family_names, get_family
from candor.manifest import Manifest
from candor.predictions import TASKS, Classification, Detections, Prediction, Task, Transcript

SAMPLES = [b"one", b"two", b"three", json.dumps({"units": 3}).encode()]


def manifest(task: Task = "detection", **changes: Any) -> Manifest:
    return Manifest("m", task, "fake", {}, () if task == "transcription" else ("cat", "dog"), **changes)


@pytest.mark.parametrize("task", TASKS)
def test_the_fake_family_conforms(task: Task) -> None:
    model = FakeFamily().load(manifest(task), Path(), Device())
    passed = check(model, SAMPLES, bad=[b""])
    assert "the same predictions in one batch" in passed
    assert max(model.batches) == 6


def test_the_fake_family_is_found_by_its_name() -> None:
    assert "fake" in family_names()
    assert get_family("fake").tasks == set(TASKS)
    with pytest.raises(InvalidRequest, match="no family 'none'"):
        get_family("none")


def test_the_fake_family_takes_what_it_is_given_and_fails_on_demand(tmp_path: Path) -> None:
    adopted = FakeFamily().adopt("x", tmp_path, {"task": "detection", "base": 0.5, "fail": True, "other": 1})
    assert (adopted.labels, adopted.input) == (("cat", "dog"), {"base": 0.5, "fail": True})
    assert FakeFamily().adopt("x", tmp_path, {"task": "transcription"}).labels == ()
    with pytest.raises(CandorError, match="told to fail"):
        FakeFamily().load(manifest(input={"fail": True}), tmp_path, Device())


@pytest.mark.parametrize("data", [b"{", b"{nonsense", b'{"a":' * 3000, b"{}", b"\xff{"])
def test_any_bytes_are_an_item_of_the_fake_family(data: bytes) -> None:
    (prediction,) = predict(FakeModel(manifest()), [data], batch=1)
    assert isinstance(prediction, Detections)


class Neighbours(FakeModel):
    """Lets the batch change its results."""

    def infer(self, units: Sequence[Any]) -> list[Any]:
        return [seed + len(units) for seed, _ in units]


class Short(FakeModel):
    """Forgets a result."""

    def infer(self, units: Sequence[Any]) -> list[Any]:
        return super().infer(units)[1:]


class Weightless(FakeModel):
    """Says that it holds nothing."""

    def memory(self) -> int:
        return 0


class Credulous(FakeModel):
    """Takes whatever comes."""

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        return super().prepare(data or b"x", limits)


class Crashing(FakeModel):
    """Raises what it likes."""

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        return PreparedItem(iter([(1 // len(data), {})]), {}) if not data else super().prepare(data, limits)


class Late(FakeModel):
    """Finds that an item is bad only when its units are made."""

    def prepare(self, data: bytes, limits: MediaLimits) -> PreparedItem:
        def refused(_: int) -> Any:
            raise UnreadableItem("late")

        return super().prepare(data, limits) if data else PreparedItem(map(refused, range(1)), {})


class Ascending(FakeModel):
    """Gives its boxes in the wrong order."""

    def finish(self, item: PreparedItem, results: Sequence[Any]) -> Prediction:
        found = super().finish(item, results)
        assert isinstance(found, Detections)
        return replace(found, score=found.score[::-1], logit=found.logit[::-1])


class NotANumber(FakeModel):
    """Gives NaN."""

    def finish(self, item: PreparedItem, results: Sequence[Any]) -> Prediction:
        found = super().finish(item, results)
        assert isinstance(found, Detections)
        return replace(found, logit=found.logit * np.nan)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Neighbours, "alone against"),
        (Short, "answered 0 results"),
        (Weightless, "memory"),
        (Credulous, "were accepted"),
        (Crashing, "ZeroDivisionError, not UnreadableItem"),
        (Ascending, "descending score"),
        (NotANumber, "NaN"),
    ],
)
def test_each_broken_rule_is_found(kind: type[FakeModel], told: str) -> None:
    with pytest.raises(NonConformant, match=told):
        check(kind(manifest()), SAMPLES, bad=[b""])


def test_a_bad_item_may_be_refused_late() -> None:
    check(Late(manifest()), SAMPLES, bad=[b""])


def test_the_suite_needs_samples_enough_for_batches_to_differ() -> None:
    with pytest.raises(ValueError, match="three samples"):
        check(FakeModel(manifest()), SAMPLES[:2], bad=[])


def one(task: Task) -> Any:
    return predict(FakeModel(manifest(task)), [b"x"], batch=1)[0]


def test_float_noise_is_no_difference_and_more_is() -> None:
    boxes: Detections = one("detection")
    assert differences(boxes, replace(boxes, xyxy=boxes.xyxy + 0.04, logit=boxes.logit + 1e-3)) == ""
    assert "moved" in differences(boxes, replace(boxes, xyxy=boxes.xyxy + 0.06))
    assert "logit" in differences(boxes, replace(boxes, logit=boxes.logit + 0.01))
    assert "image sizes" in differences(boxes, replace(boxes, image_size=(1, 1)))
    assert "moved by inf" in differences(boxes, replace(boxes, class_index=boxes.class_index + 5))
    fewer = Detections(boxes.image_size, boxes.xyxy[:1], boxes.class_index[:1], boxes.score[:1], boxes.logit[:1])
    assert "2 boxes against 1" in differences(boxes, fewer)
    none = Detections(boxes.image_size, boxes.xyxy[:0], boxes.class_index[:0], boxes.score[:0], boxes.logit[:0])
    assert differences(none, none) == ""
    classes: Classification = one("classification")
    assert differences(classes, replace(classes, logits=classes.logits + 1e-3)) == ""
    assert "logits differ" in differences(classes, replace(classes, logits=classes.logits + 0.01))
    assert "logits differ" in differences(classes, replace(classes, logits=classes.logits * np.nan))
    assert "Detections against Classification" in differences(boxes, classes)


def changed(transcript: Transcript, **changes: Any) -> Transcript:
    (segment,) = transcript.segments
    (word,) = segment.words
    return replace(transcript, segments=(replace(segment, words=(replace(word, **changes),)),))


def test_transcripts_differ_in_text_times_and_logits() -> None:
    said: Transcript = one("transcription")
    assert differences(said, changed(said, start=0.02, logit=0.019)) == ""
    assert "times of" in differences(said, changed(said, start=0.03))
    assert "logits of" in differences(said, changed(said, logit=0.03))
    assert "logits of" in differences(said, changed(said, logit=float("nan")))
    other = replace(said, segments=(replace(said.segments[0], text="other"),))
    assert "texts" in differences(said, other)
    wordless = replace(said, segments=(replace(said.segments[0], words=()),))
    assert "words per segment" in differences(said, wordless)
    cut = replace(said, segments=(said.segments[0], replace(said.segments[0], text="", words=())))
    assert "words per segment" in differences(said, cut)
