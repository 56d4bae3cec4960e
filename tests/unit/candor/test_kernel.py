"""The kernel's values: ids, errors, manifests, drafts."""

from __future__ import annotations

import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from candor import errors
from candor.drafts import Draft, Timings
from candor.errors import CandorError, InvalidRequest, Overloaded, UnknownModel
from candor.ids import new_id
from candor.manifest import Manifest, canonical_json
from tests.unit.store.drafts import draft

# --- ids


def test_ids_are_unique_and_name_their_kind() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: new_id("drf"), range(500)))
    assert len(set(made)) == 500
    assert all(re.fullmatch(r"drf_[0-9A-HJKMNP-TV-Z]{26}", one) for one in made)


# --- errors


def kinds(root: type[CandorError] = CandorError) -> list[type[CandorError]]:
    return [root] + [kind for child in root.__subclasses__() for kind in kinds(child) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", kinds(), ids=str)
def test_errors_cross_processes_whole(kind: type[CandorError]) -> None:
    sent = kind("what is wrong", retry_after=1.5)
    try:
        raise sent from ValueError("cause")
    except CandorError as raised:
        got = pickle.loads(pickle.dumps(raised))  # noqa: S301 - our own bytes
    assert type(got) is kind
    assert (got.detail, got.retry_after, str(got)) == ("what is wrong", 1.5, "what is wrong")


def test_an_error_without_a_detail_says_its_title() -> None:
    assert Overloaded().detail == str(Overloaded()) == Overloaded.title
    assert Overloaded().retry_after is None


def test_the_tree_at_the_top_of_the_file_is_the_tree() -> None:
    drawn = re.findall(r"^[│ ]*[├└]── (\w+) +(\d{3})", errors.__doc__ or "", flags=re.MULTILINE)
    assert {(kind.__name__, str(kind.status)) for kind in kinds()[1:]} == set(drawn)
    for kind in kinds()[1:]:
        assert re.fullmatch(r"[a-z_]+", kind.code)
        assert kind.__doc__
    assert issubclass(UnknownModel, errors.NotFound)


# --- manifests


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {"name": "m", "task": "detection", "family": "fake", "files": {"w": "00"}, "labels": ("cat",), **changes}
    return Manifest(**values)


def test_a_version_is_named_by_what_changes_its_predictions() -> None:
    plain = manifest()
    assert re.fullmatch(r"m@sha256:[0-9a-f]{64}", plain.version)
    for change in (
        {"name": "n"},
        {"task": "classification"},
        {"family": "onnx"},
        {"files": {"w": "01"}},
        {"files": {"w": "00", "v": "00"}},
        {"labels": ("dog",)},
        {"labels": ("cat", "dog")},
        {"input": {"size": 1}},
        {"output": {"nms": 0.5}},
        {"display_threshold": 0.25},
    ):
        assert manifest(**change).digest != plain.digest, change
    assert manifest(notes="x", licence="MIT").digest == plain.digest
    assert manifest(files={"b": "1", "a": "2"}).digest == manifest(files={"a": "2", "b": "1"}).digest


def test_the_digest_is_pinned() -> None:
    """Drafts and calibrations name versions by it: it must not change with the code."""
    assert manifest().digest == "sha256:f62a5b44810786d253945668955ddd8f2482cc8925fe9aaa7df3b953b69fbbe9"


def test_a_manifest_survives_json() -> None:
    one = manifest(input={"size": [3, 4]}, display_threshold=0.5, notes="ü")
    again = Manifest.from_json(one.as_json())
    assert again == one
    assert again.version == one.version


@pytest.mark.parametrize(
    "value",
    [{}, {"name": "m"}, {**manifest().as_json(), "extra": 1}, {**manifest().as_json(), "labels": 5}, {**manifest().as_json(), "schema": 2}],
)
def test_a_wrong_manifest_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        Manifest.from_json(value)


@pytest.mark.parametrize(
    "change", [{"name": ""}, {"name": "a@b"}, {"name": "a/b"}, {"name": "a b"}, {"task": "segmentation"}, {"schema": 0}]
)
def test_a_manifest_that_can_not_be_is_refused(change: Any) -> None:
    with pytest.raises(InvalidRequest):
        manifest(**change)


def test_canonical_json_is_one_text() -> None:
    assert canonical_json({"b": [1, "ü"], "a": None}) == '{"a":null,"b":[1,"ü"]}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


# --- drafts

PAYLOAD: dict[str, Any] = {
    "image_size": [4, 3],
    "labels": [
        {"id": "drf_1.0", "label": "drf_1", "confidence": 0.5, "raw": {"score": 0.7, "logit": 0.8}},
        {"id": "drf_1.1", "label": "id", "confidence": None, "raw": {"score": 0.1, "logit": -2.0}},
    ],
    "raw": {"no_speech_prob": 0.1},
}


def made(**changes: Any) -> Draft:
    return draft(**{"id": "drf_1", "payload": PAYLOAD, "timings": Timings(infer=0.1234567, batch_size=2), **changes})


def test_the_wire_shows_raw_scores_on_request_alone() -> None:
    wire = made().as_wire()
    assert "raw" not in str(wire)
    assert "logit" not in str(wire)
    assert made().as_wire(raw=True)["labels"] == PAYLOAD["labels"]
    assert list(wire)[:5] == ["id", "item", "project", "task", "model_version"]
    assert wire["timings"]["infer"] == 0.123457
    assert wire["image_size"] == [4, 3]


def test_a_draft_that_answers_again_says_so_and_nothing_else_changes() -> None:
    one = made()
    again = one.again()
    assert again.timings.cached is True
    assert replace(again, timings=one.timings) == one


def test_a_draft_for_another_item_is_its_own() -> None:
    now = datetime.now(UTC)
    one = made()
    other = one.for_item("drf_2", "b", None, now)
    assert (other.id, other.item, other.project, other.created_at, other.timings.cached) == ("drf_2", "b", None, now, True)
    assert [label["id"] for label in other.payload["labels"]] == ["drf_2.0", "drf_2.1"]
    assert [label["label"] for label in other.payload["labels"]] == ["drf_1", "id"]  # names that look like ids stay
    assert [label["raw"] for label in other.payload["labels"]] == [label["raw"] for label in PAYLOAD["labels"]]
    assert one.payload == PAYLOAD
    assert (other.confidence, other.calibration, other.model_version, other.media_sha256) == (
        one.confidence,
        one.calibration,
        one.model_version,
        one.media_sha256,
    )
