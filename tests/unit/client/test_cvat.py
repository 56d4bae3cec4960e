"""What runs beside CVAT's tools, without them: the real ones are in tests/tools."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

from client.api import Client
from client.cvat.annotate import How, annotate
from client.cvat.described import described, score, shown
from client.cvat.frames import downloaded, frames_of
from client.errors import BadOption, ClientError


def label(name: str, confidence: float | None = None) -> dict[str, Any]:
    return {"label": name, "confidence": confidence, "xyxy": [1.0, 2.0, 3.0, 4.0]}


def function(kind: str, name: str, task: str, labels: Sequence[str]) -> dict[str, Any]:
    notes = {"candor.kind": kind, "candor.name": name, "candor.task": task, "spec": json.dumps([{"name": one} for one in labels])}
    return {"metadata": {"annotations": notes}}


FUNCTIONS = {
    "a": function("model", "finder", "detection", ["cat", "dog"]),
    "b": function("model", "namer", "classification", ["cat", "dog"]),
    "c": function("project", "street", "detection", ["beast"]),
}


def candor(failing: str = "", size: Sequence[int] = (64, 48)) -> Client:
    """A Candor that finds a cat in every picture, surely, and a dog, less so; pictures with the text `failing` fail."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=FUNCTIONS)
        parts = [one for one in request.read().split(b"--" + request.headers["content-type"].partition("boundary=")[2].encode())]
        entries = []
        for part in parts:
            name, found, _ = part.partition(b'filename="')[2].partition(b'"')
            if not found:
                continue
            entry: dict[str, Any] = {"item": name.decode(), "image_size": list(size), "labels": [label("cat", 0.9), label("dog", 0.4)]}
            if failing and failing.encode() in part:
                problem = {"type": "", "title": "", "status": 422, "code": "bad", "detail": "it is bad", "retryable": False}
                entry = {"item": name.decode(), "error": problem}
            entries.append(entry)
        return httpx.Response(200, json={"model_version": "m", "drafts": entries})

    return Client(transport=httpx.MockTransport(handle), wait=lambda _: None)


class Task:
    """Stands for `cvat_sdk.core.proxies.tasks.Task`."""

    def __init__(self, frames: int = 10, chunk: int = 4, deleted: Sequence[int] = (), kind: str = "imageset", types: str = "any") -> None:
        self.size, self.data_chunk_size, self.data_original_chunk_type = frames, chunk, kind
        self._deleted, self._types = deleted, types
        self.downloads: list[str] = []
        self.tags: list[Any] = []
        self.shapes: list[Any] = []
        self.cleared = False

    def get_meta(self) -> Any:
        count = self.size if self.data_original_chunk_type == "imageset" else 1
        frames = [SimpleNamespace(name=f"{number}.png", width=64, height=48) for number in range(count)]
        return SimpleNamespace(deleted_frames=list(self._deleted), frames=frames)

    def get_labels(self) -> Any:
        confidence = SimpleNamespace(id=5, name="confidence", input_type="text")
        return [
            SimpleNamespace(id=11, name="cat", type=self._types, attributes=[]),
            SimpleNamespace(id=12, name="dog", type=self._types, attributes=[confidence]),
        ]

    def download_chunk(self, number: int, file: Any, quality: str) -> None:
        assert quality == "original"
        self.downloads.append(f"chunk {number}")
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            for frame in range(number * self.data_chunk_size, min(self.size, (number + 1) * self.data_chunk_size)):
                archive.writestr(f"{frame}.png", f"frame {frame}!")
        file.write(held.getvalue())

    def get_frame(self, number: int, quality: str) -> io.BytesIO:
        self.downloads.append(f"frame {number}")
        return io.BytesIO(f"frame {number}!".encode())

    def get_annotations(self) -> Any:
        return SimpleNamespace(tags=self.tags, shapes=self.shapes)

    def set_annotations(self, data: Any) -> None:
        self.tags, self.shapes, self.cleared = data.tags, data.shapes, True

    def update_annotations(self, data: Any, action: str) -> None:
        assert action == "create"
        self.tags, self.shapes = [*self.tags, *data.tags], [*self.shapes, *data.shapes]


