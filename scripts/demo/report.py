"""Shows what was drafted as a table, and writes drafts.json, annotated pictures and subtitles."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from PIL import Image
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from candor.subtitles import to_srt
from client.files import MediaFile
from scripts.demo.drafting import Drafted
from scripts.demo.pictures import annotate, contact_sheet, read_picture

_SHEET = "contact-sheet"
_NOTHING = "-"
_MOST_TEXT = 70  # characters in the table; all of it is in drafts.json
_STEPS = ("fetch", "prepare", "queue", "infer", "finish")


def table_of(drafted: Sequence[Drafted]) -> Table:
    """Return the table: one row for each draft or error."""
    caption = "confidence of several labels or words: the least to the greatest"
    table = Table(title="Drafts", caption=caption, caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("item", overflow="fold")
    table.add_column("task", no_wrap=True)
    table.add_column("label or text")  # the one that gives way on a narrow screen
    for name in ("confidence", "calibration"):
        table.add_column(name, no_wrap=True)
    for name in ("ms", "batch"):
        table.add_column(name, no_wrap=True, justify="right")
    for one in drafted:
        table.add_row(*row_of(one))
    return table


def row_of(one: Drafted) -> list[Text]:
    """Return a row: item, task, label or text, confidence, calibration status, milliseconds, batch size."""
    if one.error is not None:
        why = f"{one.error.get('code', 'error')}: {one.error.get('detail', '')}"
        return [Text(one.file.item), Text(one.task), _short(why, "red"), *(Text(_NOTHING) for _ in range(4))]
    timings = one.entry["timings"]
    milliseconds = 1000 * sum(timings.get(step, 0.0) for step in _STEPS)
    return [
        Text(one.file.item),
        Text(one.task),
        _short(content(one)),
        Text(confidence(one)),
        Text(one.entry["confidence_status"]),
        Text(f"{milliseconds:.0f}"),
        Text(f"{timings['batch_size']}"),
    ]


def _short(text: str, style: str = "") -> Text:
    cut = Text(text, style)
    cut.truncate(_MOST_TEXT, overflow="ellipsis")
    return cut


def content(one: Drafted) -> str:
    """Return what was drafted in a few words: labels with their number, the first label, or the text."""
    if one.entry.get("route") == "from_scratch":
        return "(withheld: quicker from scratch)"
    if one.task == "transcription":
        return one.entry["text"] or "(no speech)"
    names = [label["label"] for label in one.entry["labels"]]
    if one.task == "classification":
        return names[0] if names else "(no label)"
    return ", ".join(name if n == 1 else f"{name} x{n}" for name, n in Counter(names).items()) or "(nothing found)"


def confidence(one: Drafted) -> str:
    """Return the draft's confidence, else the range of its labels' or words'; a dash where there is none to show."""
    if one.entry["confidence"] is not None:
        return f"{one.entry['confidence']:.2f}"
    parts = one.entry["labels"] if one.task != "transcription" else [word for segment in one.entry["segments"] for word in segment["words"]]
    known = [part["confidence"] for part in parts if part["confidence"] is not None]
    if not known:
        return _NOTHING
    least, greatest = f"{min(known):.2f}", f"{max(known):.2f}"
    return least if least == greatest else f"{least} to {greatest}"


def write_report(drafted: Sequence[Drafted], folder: Path) -> list[Path]:
    """Write drafts.json, a picture for each detection draft, subtitles for each transcript and a contact sheet; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "drafts.json"]
    text = json.dumps([one.entry for one in drafted], ensure_ascii=False, indent=2)
    written[0].write_text(text + "\n", encoding="utf-8")
    stems = unique_stems(one.file for one in drafted)
    classes = {one.file.item: content(one) for one in drafted if one.task == "classification" and one.error is None}
    pictures: list[tuple[Image.Image, str]] = []
    for one in drafted:
        if one.error is not None:
            continue
        stem = stems[one.file.item]
        if one.task == "detection":
            picture = annotate(read_picture(one.file.path), one.entry)
            picture.save(folder / f"{stem}.png")
            pictures.append((_small(picture), _caption(one, classes)))
            written.append(folder / f"{stem}.png")
        elif one.task == "transcription":
            written.append(folder / f"{stem}.srt")
            written[-1].write_text(to_srt(one.entry["segments"]), encoding="utf-8")
    if pictures:
        written.append(folder / f"{_SHEET}.png")
        contact_sheet(pictures).save(written[-1])
    return written


def unique_stems(files: Iterable[MediaFile]) -> dict[str, str]:
    """Return for each item a file name without suffix, of its path, that no other item has."""
    stems: dict[str, str] = {}
    used = {_SHEET}
    for file in files:
        if file.item in stems:
            continue
        path = PurePath(file.item)
        plain = "-".join(part for part in path.with_suffix("").parts if part not in ("/", ".."))
        number, stem = 2, plain
        while stem.lower() in used:
            stem, number = f"{plain}-{number}", number + 1
        used.add(stem.lower())
        stems[file.item] = stem
    return stems


def _caption(one: Drafted, classes: dict[str, str]) -> str:
    name = PurePath(one.file.item).name
    return f"{name}: {classes[one.file.item]}" if one.file.item in classes else name


def _small(picture: Image.Image) -> Image.Image:
    """Return a copy for the contact sheet, so that not all pictures are held at full size."""
    copy = picture.copy()
    copy.thumbnail((960, 960))
    return copy
