from __future__ import annotations

import io
import json
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from client.errors import Unreachable
from client.files import MediaFile
from scripts.demo.drafting import draft_all
from tests.unit.client.fake_server import FakeServer, problem


def media(folder: Path) -> list[MediaFile]:
    found = []
    for name in ("a.jpg", "talk.wav", "b.jpg"):
        (folder / name).write_bytes(name.encode())
        found.append(MediaFile(folder / name, "audio" if name.endswith("wav") else "image", name))
    return found


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_images_go_to_two_tasks_and_speech_to_one(tmp_path: Path) -> None:
    server = FakeServer()
    found = draft_all(server.client(), media(tmp_path), quiet())
    assert [(one.task, one.file.item, one.entry["item"]) for one in found] == [
        ("detection", "a.jpg", "a.jpg"),
        ("detection", "b.jpg", "b.jpg"),
        ("classification", "a.jpg", "a.jpg"),
        ("classification", "b.jpg", "b.jpg"),
        ("transcription", "talk.wav", "talk.wav"),
    ]
    assert all(one.entry["task"] == one.task for one in found)
    assert [request.url.path for request in server.requests] == [
        f"/v1/{one}/drafts" for one in ("detection", "classification", "transcription")
    ]
    kinds = [request.headers["Content-Type"].partition(";")[0] for request in server.requests]
    assert kinds == ["multipart/form-data", "application/json", "multipart/form-data"]
    assert json.loads(server.bodies[1])["items"][0] == {"id": "a.jpg", "image": {"base64": "YS5qcGc="}}


def test_a_task_whose_model_is_missing_fails_its_items_alone(tmp_path: Path) -> None:
    found = draft_all(FakeServer(problem("model_unavailable", 503)).client(), media(tmp_path), quiet())
    assert [one.error is not None for one in found] == [True, True, False, False, False]
    assert found[0].entry["item"] == "a.jpg"
    assert (found[0].error or {})["code"] == "model_unavailable"


def test_a_server_that_is_gone_ends_it(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        draft_all(FakeServer(httpx.ConnectError("refused")).client(), media(tmp_path), quiet())
