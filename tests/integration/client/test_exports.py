"""What goes out in a tool's format is what a reader of that tool's reads: pycocotools, pysubs2, praatio, and plain readers of the others.

And a project with all arms, over a socket, from the command line.
"""

from __future__ import annotations

import asyncio
import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pysubs2
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from praatio import textgrid
from pycocotools.coco import COCO
from typer.testing import CliRunner

from candor.subtitles import cues
from client.cli import app
from client.exports.forms import FORMS
from client.exports.places import Places
from client.exports.table import plain
from serving.reviewing.gold_files import read_gold
from store import schema
from tests.integration.client.test_client_and_server import away
from tests.unit.client.test_exports import SIZE, boxes, reviewed, speech, write_all
from tests.unit.serving.arms.armed import BEASTS, OFTEN, ask, draws_of, make_gold, put
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.served import Server, running
from tests.unit.store.drafts import draft as stored

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
LABELS = st.one_of(TEXTS, st.sampled_from(["big cat", "=1+1", "a,b", 'say "x"', "<b>&", "two\nlines"]))
SIDES = {end: st.tuples(*[st.one_of(st.sampled_from([0.0, float(end)]), st.floats(0, end, width=32))] * 2).map(sorted) for end in SIZE}
CONFIDENCES = st.one_of(st.none(), st.floats(0, 1))


