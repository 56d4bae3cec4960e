from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.raw import Loop, pace
from candor.errors import UnreadableItem
from candor.fake import FakeModel
from candor.families import MediaLimits
from candor.manifest import Manifest


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(Manifest("stub", "detection", "fake", {}, labels=("cat",)))


def loop(model: FakeModel) -> Loop:
    return Loop(model, MediaLimits(), max_batch=4, threads=2)


@pytest.mark.parametrize("kind", ["plain", "ahead"])
def test_raw_loops_run_whole_batches_of_the_cap(model: FakeModel, kind: str) -> None:
    rate = getattr(loop(model), kind)([b"a", b"b", b"c"], seconds=0, least=3)
    assert model.batches == [4, 4, 4]
    assert rate > 0


def test_units_of_several_items_share_batches_of_the_cap(model: FakeModel) -> None:
    long = json.dumps({"units": 3}).encode()
    loop(model).plain([long], seconds=0, least=1)
    assert model.batches == [4, 4, 4]  # four items of three units


def test_one_item_runs_alone(model: FakeModel) -> None:
    assert loop(model).alone(b"a") > 0
    assert model.batches == [1]


def test_an_item_that_fails_ends_the_measurement(model: FakeModel) -> None:
    with pytest.raises(UnreadableItem):
        loop(model).plain([b'{"fail": "infer"}'], seconds=0, least=1)


def test_slow_models_get_a_slower_pace() -> None:
    assert pace(0.05) == 1.0
    assert pace(0.8) == 1.6


def test_media_are_the_same_every_time_and_all_different(tmp_path: Path) -> None:
    import wave  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    from benchmarks.media import files_of, make_files  # noqa: PLC0415
    from models.samples import Sample  # noqa: PLC0415

    noise = np.random.default_rng(0)
    Image.fromarray(noise.integers(255, size=(300, 500, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        sound.writeframes(noise.integers(-9999, 9999, 8000 * 5).astype(np.int16).tobytes())
    samples = [Sample(tmp_path / "a.png", "image", "", ""), Sample(tmp_path / "a.wav", "audio", "", "")]
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_files(samples, tmp_path / name, images=3, clips=3)
        made.append([path.read_bytes() for task in ("detection", "transcription") for path in files_of(tmp_path / name, task)])
    assert made[0] == made[1]
    assert len(set(made[0])) == 6
    with Image.open(files_of(tmp_path / "one", "classification")[0]) as picture:
        assert (picture.size, picture.format) == ((640, 480), "JPEG")
    with wave.open(str(files_of(tmp_path / "one", "transcription")[0])) as sound_made:
        assert 2 * 8000 <= sound_made.getnframes() <= 5 * 8000