class Made(SimpleNamespace):
    """Stands for a model of `cvat_sdk.models`."""

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@pytest.fixture(autouse=True)
def _sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModuleType("cvat_sdk.models")
    for name in ("LabeledImageRequest", "LabeledShapeRequest", "AttributeValRequest", "LabeledDataRequest", "PatchedLabeledDataRequest"):
        setattr(models, name, Made)
    annotations = ModuleType("cvat_sdk.core.proxies.annotations")
    setattr(annotations, "AnnotationUpdateAction", SimpleNamespace(CREATE="create"))  # noqa: B010 - a module has no such attribute
    for name in ("cvat_sdk", "cvat_sdk.core", "cvat_sdk.core.proxies"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for module in (models, annotations):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def run(task: Task, server: Client | None = None, model: str = "finder", **how: Any) -> Any:
    server = server or candor()
    return annotate(task, server, described(server, model, None), How(**how))


def test_a_model_or_project_is_described() -> None:
    found = described(candor(), "finder@blue", None)
    assert (found.labels, found.shape, found.options.task, found.options.model) == (("cat", "dog"), "rectangle", "detection", "finder@blue")
    assert described(candor(), "namer", None).shape == "tag"
    street = described(candor(), None, "street")
    assert (street.labels, street.options.project, street.options.model) == (("beast",), "street", None)
    for model, project, told in ((None, None, "say what"), ("finger", None, "finder, namer"), ("finder", "avenue", "no project 'avenue'")):
        with pytest.raises(BadOption, match=told):
            described(candor(), model, project)


def test_a_threshold_is_held_against_confidences() -> None:
    draft: Mapping[str, Any] = {"labels": [label("cat", 0.5), label("dog", 0.49), label("cat")]}
    assert [one["confidence"] for one in shown(draft, "rectangle", 0.5)] == [0.5, None]
    assert len(list(shown(draft, "rectangle", None))) == 3
    assert [one["label"] for one in shown(draft, "tag", None)] == ["cat"]
    assert shown({"labels": []}, "tag", 0.5) == []
    assert (score(label("cat", 0.5)), score(label("cat"))) == (0.5, 0.0)


@pytest.mark.parametrize(("kind", "asked"), [("imageset", ["chunk 0", "chunk 1", "chunk 2"]), ("video", [f"frame {n}" for n in range(9)])])
def test_frames_come_in_groups_and_go(tmp_path: Path, kind: str, asked: list[str]) -> None:
    task = Task(9, chunk=4, kind=kind)
    groups = []
    for group in downloaded(task, frames_of(task, task.get_meta(), tmp_path), 5):
        assert all(frame.path.read_text() == f"frame {frame.number}!" for frame in group)
        groups.append([frame.number for frame in group])
    assert [number for group in groups for number in group] == list(range(9))
    assert all(len(group) >= 5 for group in groups[:-1])
    assert sorted(task.downloads) == asked
    assert not list(tmp_path.iterdir())


def test_boxes_are_written_with_their_confidence() -> None:
    task = Task(10, deleted=(3,))
    outcome = run(task, batch=2, jobs=2)
    assert (outcome.frames, outcome.written, outcome.known, outcome.failures) == (9, 18, 0, [])
    assert [shape.frame for shape in task.shapes[::2]] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    cat, dog = task.shapes[:2]
    assert (cat.label_id, cat.type, cat.points, cat.score, cat.source, cat.attributes) == (11, "rectangle", [1, 2, 3, 4], 0.9, "auto", [])
    assert [(one.spec_id, one.value) for one in dog.attributes] == [(5, "0.4000")]
    again = run(task)
    assert (again.written, again.known, len(task.shapes)) == (0, 18, 18)
    assert run(task, threshold=0.5, clear=True).written == 9
    assert task.cleared


def test_the_first_class_is_a_tag() -> None:
    task = Task(2)
    assert run(task, model="namer").written == 2
    assert [(tag.frame, tag.label_id) for tag in task.tags] == [(0, 11), (1, 11)]


def test_labels_must_fit() -> None:
    with pytest.raises(BadOption, match="none of the model's labels as rectangle"):
        run(Task(types="tag"))
    server = candor()
    with pytest.raises(BadOption, match="none of the model's labels"):
        annotate(Task(), server, described(server, None, "street"), How(unmatched=True))


def test_a_frame_that_fails_is_told_and_the_others_are_written() -> None:
    task = Task(4)
    outcome = run(task, candor(failing="frame 2!"))
    assert [(frame.number, error["code"]) for frame, error in outcome.failures] == [(2, "bad")]
    assert {shape.frame for shape in task.shapes} == {0, 1, 3}


def test_boxes_on_a_picture_of_another_size_are_not_written() -> None:
    task = Task(1)
    outcome = run(task, candor(size=(48, 64)))
    assert "Candor sees 48 x 64 pixels, and CVAT 64 x 48" in outcome.failures[0][1]["detail"]
    assert task.shapes == []


def test_nothing_is_written_where_candor_goes_away() -> None:
    task = Task(4)
    server = candor()
    what = described(server, "finder", None)

    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("gone")

    with pytest.raises(ClientError):
        annotate(task, Client(transport=httpx.MockTransport(gone), wait=lambda _: None), what, How())
    assert task.shapes == []
