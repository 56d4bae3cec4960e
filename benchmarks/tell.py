"""Can a classifier tell honeypots from natural drafts of a real model? `python -m benchmarks.tell`.

Everything goes through the drafting of the server, in this process: the model's drafts become gold, so that each honeypot is a draft that
was right and has one planted error. Several reviewers draw each item, and each honeypot of an item has an error of its own. A gradient
boosting looks at what a client sees, raw scores included; drafts of one item are never on both sides of a fit.
"""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from candor.predictions import Floats, Task
from candor.tasks import SPECS
from serving.composition import local_drafters, opened_store
from serving.config import Settings, load_settings
from serving.drafting import LocalDrafter
from serving.loading import install_all
from serving.requests import DraftRequest, Item, Media
from store import Store, migrate
from store.audit import Actor
from store.draws import Draws
from store.gold import Gold
from store.projects import Projects

BOUND = 0.60  # that the upper 95 % bound of the area must not exceed
_ME = Actor("default", "operator", "")
_REVIEW = {"control": 0.05, "honeypot": 0.5, "raised": 0.5}
_FOLDERS = {"detection": "images", "classification": "images", "transcription": "audio"}
_RESAMPLES = 400
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Told:
    """What a classifier made of honeypots and natural drafts: the area under its curve, and the upper 95 % bound over items."""

    task: str
    items: int
    honeypots: int
    natural: int
    auc: float
    upper: float


def features(answer: Mapping[str, Any]) -> list[float]:
    """Return what a client sees of a draft, in numbers: the draft as a whole, and of its labels' figures the ends, mean and spread."""
    judged = SPECS[cast("Task", answer["task"])].judged(answer)
    labels = [label for label in judged or answer.get("labels", [])]
    figures = [_of_label(label) for label in answer.get("labels", labels)]
    table = np.array(figures, np.float64).reshape(-1, len(_of_label({})))
    whole = [len(labels), _number(answer["confidence"]), _number(answer["priority"]), "badge" in answer, answer["route"] == "review"]
    kinds = len({str(label.get("label", label.get("text"))).casefold() for label in labels})
    pairs = _near(answer)
    ends = [np.array([]), *table.T][1:]
    spread = [value for column in ends for value in _spread(column)]
    segments = [one["confidence"] or -1.0 for one in answer.get("segments", [])]
    return [float(x) for x in (*whole, kinds, *pairs, *spread, *_spread(np.array(segments)))]


def _of_label(label: Mapping[str, Any]) -> list[float]:
    raw = label.get("raw", {})
    left, top, right, bottom = label.get("xyxy", (0, 0, 1, 1))
    text, seconds = str(label.get("text", "")), float(label.get("end", 0)) - float(label.get("start", 0))
    return [
        _number(label.get("confidence")),
        _number(label.get("no_edit")),
        float("badge" in label),
        _number(raw.get("score")),
        _number(raw.get("logit")),
        _number(raw.get("score")) - _number(label.get("confidence")),
        np.log(max(1e-6, (right - left) * (bottom - top))),
        (right - left) / max(1e-6, bottom - top),
        left,
        top,
        len(text),
        float(text[:1].isupper()),
        float(text[-1:] in ".,!?"),
        seconds,
        len(text) / max(seconds, 1e-3),
    ]


def _near(answer: Mapping[str, Any]) -> list[float]:
    """Return how labels lie to each other: overlaps of boxes, gaps between words, whether confidences fall."""
    labels = answer.get("labels") or SPECS["transcription"].judged(answer) if "segments" in answer else answer.get("labels", [])
    steps = [_number(a.get("confidence")) - _number(b.get("confidence")) for a, b in pairwise(labels)]
    gaps = [b["start"] - a["end"] for a, b in pairwise(labels)] if labels and "start" in labels[0] else []
    boxes = np.array([label["xyxy"] for label in labels if "xyxy" in label], np.float64).reshape(-1, 4)
    return [*_spread(np.array(steps)), *_spread(np.array(gaps)), *_overlap(boxes)]


def _overlap(boxes: Floats) -> list[float]:
    if len(boxes) < 2:
        return [0.0, 0.0]
    corner = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    shared = np.clip(corner, 0, None).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    found = shared / np.maximum(areas[:, None] + areas[None, :] - shared, 1e-9) - np.eye(len(boxes))
    return [float(found.max()), float(found.sum() / len(boxes))]


def _spread(values: Floats) -> list[float]:
    return [float(x) for x in (values.min(), values.mean(), values.max(), values.std())] if len(values) else [-1.0] * 4


def _number(value: Any) -> float:
    return -1.0 if value is None else float(value)


def told_apart(x: Floats, y: Floats, groups: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """Return the area of a classifier that was fitted on other items, and its upper 95 % bound by a bootstrap over items."""
    model = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.06, max_leaf_nodes=8, random_state=seed)
    names, place = np.unique(np.array(groups), return_inverse=True)
    with threadpool_limits(1):  # on a busy machine its threads wait for each other most of the time
        score = cross_val_predict(model, x, y, cv=GroupKFold(5), groups=place, method="predict_proba")[:, 1]
    rows = [np.flatnonzero(place == i) for i in range(len(names))]
    rng, areas = np.random.default_rng(seed), list[float]()
    for _ in range(_RESAMPLES):
        chosen = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        if 0 < y[chosen].sum() < len(chosen):
            areas.append(float(roc_auc_score(y[chosen], score[chosen])))
    return float(roc_auc_score(y, score)), float(np.quantile(areas, 0.95))


