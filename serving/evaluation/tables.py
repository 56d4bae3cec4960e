"""Read the two CSV kinds: `labels.csv` (file, imagenet_index or label) and `transcripts.csv` (file, text).

Either may have the columns `source`, `split`, and one of `group`, `speaker` and `author`: its rows of one name form a cluster.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from candor.errors import InvalidRequest
from candor.manifest import Manifest
from candor.predictions import Task
from serving.evaluation.examples import FILES, Example, Files, LabelledFolder, Problems, nearest

_IMAGENET = 1000
_CLUSTER = ("group", "speaker", "author")  # columns that say which rows are not independent; the first that is filled counts
_Row = Mapping[str, str]


def read_labels(folder: Path, manifest: Manifest, split: str | None) -> LabelledFolder:
    """Read `labels.csv`. `imagenet_index` counts for a model of 1,000 classes; for any other the `label` is looked up by name."""
    names = {label.strip().casefold(): i for i, label in enumerate(manifest.labels)}
    shared = {name for name, count in Counter(label.strip().casefold() for label in manifest.labels).items() if count > 1}

    def truth(row: _Row) -> int:
        written, label = row.get("imagenet_index", "").strip(), row.get("label", "").strip()
        if written and len(manifest.labels) == _IMAGENET:
            if not written.isdecimal() or int(written) >= _IMAGENET:
                raise ValueError(f"imagenet_index {written!r} is not a whole number from 0 to {_IMAGENET - 1}")
            return int(written)
        if not label:
            hint = f"imagenet_index needs a model of {_IMAGENET} labels; {manifest.name} has {len(manifest.labels)}" if written else ""
            raise ValueError(hint or "neither imagenet_index nor label is given")
        if label.casefold() not in names:
            raise ValueError(f"label {label!r} is not a label of {manifest.name}{nearest(label, manifest.labels)}")
        if label.casefold() in shared:
            raise ValueError(f"label {label!r} is the name of several classes of {manifest.name}: say which with imagenet_index")
        return names[label.casefold()]

    return _read(folder, "classification", split, (("file",), ("imagenet_index", "label")), truth)


def read_transcripts(folder: Path, manifest: Manifest, split: str | None) -> LabelledFolder:
    """Read `transcripts.csv`. An empty text says that nothing is spoken."""

    def truth(row: _Row) -> str:
        return row["text"].strip()

    return _read(folder, "transcription", split, (("file",), ("text",)), truth)


def _read(
    folder: Path, task: Task, split: str | None, needed: tuple[tuple[str, ...], ...], truth: Callable[[_Row], int | str]
) -> LabelledFolder:
    name = FILES[task]
    problems, files, examples = Problems(name), Files(folder), []
    for line, row in _rows(folder / name, needed, split):
        if isinstance(row, str):
            problems.add(f"line {line}", row)
            continue
        try:
            label = truth(row)
            file, path, sha256 = files.find(row["file"].strip())
        except ValueError as error:
            problems.add(f"line {line}", str(error))
            continue
        cluster = next(filter(None, (row.get(column, "").strip() for column in _CLUSTER)), sha256)
        examples.append(Example(file, path, sha256, cluster, label, label, row.get("source", "").strip()))
    problems.check()
    return LabelledFolder(task, folder.resolve().name, folder, tuple(examples), split)


def _rows(path: Path, needed: tuple[tuple[str, ...], ...], split: str | None) -> Iterator[tuple[int, _Row | str]]:
    """Yield (line, row) of the chosen split; a row with too many or too few fields is its error text."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            columns = list(reader.fieldnames or ())
            _check_columns(path.name, columns, needed, split)
            for row in reader:
                if None in row or None in row.values():
                    yield reader.line_num, f"the row does not have {len(columns)} fields"
                elif _chosen(row.get("split", ""), split):
                    yield reader.line_num, row
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8 text: {error}") from error
    except csv.Error as error:
        raise InvalidRequest(f"{path.name} line {reader.reader.line_num}: {error}") from error


def _check_columns(name: str, columns: list[str], needed: tuple[tuple[str, ...], ...], split: str | None) -> None:
    for choice in needed:
        if not set(choice) & set(columns):
            raise InvalidRequest(f"{name} line 1: there is no column {' or '.join(choice)}; it has {', '.join(columns) or 'none'}")
    if split not in (None, "all") and "split" not in columns:
        raise InvalidRequest(f"{name} line 1: there is no column split, so that {split!r} can't be chosen")


def _chosen(written: str, split: str | None) -> bool:
    return not written.startswith("train") if split is None else split in ("all", written)
