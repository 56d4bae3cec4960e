"""`candor evaluate` from the command line with the built-in models, against the same models run by hand.

The labels are what the model itself says when it is run outside the engine, with one mistake put in, so that the figures are known.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import timm
import torch
import typer
import whisper
import yaml
from PIL import Image
from safetensors.torch import load_file
from torchvision import transforms
from torchvision.ops import batched_nms
from typer.testing import CliRunner
from whisper_normalizer.english import EnglishTextNormalizer

from calibration.apply import misfit
from calibration.record import load
from models.audio import open_audio
from models.catalog import Installed
from models.families._image_letterbox import Letterbox
from models.families._yolo_tiny import YoloTiny
from models.samples import Sample, samples
from serving.config import Settings, cache_home, load_settings
from serving.evaluation.commands import calibrate, evaluate
from serving.loading import build_catalog

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", autouse=True)
def logs_as_before() -> Iterator[None]:
    """The commands configure logs for the whole process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default configuration, with the models where the other integration tests keep them."""
    values = yaml.safe_load((ROOT / "configs" / "default.yaml").read_text())
    values["storage"] |= {"models": str(cache_home(Settings()) / "test-models")}
    for model in values["models"].values():
        model["calibration"] = str(ROOT / model["calibration"])
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def media() -> list[Sample]:
    return samples(cache_home(Settings()))


def installed(config: Path, name: str) -> Installed:
    return build_catalog(load_settings(config)).install(name)


def told(config: Path, model: str, data: Path, out: Path, *more: str) -> dict[str, Any]:
    """Run the command and return its report."""
    app = typer.Typer()
    app.command()(evaluate)
    found = CliRunner().invoke(app, ["--model", model, "--data", str(data), "--json", str(out), "--config", str(config), *more])
    assert found.exit_code == 0, found.output
    report: dict[str, Any] = json.loads(out.read_text())
    assert report["items"]["failed"] == []
    return report


def placed(media: Sequence[Sample], where: Path) -> list[Path]:
    where.mkdir()
    return [Path(shutil.copy(sample.path, where / sample.path.name)) for sample in media]


def table(where: Path, name: str, rows: Sequence[Sequence[str]]) -> None:
    with (where / name).open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows(rows)


def test_shipped_records_belong_to_the_versions_that_are_installed(config: Path) -> None:
    for name, model in load_settings(config).models.items():
        assert model.calibration is not None
        manifest = installed(config, name).manifest
        record = load(model.calibration)
        assert record.model_version == manifest.version
        assert misfit(record, manifest.version, manifest.display_threshold) == ""


def test_top_1_is_timms(config: Path, media: list[Sample], tmp_path: Path) -> None:
    found = installed(config, "efficientnet-lite0")
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(load_file(found.folder / "model.safetensors"))
    steps = transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    pictures = placed([sample for sample in media if sample.kind == "image"], tmp_path / "data")
    with torch.inference_mode():
        logits = network.eval()(torch.stack([steps(Image.open(path).convert("RGB")) for path in pictures]))
    best = logits.argmax(1).tolist()
    best[0] = (best[0] + 1) % 1000
    table(tmp_path / "data", "labels.csv", [["file", "imagenet_index"], *([p.name, str(i)] for p, i in zip(pictures, best, strict=True))])
    report = told(config, "efficientnet-lite0", tmp_path / "data", tmp_path / "out.json")
    n = len(pictures)
    assert report["quality"]["top1"]["value"] == pytest.approx((n - 1) / n, abs=1e-6)
    mean = float(logits.softmax(1).amax(1).mean())
    assert report["calibration"]["raw"]["mean_confidence"] == pytest.approx(mean, abs=1e-4)
    sure = float((logits / load(ROOT / "configs/calibrations/efficientnet-lite0.json").parameters["temperature"]).softmax(1).amax(1).mean())
    assert report["calibration"]["confidence"]["mean_confidence"] == pytest.approx(sure, abs=1e-4)
    assert (report["calibration"]["status"], report["calibration"]["rows"]) == ("unverified", "all")


def test_boxes_are_the_detectors(config: Path, media: list[Sample], tmp_path: Path) -> None:
    found = installed(config, "yolov3-tiny")
    network = YoloTiny(found.folder / "model.safetensors", 80, torch.float32).eval()
    pictures = placed([sample for sample in media if sample.kind == "image"], tmp_path / "data")
    labels: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": n} for i, n in enumerate(found.manifest.labels)],
    }
    for number, path in enumerate(pictures):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        frame = Letterbox.fit((pixels.shape[1], pixels.shape[0]), (416, 416))
        with torch.inference_mode():
            raw = network(torch.from_numpy(frame.apply(pixels, (416, 416)).transpose(2, 0, 1).copy())[None])
        assert raw.objectness is not None
        score, index = (raw.classes[0].sigmoid() * raw.objectness[0].sigmoid()[:, None]).max(1)
        kept = torch.nonzero(score >= 0.25)[:, 0]
        kept = kept[batched_nms(raw.boxes[0][kept], score[kept], index[kept], 0.6)]
        corners = frame.restore(raw.boxes[0][kept].double().numpy())
        labels["images"].append({"id": number, "file_name": path.name, "width": pixels.shape[1], "height": pixels.shape[0]})
        for (x0, y0, x1, y1), category in zip(corners.tolist(), index[kept].tolist(), strict=True):
            labels["annotations"].append({"id": 0, "image_id": number, "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0]})
    seen = len(labels["annotations"])
    assert seen >= 3
    labels["annotations"].append({"id": 0, "image_id": 0, "category_id": 0, "bbox": [0.0, 0.0, 3.0, 3.0]})  # nobody sees that one
    (tmp_path / "data" / "annotations.json").write_text(json.dumps(labels))
    report = told(config, "yolov3-tiny", tmp_path / "data", tmp_path / "out.json", "--calibration", "none")
    shown = report["quality"]["shown"]
    assert (shown["boxes"], shown["precision"]["value"]) == (seen, 1.0)
    assert shown["recall"]["value"] == pytest.approx(seen / (seen + 1), abs=1e-6)
    assert report["calibration"]["status"] == "uncalibrated"
    assert not [note for note in report["data"]["notes"] if "EXIF" in note]


@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file .*tiktoken:ResourceWarning")  # openai-whisper's own
def test_words_are_openai_whispers(config: Path, media: list[Sample], tmp_path: Path) -> None:
    found = installed(config, "whisper-tiny.en")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = whisper.model.Whisper(whisper.model.ModelDimensions(**found.manifest.input["dims"]))
    model.load_state_dict(load_file(found.folder / "model.safetensors"))
    (clip,) = placed([sample for sample in media if sample.kind == "audio"], tmp_path / "data")
    sound = np.concatenate(list(open_audio(clip.read_bytes(), 60.0).blocks))
    text = whisper.transcribe(model.eval(), sound, temperature=0, fp16=False, language="en")["text"]
    words = EnglishTextNormalizer()(text).split()
    assert len(words) > 15
    table(tmp_path / "data", "transcripts.csv", [["file", "text"], [clip.name, " ".join([*words[:-1], "something"])]])
    report = told(config, "whisper-tiny.en", tmp_path / "data", tmp_path / "out.json")
    assert report["quality"]["wer"]["value"] == pytest.approx(1 / len(words), abs=1e-6)
    assert report["calibration"]["confidence"]["n"] == len(words)
    assert report["calibration"]["confidence"]["accuracy"] == pytest.approx((len(words) - 1) / len(words), abs=1e-6)


def test_a_bad_folder_is_told_in_a_line(config: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(calibrate)
    table(tmp_path, "labels.csv", [["file", "imagenet_index"], ["none.jpg", "3"]])
    arguments = ["--model", "efficientnet-lite0", "--data", str(tmp_path), "--out", str(tmp_path / "o.json"), "--config", str(config)]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
    assert "labels.csv line 2: there is no file 'none.jpg'" in found.output
    assert not (tmp_path / "o.json").exists()
