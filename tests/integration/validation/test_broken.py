"""Broken, absurd and hostile files of every format: each is refused with a clear problem, and no process is lost for it."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import broken, good
from tests.integration.validation import many
from tests.integration.validation.trying import examined, refused, tried_apart

CHECKPOINTS = ("timm", "whisper", "ultralytics")

ARCHIVES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "bomb": (broken.zip_bomb, "unpacks from"),
    "bomb-that-lies": (broken.lying_zip_bomb, ""),
    "parent": (lambda path: broken.zip_with(path, "../../evil"), "out of its folder"),
    "absolute": (lambda path: broken.zip_with(path, "/etc/cron.d/evil"), "out of its folder"),
    "backslash": (lambda path: broken.zip_with(path, "..\\evil"), "out of its folder"),
    "link": (lambda path: broken.zip_with(path, "archive/link", mode=stat.S_IFLNK | 0o777), "a link or a device"),
    "device": (lambda path: broken.zip_with(path, "archive/null", mode=stat.S_IFCHR | 0o666), "a link or a device"),
    "encrypted": (lambda path: broken.zip_with(path, "archive/x", flags=1), "encrypted"),
    "program": (lambda path: broken.zip_with(path, "archive/code/__torch__.py", "archive/constants.pkl"), "TorchScript"),
    "tar-with-link": (broken.tar_with_link, "a tar archive"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(name: str, tmp_path: Path) -> None:
    make, words = ARCHIVES[name]
    path = make(tmp_path / "model.pt")
    for family in CHECKPOINTS:
        assert words in refused(examined(path, family, tmp_path / family))
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_that_is_there_twice(tmp_path: Path) -> None:
    path = broken.zip_with(tmp_path / "model.pt", "archive/data.pkl")
    assert "twice" in refused(examined(path, "timm", tmp_path / "there"))


@pytest.mark.parametrize("name", broken.SAFETENSORS)
def test_safetensors(name: str, tmp_path: Path) -> None:
    header, body, length = broken.SAFETENSORS[name]
    path = broken.safetensors_of(tmp_path / "model.safetensors", header, body, length)
    for family in ("timm", "whisper"):
        refused(examined(path, family, tmp_path / family))


ONNX: dict[str, tuple[Callable[[Path], Path], str]] = {
    "external-absolute": (lambda path: broken.onnx_external(path, "/etc/passwd"), "another file"),
    "external-parent": (lambda path: broken.onnx_external(path, "../../etc/passwd"), "another file"),
    "external-beside": (lambda path: broken.onnx_external(path, "weights.bin"), "another file"),
    "absurd-weights": (broken.onnx_absurd_weights, ""),
    "negative-dims": (broken.onnx_negative_dims, ""),
    "unknown-domain": (broken.onnx_unknown_domain, "evil.example"),
    "over-the-batch": (broken.onnx_over_the_batch, "may not depend on the other items"),
    "not-finite": (broken.onnx_not_finite, "in"),
}


@pytest.mark.parametrize("name", ONNX)
def test_onnx(name: str, tmp_path: Path) -> None:
    make, words = ONNX[name]
    path = make(tmp_path / "model.onnx")
    detail = refused(examined(path, "onnx", tmp_path / "there", settings={"head": "logits"}), "unsafe_artifact", "invalid_request")
    assert words in detail


def test_a_wrong_number_of_labels_names_both(tmp_path: Path) -> None:
    path = good.onnx_classifier(tmp_path / "model.onnx", classes=5)
    detail = refused(examined(path, "onnx", tmp_path / "there"), "invalid_request")
    assert "5" in detail
    assert "3" in detail


def test_a_whisper_that_claims_absurd_dimensions(tmp_path: Path) -> None:
    for number, said in enumerate(
        ({"n_audio_state": 2**20}, {"n_vocab": 2**40}, {"n_text_layer": 10**9}, {"n_text_head": 0}, {"n_mels": -1})
    ):
        path = good.whisper_checkpoint(tmp_path / f"model{number}.pt", said)
        refused(examined(path, "whisper", tmp_path / "there"))


def test_a_timm_architecture_that_is_none(tmp_path: Path) -> None:
    path = good.timm_safetensors(tmp_path / "model.safetensors")
    for name in ("hf-hub:evil/model", "local-dir:/etc", "../../etc", "no_such_net"):
        refused(examined(path, "timm", tmp_path / "there", settings={"architecture": name}), "invalid_request")


MODEL_ARGS = [{"checkpoint_path": "/etc/passwd"}, {"pretrained_cfg": {"file": "/etc/passwd"}}, {"cache_dir": "/etc"}, {"pretrained": True}]


@pytest.mark.parametrize("arguments", MODEL_ARGS, ids=lambda arguments: next(iter(arguments)))
def test_a_timm_argument_that_would_read_another_file(arguments: dict[str, Any], tmp_path: Path) -> None:
    path = good.timm_safetensors(tmp_path / "model.safetensors")
    settings = {"architecture": good.ARCHITECTURE, "model_args": arguments}
    refused(examined(path, "timm", tmp_path / "there", settings=settings), "invalid_request", "unsafe_artifact")


# ---- what only a process of its own survives ----


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand"])
async def test_a_model_that_makes_100_gb(operator: str, tmp_path: Path) -> None:
    path = broken.onnx_hog(tmp_path / "model.onnx", operator)
    detail = refused(await tried_apart(path, "onnx", tmp_path / "there", settings={"head": "logits"}))
    assert "memory" in detail or "more than a model of images needs" in detail


async def test_a_model_that_fills_its_memory_little_by_little(tmp_path: Path) -> None:
    """No single allocation is absurd: what is filled is watched from outside."""
    path = broken.onnx_hog(tmp_path / "model.onnx", "ConstantOfShape", 3 * 2**30)
    found = await tried_apart(path, "onnx", tmp_path / "there", settings={"head": "logits"}, memory_bytes=2**30)
    assert "validation.memory_bytes" in refused(found)


async def test_a_model_that_never_ends(tmp_path: Path) -> None:
    found = await tried_apart(
        broken.onnx_endless(tmp_path / "model.onnx"), "onnx", tmp_path / "there", settings={"head": "logits"}, seconds=8
    )
    assert "longer than 8 s" in refused(found)
    assert 8 <= found["seconds"] < 30


# ---- shortened and changed ----

FORMATS: dict[str, tuple[str, str, Callable[[Path], Path], int]] = {  # and how many files: those of large models take their time
    "onnx": ("onnx", "model.onnx", good.onnx_classifier, 40),
    "safetensors": ("timm", "model.safetensors", good.timm_safetensors, 5),
    "checkpoint": ("timm", "model.pth", good.timm_checkpoint, 5),
    "legacy": ("timm", "model.pth", lambda path: good.timm_checkpoint(path, legacy=True), 5),
    "whisper": ("whisper", "model.pt", good.whisper_checkpoint, 5),
    "ultralytics": ("ultralytics", "model.pt", good.ultralytics_checkpoint, 5),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_shortened_file_is_refused(name: str, tmp_path: Path) -> None:
    family, filename, make, count = FORMATS[name]
    whole = make(tmp_path / filename).read_bytes()
    found = many.examined_apart(list(broken.shortened(whole, count)), family, filename, tmp_path)
    for one in found:
        if one is not None:  # its process ended, as that of a validation would: the version fails, and the next one is tried
            refused(one, "unsafe_artifact", "invalid_request")
    assert sum(one is None for one in found) <= 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_with_flipped_bits_is_refused_or_works(name: str, tmp_path: Path) -> None:
    family, filename, make, count = FORMATS[name]
    found = many.examined_apart(list(broken.flipped(make(tmp_path / filename).read_bytes(), count)), family, filename, tmp_path)
    assert len(found) == count
    wrong = [one for one in found if one is not None and not one["passed"]]
    for one in wrong:
        refused(one, "unsafe_artifact", "invalid_request")
    assert wrong
    assert sum(one is None for one in found) <= count // 10