@st.composite
def images(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Drafts of images with odd names, without boxes or with some, also at the border and without a confidence."""
    made = []
    for item in draw(st.lists(TEXTS.map(lambda text: f"{text}.jpg"), unique=True, min_size=1, max_size=4)):
        labels = []
        for number in range(draw(st.integers(0, 3))):
            (left, right), (top, bottom) = draw(SIDES[SIZE[0]]), draw(SIDES[SIZE[1]])
            box = [round(side, 3) for side in (left, top, right, bottom)]
            labels.append({"id": f"d.{number}", "label": draw(LABELS), "xyxy": box, "confidence": draw(CONFIDENCES)})
        made.append({"item": item, "task": "detection", "confidence_status": "calibrated", "image_size": SIZE, "labels": labels})
    return made


def said(drafts: Sequence[dict[str, Any]], *, clean: Any = str) -> list[tuple[str, list[tuple[str, list[float], float | None]]]]:
    """What drafts say, in plain values."""
    return [(clean(d["item"]), [(clean(one["label"]), one["xyxy"], one["confidence"]) for one in d["labels"]]) for d in drafts]


def near(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    """Assert that both are the same, numbers to a hundred-thousandth of a pixel."""
    assert [(item, [label for label, _, _ in labels]) for item, labels in found] == [
        (item, [label for label, _, _ in labels]) for item, labels in wanted
    ]
    for (_, left), (_, right) in zip(found, wanted, strict=True):
        for (_, box, confidence), (_, other, expected) in zip(left, right, strict=True):
            assert box == pytest.approx(other, abs=tolerance)
            assert confidence == (None if expected is None else pytest.approx(expected, abs=1e-6))


def fit_for_xml(text: str) -> str:
    return "".join("\ufffd" if (ord(c) < 32 and c not in "\t\n\r") or c in "\ufffe\uffff" else c for c in text)


def number(text: str | None) -> float | None:
    return float(text) if text else None


@QUICK
@given(images())
def test_coco_is_what_pycocotools_reads(tmp_path: Path, drafts: list[dict[str, Any]]) -> None:
    write_all(tmp_path / "coco.json", "coco", *drafts)
    coco = COCO(tmp_path / "coco.json")
    found = []
    for image in coco.loadImgs(coco.getImgIds()):
        labels = []
        assert [image["width"], image["height"]] == SIZE
        for one in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            left, top, width, height = one["bbox"]
            name = coco.loadCats([one["category_id"]])[0]["name"]
            labels.append((name, [left, top, left + width, top + height], one.get("score")))
        found.append((image["file_name"], labels))
    near(found, said(drafts))
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == sorted({one["label"] for d in drafts for one in d["labels"]})


@QUICK
@given(images())
def test_yolo_lines_are_the_boxes_to_a_hundredth_of_a_pixel(tmp_path: Path, drafts: list[dict[str, Any]]) -> None:
    out = tmp_path / str(len(list(tmp_path.iterdir())))
    write_all(out, "yolo-predictions", *drafts)
    listed = [line.split(": ", 1)[1] for line in (out / "data.yaml").read_text().splitlines() if line.startswith("  ")]
    names, places, found = [json.loads(name) for name in listed], Places(".txt"), []
    for draft in drafts:
        labels = []
        for line in (out / "labels" / places.of(draft["item"])).read_text().splitlines():
            kind, x, y, width, height, *score = line.split()
            sides = [float(x) - float(width) / 2, float(y) - float(height) / 2, float(x) + float(width) / 2, float(y) + float(height) / 2]
            assert all(-1e-7 <= side <= 1 + 1e-7 for side in sides)
            box = [side * SIZE[place % 2] for place, side in enumerate(sides)]
            labels.append((names[int(kind)], box, float(score[0]) if score else None))
        found.append((draft["item"], labels))
    near(found, said(drafts))
    assert len(list((out / "labels").rglob("*.txt"))) == len(drafts)


def test_yolo_is_what_training_loads_where_the_images_are_put_beside_it(tmp_path: Path) -> None:
    from ultralytics.data.dataset import YOLODataset  # noqa: PLC0415 - takes seconds

    for how, readable in (("yolo", 2), ("yolo-predictions", 1)):
        out = tmp_path / how
        write_all(out, how, boxes("in/a.jpg", ("big cat", 0.5), ("x", None)), boxes("b.jpg"))
        for name in ("in/a.jpg", "b.jpg"):
            (out / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (SIZE[0], SIZE[1])).save(out / "images" / name)
        told = yaml.safe_load((out / "data.yaml").read_text())
        assert "path" not in told  # it would be taken from where the training is started
        found = YOLODataset(img_path=str(out / told["train"]), data=told, task="detect", imgsz=64, augment=False).labels
        assert len(found) == readable  # six columns are refused
        if how == "yolo":
            by_name = {Path(one["im_file"]).name: one["cls"].ravel().tolist() for one in found}
            assert by_name == {"a.jpg": [0.0, 1.0], "b.jpg": []}
            assert told["names"] == {0: "big cat", 1: "x"}


@QUICK
@given(images())
def test_voc_cvat_label_studio_and_csv_come_back_as_they_were(tmp_path: Path, drafts: list[dict[str, Any]]) -> None:
    out = tmp_path / str(len(list(tmp_path.iterdir())))
    for how in ("voc", "cvat", "label-studio", "csv"):
        write_all(out / how, how, *drafts)
    places = Places(".xml")
    near([_voc(out / "voc" / "Annotations" / places.of(d["item"])) for d in drafts], said(drafts, clean=fit_for_xml))
    near(list(_cvat(out / "cvat")), said(drafts, clean=fit_for_xml))
    near(list(_label_studio(out / "label-studio")), said(drafts))
    near(_csv(out / "csv"), said(drafts))


def _voc(path: Path) -> tuple[str, list[Any]]:
    root = ElementTree.parse(path).getroot()  # noqa: S314 - they are our own
    assert [int(root.findtext(f"size/{side}", "")) for side in ("width", "height")] == SIZE
    sides = ("xmin", "ymin", "xmax", "ymax")
    boxes = [
        (one.findtext("name"), [float(one.findtext(f"bndbox/{side}", "")) for side in sides], number(one.findtext("confidence")))
        for one in root.findall("object")
    ]
    return root.findtext("filename", ""), boxes


def _cvat(path: Path) -> Iterator[tuple[str, list[Any]]]:
    root = ElementTree.parse(path).getroot()  # noqa: S314
    assert root.findtext("version") == "1.1"
    for place, image in enumerate(root.findall("image")):
        assert [image.get("id"), image.get("width"), image.get("height")] == [str(place), *map(str, SIZE)]
        boxes = []
        for box in image.findall("box"):
            assert (box.get("source"), box.get("occluded"), box.get("z_order")) == ("auto", "0", "0")
            sides = [float(box.get(side, "")) for side in ("xtl", "ytl", "xbr", "ybr")]
            boxes.append((box.get("label"), sides, number(box.findtext("attribute[@name='confidence']"))))
        yield image.get("name", ""), boxes


def _label_studio(path: Path) -> Iterator[tuple[str, list[Any]]]:
    for task in json.loads(path.read_text()):
        (prediction,), boxes = task["predictions"], []
        for region in prediction["result"]:
            assert (region["type"], region["original_width"], region["original_height"]) == ("rectanglelabels", *SIZE)
            value = region["value"]
            x, y, width, height = (value[name] / 100 * SIZE[place % 2] for place, name in enumerate(("x", "y", "width", "height")))
            boxes.append((value["rectanglelabels"][0], [x, y, x + width, y + height], region.get("score")))
        yield task["data"]["image"], boxes


def _csv(path: Path) -> list[tuple[str, list[Any]]]:
    found: dict[str, list[Any]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            boxes = found.setdefault(plain(row["item"]), [])
            if row["x1"]:
                sides = [float(row[side]) for side in ("x1", "y1", "x2", "y2")]
                boxes.append((plain(row["label"]), sides, number(row["confidence"])))
    return list(found.items())


WORDS = st.lists(st.text(st.characters(categories=["L", "N", "P"], exclude_characters="-"), min_size=1, max_size=9), max_size=30)


@QUICK
@given(WORDS)
def test_subtitles_are_what_pysubs2_reads(tmp_path: Path, words: list[str]) -> None:
    draft = speech("a.wav", *words)
    wanted = [(cue.start, cue.end, "\n".join(cue.lines)) for cue in cues(draft["segments"])]
    for how in ("srt", "vtt"):
        write_all(tmp_path / f"a.{how}", how, draft)
        text = (tmp_path / f"a.{how}").read_text()
        read = pysubs2.SSAFile.from_string(text, format_=how, keep_html_tags=True, keep_unknown_html_tags=True)
        plain_texts = [one.text.replace("\\N", "\n") for one in read]
        if how == "vtt":
            plain_texts = [one.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for one in plain_texts]
        found = [(one.start, one.end, one_text) for one, one_text in zip(read, plain_texts, strict=True)]
        assert found == wanted or any("\\" in word or "{" in word for word in words)  # which pysubs2 takes for its own marks


@QUICK
@given(WORDS)
def test_a_textgrid_is_what_praatio_and_a_plain_reader_read(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "a.TextGrid"
    write_all(path, "textgrid", speech("a.wav", *words))
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    wanted = [(float(n), n + 0.5, word) for n, word in enumerate(words)]
    assert [tuple(entry) for entry in grid.getTier("words").entries] == wanted
    if words:
        assert [tuple(entry) for entry in grid.getTier("segments").entries] == [(0.0, float(len(words)), " ".join(words))]
        assert [entry.label for entry in grid.getTier("confidence").entries] == ["0.5"] * len(words)
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [line.removeprefix('text = "').removesuffix('"').replace('""', '"') for line in lines if line.startswith("text =")]
    assert [one for one in texts if one][len(words[:1]) : len(words[:1]) + len(words)] == words


def test_reviewed_labels_come_back_from_every_format_that_holds_them(tmp_path: Path) -> None:
    box = {"label": "cat", "xyxy": [1.0, 2.0, 3.5, 4.0]}
    made: dict[str, dict[str, Any]] = {
        "detection": {"boxes": [box]},
        "classification": {"label": "cat"},
        "transcription": {"text": "hi, you"},
    }
    for task, final in made.items():
        for name, form in FORMS.items():
            if task in form.tasks and not form.times:
                out = tmp_path / task / name
                write_all(out, name, reviewed("a.b", final, task))
                text = " ".join(path.read_text() for path in (out, *out.rglob("*")) if path.is_file())
                assert ("cat" in text) or ("hi, you" in text)
                assert "confidence>" not in text
                assert '"score"' not in text.replace("`score`", "")
            if name in {"csv", "coco"} & {one.name for one in FORMS.values() if task in one.tasks}:
                assert read_gold((tmp_path / task / name).read_bytes(), name).truths == {"a.b": final}  # type: ignore[arg-type]
    assert 'source="manual"' in (tmp_path / "classification" / "cvat").read_text()
    (task_,) = json.loads((tmp_path / "transcription" / "label-studio").read_text())
    assert task_["annotations"][0]["result"][0]["value"] == {"text": ["hi, you"]}


async def test_no_command_exports_what_measures_people(served: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KNOWN_SECONDS", "MATERIAL_SECONDS"):
        monkeypatch.setattr(f"serving.arms.assigning.{name}", 0.0)
    server, url = served
    for project, review in (("p", OFTEN), ("plain", None)):
        await put(server, project, review, **BEASTS, policy={"from_scratch_below": {"classification": None}})
    first, second = [f"first {n}" for n in range(80)], [f"gold {n}" for n in range(80)]
    answers = await ask(server, first, project="p")
    await make_gold(server, await ask(server, second, project="plain", headers={"cache-control": "no-cache"}))
    answers += await ask(server, second, project="p", headers={"cache-control": "no-cache"})
    arms = {item: draw.arm for item, draw in (await draws_of(server)).items()}
    wanted = sorted(item for item, arm in arms.items() if arm == "assisted")
    assert len(wanted) < len(arms) - 20
    assert {*arms.values()} == {"assisted", "withheld", "honeypot"}
    reviews = [
        {
            "event_id": one["id"],
            "draft": one["id"],
            "reviewer": "ann",
            "finished_at": "2026-01-01T00:00:00Z",
            "labels": [{"label": "ox", "xyxy": [0, 0, 9.5, 9]}],
        }
        for one in answers
    ]
    assert (await server.client.post("/v1/reviews", json={"reviews": reviews})).status_code == 200

    async def export(*words: str) -> str:
        result = await away(CliRunner().invoke, app, ["export", "p", "--url", url, *words])
        assert result.exit_code == 0, result.output
        return str(result.stderr)

    for name, form in FORMS.items():
        if "detection" in form.tasks:
            out = tmp_path / name
            assert f"{len(wanted)} drafts" in await export("--what", "drafts", "--format", name, "--out", str(out))
            text = " ".join(f"{path} {path.read_text()}" for path in (out, *out.rglob("*")) if path.is_file())
            assert sorted(item for item in arms if re.search(rf'{item}(\.txt|\.xml|[<",])', text)) == wanted
    drafts = json.loads((tmp_path / "coco").read_text())
    assert sorted(one["file_name"] for one in drafts["images"]) == wanted
    honest = sorted(item for item, arm in arms.items() if arm != "honeypot")  # of what was withheld a person's labels are the best
    await export("--format", "coco", "--out", str(tmp_path / "reviews.json"), "--prefix", "img/")
    coco = COCO(tmp_path / "reviews.json")
    assert sorted(one["file_name"] for one in coco.imgs.values()) == [f"img/{item}" for item in honest]
    assert [one["bbox"] for one in coco.anns.values()] == [[0, 0, 9.5, 9]] * len(honest)
    await export("--out", str(tmp_path / "reviews.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "reviews.jsonl").read_text().splitlines()]
    assert sorted(one["item"] for one in lines) == honest
    refused = await away(CliRunner().invoke, app, ["export", "p", "--url", url, "--format", "srt", "--out", str(tmp_path / "srt")])
    assert (refused.exit_code, (tmp_path / "srt").exists()) == (2, False)
    assert "srt does not hold labels of detection" in refused.stderr


async def test_the_list_is_for_who_leads_and_a_team_sees_its_own(tmp_path: Path) -> None:
    settings = with_keys(tmp_path / "server")
    await asyncio.to_thread(schema.migrate, settings.storage.database_url)
    async with running(settings) as server:
        callers = {scope: await caller(server, "own", scope) for scope in ("draft", "review", "register", "admin")}
        stranger = await caller(server, "others", "register")
        for headers in (callers["register"], stranger):
            assert (await server.client.put("/v1/projects/p", json={}, headers=headers)).status_code == 200
        await server.services.store.save([stored(team="own", project="p")])
        for scope, headers in callers.items():
            answer = await server.client.get("/v1/projects/p/drafts", headers=headers)
            assert answer.status_code == (200 if scope in ("register", "admin") else 403)
        theirs = await server.client.get("/v1/projects/p/drafts", headers=stranger)
        assert theirs.json() == {"drafts": [], "next": None}
