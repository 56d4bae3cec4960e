"""The frames of a CVAT task as files, downloaded ahead of whoever drafts them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

_DOWNLOADS = 4  # at once


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a task."""

    number: int
    name: str
    size: tuple[int, int]
    path: Path


def frames_of(task: Any, meta: Any, folder: Path) -> list[Frame]:
    """Return the frames of a task that were not deleted, with the files that they will be in."""
    gone = set(meta.deleted_frames)
    video = len(meta.frames) == 1 and task.size > 1
    return [
        Frame(number, info.name, (info.width, info.height), folder / f"{number:06d}")
        for number in range(task.size)
        if number not in gone
        for info in [meta.frames[0 if video else number]]
    ]


def downloaded(task: Any, frames: Sequence[Frame], least: int) -> Iterator[list[Frame]]:
    """Yield the frames in groups of at least `least`, each when its files are there; the next group comes meanwhile.

    A group's files are deleted when the one after it is asked for.
    """
    chunked = task.data_original_chunk_type == "imageset" and task.data_chunk_size
    parts = [list(part) for _, part in groupby(frames, lambda frame: frame.number // task.data_chunk_size if chunked else frame.number)]
    get = _chunk if chunked else _single
    # two pools: a group waits for its parts, and would wait for ever where these had no thread left
    with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(_DOWNLOADS) as downloads:

        def fetch(group: list[list[Frame]]) -> list[Frame]:
            for _ in downloads.map(lambda part: get(task, part), group):
                pass
            return [frame for part in group for frame in part]

        coming = [ahead.submit(fetch, group) for group in _groups(parts, least)[:1]]
        rest = _groups(parts, least)[1:]
        while coming:
            ready = coming.pop(0).result()
            if rest:
                coming.append(ahead.submit(fetch, rest.pop(0)))
            yield ready
            for frame in ready:
                frame.path.unlink(missing_ok=True)


def _groups(parts: Iterable[list[Frame]], least: int) -> list[list[list[Frame]]]:
    found: list[list[list[Frame]]] = []
    held = least
    for part in parts:
        if held >= least:
            found.append([])
            held = 0
        found[-1].append(part)
        held += len(part)
    return found


def _chunk(task: Any, part: Sequence[Frame]) -> None:
    """Get the encoded files of one chunk: a zip with a member per frame, deleted ones too, in order."""
    archive = part[0].path.with_suffix(".zip")
    with archive.open("wb") as file:
        task.download_chunk(part[0].number // task.data_chunk_size, file, quality="original")
    with zipfile.ZipFile(archive) as chunk:
        members = chunk.infolist()
        for frame in part:
            frame.path.write_bytes(chunk.read(members[frame.number % task.data_chunk_size]))
    archive.unlink()


def _single(task: Any, part: Sequence[Frame]) -> None:
    for frame in part:
        frame.path.write_bytes(task.get_frame(frame.number, quality="original").read())
