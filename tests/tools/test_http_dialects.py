"""The real `openai` and `inference-sdk` against a Candor in a process of its own. Each script prints what its client was told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from PIL import Image

from tests.tools.calibrating import calibrate
from tests.tools.candor_site import CandorSite
from tests.unit.serving.served import model

Run: TypeAlias = Callable[[str, str], Any]

OPENAI = """
client = openai.OpenAI(base_url=URL + "/openai/v1", api_key="any", max_retries=0)
clip = ("clip.wav", b'{"units": 2}')
told = {"models": [one.id for one in client.models.list()]}
for kind in ("json", "text", "srt", "vtt"):
    answer = client.audio.transcriptions.create(model="whisper-1", file=clip, response_format=kind)
    told[kind] = answer if isinstance(answer, str) else answer.text
whole = client.audio.transcriptions.create(
    model="listener", file=clip, response_format="verbose_json", timestamp_granularities=["segment", "word"]
)
told["words"] = [[word.word, word.start, word.end, word.confidence] for word in whole.words]
told["segments"] = [[segment.start, segment.end, segment.text] for segment in whole.segments]
told["stream"] = [event.type for event in client.audio.transcriptions.create(model="listener", file=clip, stream=True)]
told["root"] = openai.OpenAI(base_url=URL + "/v1", api_key="any").audio.transcriptions.create(model="whisper-1", file=clip).text
told["errors"] = []
for wrong in ({"model": "nobody"}, {"model": "finder"}, {"file": ("a.wav", b"")}):
    try:
        client.audio.transcriptions.create(**{"model": "listener", "file": clip, **wrong})
    except openai.APIStatusError as error:
        told["errors"].append([type(error).__name__, error.code, error.param])
"""

ROBOFLOW = """
client = inference_sdk.InferenceHTTPClient(api_url=URL + "/roboflow", api_key="any")
told = {"name": client.get_server_info().name, "models": [one.model_id for one in client.list_loaded_models().models]}
told["one"] = client.infer("a.png", model_id="finder/production")
with client.use_configuration(inference_sdk.InferenceConfiguration(max_batch_size=4)):
    told["many"] = client.infer(["a.png", "b.png"] * 3, model_id="finder/1")
with client.use_configuration(inference_sdk.InferenceConfiguration(confidence_threshold=told["one"]["predictions"][0]["confidence"])):
    told["sure"] = client.infer("a.png", model_id="finder/1")
with client.use_api_v0():
    told["older"] = client.infer("a.png", model_id="finder/1")
told["class"] = client.infer("a.png", model_id="namer/1")
client.load_model("finder/1"), client.unload_model("finder/1"), client.unload_all_models()
told["errors"] = []
for wrong in ("nobody/1", "listener/1", "finder/7"):
    try:
        client.infer("a.png", model_id=wrong)
    except inference_sdk.http.errors.HTTPCallErrorError as error:
        told["errors"].append([error.status_code, error.api_message])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CandorSite]:
    """A Candor whose models are calibrated."""
    models = {
        "finder": model("detection", options_display_threshold=0.0),
        "namer": model("classification"),
        "listener": model("transcription"),
    }
    made = CandorSite(tmp_path_factory.mktemp("dialects") / "candor", models=models)
    try:
        made.start()
        for name, chosen in models.items():
            words = {"parameters": {"temperature": 2.0, "bias": 2.0}} if name == "listener" else {}
            calibrate(made, name, chosen.task, **words)
        yield made
    finally:
        made.stop()


@pytest.fixture
def run(site: CandorSite, tool_python: Path, tmp_path: Path) -> Run:
    """Run a client's script beside two pictures; return what it told."""
    for number, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name)

    def told(module: str, script: str) -> Any:
        code = f"import json, {module}\nURL = {site.url!r}\n{script}\nprint(json.dumps(told))"
        done = subprocess.run([tool_python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return told


def test_openais_client(site: CandorSite, run: Run) -> None:
    told = run("openai", OPENAI)
    assert told["models"] == ["listener", "whisper-1"]
    assert (told["json"], told["text"], told["root"]) == ("word0 word1", "word0 word1\n", "word0 word1")
    assert told["srt"] == "1\n00:00:00,000 --> 00:00:01,500\nword0 word1\n\n"
    assert told["vtt"].startswith("WEBVTT\n\n")
    files = {"audio": ("clip.wav", b'{"units": 2}')}
    (draft,) = site.api("POST", "/v1/transcription/drafts", files=files)["drafts"]
    words = [word for segment in draft["segments"] for word in segment["words"]]
    assert told["words"] == [[word["text"], word["start"], word["end"], word["confidence"]] for word in words]
    assert told["segments"] == [[0.0, 2.0, "word0 word1"]]
    assert told["stream"] == ["transcript.text.delta", "transcript.text.done"]
    assert told["errors"] == [
        ["NotFoundError", "model_not_found", "model"],
        ["BadRequestError", "wrong_task", "model"],
        ["BadRequestError", "unreadable_item", None],
    ]


def test_roboflows_client(site: CandorSite, run: Run) -> None:
    told = run("inference_sdk, inference_sdk.http.errors", ROBOFLOW)
    assert told["name"] == "Candor"
    assert told["models"] == ["finder/1", "finder/production", "namer/1", "namer/production"]
    # the client encodes what it reads anew, and the same way each time: the older form sends the same bytes
    assert told["one"]["predictions"] == told["older"]["predictions"] == told["many"][0]["predictions"]
    assert len(told["many"]) == 6
    (box, _) = told["one"]["predictions"]
    assert (box["x"], box["y"], box["width"], box["height"]) == (15.5, 21.0, 29.0, 38.0)
    assert 0 < box["confidence"] < 1
    assert [one["confidence"] for one in told["sure"]["predictions"]] == [box["confidence"]]
    assert told["class"]["top"] == told["class"]["predictions"][0]["class"]
    assert [status for status, _ in told["errors"]] == [404, 409, 404]
    assert "there is no model 'nobody'" in told["errors"][0][1]
