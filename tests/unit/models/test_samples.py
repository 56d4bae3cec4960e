from __future__ import annotations

from pathlib import Path

import pytest

from candor.errors import UnsafeArtifact
from models import samples as module
from models.builtin.recipe import Archive
from models.samples import samples
from tests.unit.models.packages import Mirror, served, with_member

PICTURES = {"tiny/cat.png": b"a picture"}
SPEECH = {"tiny-1.0/speech.wav": b"a speech"}


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Archive, Archive]:
    mirror = Mirror(tmp_path / "mirror", monkeypatch)
    pictures, speech = served(mirror, PICTURES), served(mirror, SPEECH, "tiny-1.0.tar.gz")
    fetched = ((pictures, "cat.png", "image", "CC0", "a cat"), (speech, "speech.wav", "audio", "public domain", "a speech"))
    monkeypatch.setattr(module, "_FETCHED", fetched)
    monkeypatch.setattr(module, "_INSTALLED", (("not_installed_anywhere", "x.jpg", "CC0", "nothing"),))
    return pictures, speech


def test_gives_pictures_and_speech_with_their_licences(archives: tuple[Archive, Archive], tmp_path: Path) -> None:
    found = samples(tmp_path / "cache")
    assert [(sample.path.name, sample.kind, sample.licence, sample.path.read_bytes()) for sample in found] == [
        ("cat.png", "image", "CC0", b"a picture"),
        ("speech.wav", "audio", "public domain", b"a speech"),
    ]


def test_pictures_of_installed_packages_come_last(
    archives: tuple[Archive, Archive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "__init__.py").write_text("raise AssertionError('a package is not imported for its pictures')")
    (tmp_path / "gallery" / "bus.jpg").write_bytes(b"a bus")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "_INSTALLED", (("gallery", "bus.jpg", "not stated", "a bus"), ("gallery", "gone.jpg", "CC0", "nothing")))
    assert [sample.path.name for sample in samples(tmp_path / "cache")] == ["cat.png", "speech.wav", "bus.jpg"]


def test_a_file_that_is_not_as_pinned_is_refused(
    archives: tuple[Archive, Archive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = with_member(archives[0], sha256="0" * 64)
    monkeypatch.setattr(module, "_FETCHED", ((other, "cat.png", "image", "CC0", "a cat"),))
    with pytest.raises(UnsafeArtifact, match=r"cat\.png"):
        samples(tmp_path / "cache")


def test_the_real_ones_are_pinned_and_licensed() -> None:
    assert {kind for _, _, kind, _, _ in module._FETCHED} == {"image", "audio"}
    for archive, name, _, licence, origin in module._FETCHED:
        assert name in {member.name for member in archive.members}
        assert licence in ("CC0", "public domain")
        assert archive.package in origin