def media(data: Path, task: Task, variants: int) -> Iterator[tuple[str, str, bytes]]:
    """Give the file, the item and the bytes of each item: recordings as they are, images cut in several ways."""
    for path in sorted((data / task / _FOLDERS[task]).iterdir()):
        if task == "transcription":
            yield path.name, path.name, path.read_bytes()
            continue
        rng = np.random.default_rng(int.from_bytes(path.name.encode(), "big") % 2**32)
        for number in range(variants):
            yield path.name, f"{path.name} {number}", _cut(path, rng)


def _cut(path: Path, rng: np.random.Generator) -> bytes:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    part = float(rng.uniform(0.6, 1))
    left, top = rng.uniform(0, 1 - part, 2) * (width, height)
    image = image.crop((int(left), int(top), int(left + part * width), int(top + part * height)))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=92)
    return written.getvalue()


@asynccontextmanager
async def _drafting(settings: Settings, task: Task) -> Any:
    async with opened_store(settings) as (store, blobs), local_drafters(settings, [task], store, blobs) as drafters:
        await drafters[task].warm()
        yield store, drafters[task]


async def _drafted(drafter: LocalDrafter, items: Sequence[tuple[str, bytes]], project: str, reviewer: str = "") -> list[dict[str, Any]]:
    found = list[dict[str, Any]]()
    for start in range(0, len(items), _BATCH):
        some = tuple(Item(item, None, Media(data)) for item, data in items[start : start + _BATCH])
        result = await drafter.draft(DraftRequest(some, project=project, reviewer=reviewer))
        found += [one.draft.as_wire(raw=True) for one in result.results if one.draft]
    return found


def _truth(answer: Mapping[str, Any]) -> dict[str, Any]:
    if answer["task"] == "transcription":
        return {"text": answer["text"]}
    if answer["task"] == "classification":
        return {"label": answer["labels"][0]["label"]}
    return {"boxes": [{"label": one["label"], "xyxy": one["xyxy"]} for one in answer["labels"]]}


async def measured(settings: Settings, task: Task, items: Sequence[tuple[str, str, bytes]], reviewers: int) -> Told:
    """Draft everything, plant, and let the classifier try."""
    async with _drafting(settings, task) as (store, drafter):
        await _projects(store)
        plain = await _drafted(drafter, [(item, data) for _, item, data in items], "plain")
        known = {one["item"] for one in plain if task != "classification" or one["labels"]}
        files = list(np.random.default_rng(1).permutation(sorted({file for file, _, _ in items})))  # names go by where they are from
        pool = set(files[: len(files) // 3])
        await _drafted(drafter, [(item, data) for file, item, data in items if file in pool], "review", "first")
    async with _drafting(settings, task) as (store, drafter):  # anew: what honeypots are made of is looked up once in a while
        rest = [(file, item, data) for file, item, data in items if file not in pool and item in known]
        chosen = {item for _, item, _ in rest}
        await Gold(store).put(_ME, "review", {one["item"]: _truth(one) for one in plain if one["item"] in chosen})
        answers = list[dict[str, Any]]()
        for number in range(reviewers):
            answers += await _drafted(drafter, [(item, data) for _, item, data in rest], "review", f"reviewer {number}")
        draws = await Draws(store).of_draft([one["id"] for one in answers])
        file_of = {item: file for file, item, _ in rest}
    shown = [one for one in answers if draws[one["id"]].arm != "withheld" and draws[one["id"]].rates["honeypot"]]
    y = np.array([float(draws[one["id"]].arm == "honeypot") for one in shown])
    auc, upper = told_apart(np.array([features(one) for one in shown]), y, [file_of[one["item"]] for one in shown])
    return Told(task, len({one["item"] for one in shown}), int(y.sum()), int(len(y) - y.sum()), round(auc, 4), round(upper, 4))


async def _projects(store: Store) -> None:
    policy = {"badge": None, "from_scratch_below": {"classification": None, "transcription": None}}
    for name, review in (("plain", None), ("review", _REVIEW)):
        await Projects(store).put(_ME, name, {"policy": policy, "review": review})


def main(
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be given again.")] = None,
    data: Annotated[Path, typer.Option(help="Folder of labelled data; its labels are not looked at.")] = Path("../shared/data"),
    config: Annotated[Path, typer.Option(help="Configuration with the models.")] = Path("configs/default.yaml"),
    variants: Annotated[int, typer.Option(min=1, help="Cuttings of each image.")] = 3,
    reviewers: Annotated[int, typer.Option(min=1, help="Who draw each item.")] = 3,
    to: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("var/bench/tell.json"),
) -> None:
    """Measure for each task, print a table and write the figures. Exit code 1 where honeypots can be told."""
    console, found = Console(width=120), list[Told]()
    base = load_settings(config)
    for name in [one for one in base.tasks if not task or one in task]:
        with tempfile.TemporaryDirectory() as folder:
            storage = base.storage.model_copy(
                update={"database_url": f"sqlite+aiosqlite:///{folder}/candor.db", "blobs": f"{folder}/blobs"}
            )
            settings = base.model_copy(update={"storage": storage, "tasks": {name: base.tasks[name]}})
            install_all(settings)
            migrate(storage.database_url)
            found.append(asyncio.run(measured(settings, name, list(media(data, name, variants)), reviewers)))
            console.print(found[-1])
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps([{field: getattr(one, field) for field in Told.__slots__} for one in found], indent=1) + "\n")
    table = Table(title="Honeypots against natural drafts, by all that a client sees", title_justify="left")
    for column in ("task", "items", "honeypots", "natural", "AUC", "upper 95 %", ""):
        table.add_column(column)
    for one in found:
        told = "" if one.upper <= BOUND else f"above {BOUND}"
        table.add_row(one.task, f"{one.items}", f"{one.honeypots}", f"{one.natural}", f"{one.auc:.3f}", f"{one.upper:.3f}", told)
    console.print(table)
    if any(one.upper > BOUND for one in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
