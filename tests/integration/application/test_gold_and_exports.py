"""Gold items by every form of file, and exports of what was reviewed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from candor.errors import InvalidRequest
from candor.manifest import Manifest
from serving.reviewing.exports import pseudonym
from serving.reviewing.fixes import counted
from serving.reviewing.gold_files import form_of, read_gold
from store.audit import OPERATOR
from store.gold import Gold
from tests.unit.serving.calibrations.drafted import manifest_of
from tests.unit.serving.reviewing.drawn import drafted, drew, reviewed, save
from tests.unit.serving.served import Server, image, is_problem
from tests.unit.store.test_gold_and_reviews import review

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOX = {"label": "cat", "xyxy": [1.0, 2.0, 3.5, 4.0]}
COCO = {
    "images": [{"id": 7, "file_name": "a"}, {"id": 8, "file_name": "b"}, {"id": 9, "file_name": "c"}],
    "categories": [{"id": 3, "name": "cat"}],
    "annotations": [
        {"image_id": 7, "category_id": 3, "bbox": [1, 2, 2.5, 2]},
        {"image_id": 9, "category_id": 3, "bbox": [1, 2, 2.5, 2], "iscrowd": 1},
    ],
}


@pytest.fixture
def site(steady: Server) -> Server:
    return steady


@pytest.fixture
def namer(steady: Server) -> Manifest:
    return manifest_of(steady.services.settings, "namer")


@pytest.mark.parametrize(
    ("form", "body", "truths"),
    [
        ("json", json.dumps({"items": [{"item": "a", "truth": {"boxes": [BOX]}}]}), {"a": {"boxes": [BOX]}}),
        (
            "jsonl",
            '{"item": "a", "truth": {"label": null}}\n\n{"item": "b", "truth": {"text": ""}}',
            {"a": {"label": None}, "b": {"text": ""}},
        ),
        ("csv", "\ufeffitem,label\na,cat\nb,\n", {"a": {"label": "cat"}, "b": {"label": None}}),
        ("csv", 'item,text\na,"one, two"\n', {"a": {"text": "one, two"}}),
        ("csv", "item,label,x1,y1,x2,y2\na,cat,1,2,3.5,4\nb,,,,,\na,cat,1,2,3.5,4\n", {"a": {"boxes": [BOX, BOX]}, "b": {"boxes": []}}),
        ("json", json.dumps(COCO), {"a": {"boxes": [BOX]}, "b": {"boxes": []}}),
        ("coco", json.dumps(COCO), {"a": {"boxes": [BOX]}, "b": {"boxes": []}}),
    ],
)
async def test_gold_comes_in_every_form(form: Any, body: str, truths: dict[str, Any]) -> None:
    assert read_gold(body.encode(), form).truths == truths


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("json", "[]"),
        ("json", "{"),
        ("json", '{"items": 1}'),
        ("json", '{"items": [NaN]}'),
        ("jsonl", "x"),
        ("csv", "a,b\n1,2\n"),
        ("csv", b"\xff"),
        ("csv", ""),
        ("coco", "{}"),
        ("coco", '{"images": 1, "annotations": [], "categories": []}'),
        ("coco", '{"images": [{"id": [], "file_name": "a"}], "annotations": [], "categories": [{"id": [], "name": "a"}]}'),
    ],
)
async def test_what_is_no_such_file_is_refused(form: Any, body: str | bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_gold(body if isinstance(body, bytes) else body.encode(), form)


@pytest.mark.parametrize(
    "truth",
    [
        1,
        {},
        {"label": "a", "text": "b"},
        {"label": 1},
        {"text": None},
        {"boxes": {}},
        {"boxes": [1]},
        {"boxes": [{"label": "a"}]},
        {"boxes": [{**BOX, "xyxy": [1, 2, 3]}]},
        {"boxes": [{**BOX, "xyxy": [1, 2, 3, True]}]},
        {"boxes": [{**BOX, "crowd": True}]},
        {"verdict": "a"},
    ],
)
async def test_wrong_items_fail_alone(truth: Any) -> None:
    found = read_gold(
        json.dumps({"items": [{"item": "bad", "truth": truth}, {"item": "good", "truth": {"text": "x"}}, 3]}).encode(), "json"
    )
    assert (list(found.truths), list(found.errors)) == (["good"], ["bad", "items[2]"])


async def test_an_item_that_says_two_things_is_not_taken() -> None:
    found = read_gold(b"item,label\na,cat\na,dog\na,cat\nb,cat\nb,cat\n,cat\n", "csv")
    assert (found.truths, list(found.errors)) == ({"b": {"label": "cat"}}, ["a", "line[7]"])
    assert list(read_gold(b"item,label\n\0,cat\n" + b"x" * 513 + b",cat\n", "csv").errors) == ["line[2]", "line[3]"]


async def test_a_form_is_what_is_asked_for_or_what_the_content_type_says() -> None:
    assert [form_of("text/csv; charset=utf-8", None), form_of("application/x-ndjson", None), form_of("", None)] == ["csv", "jsonl", "json"]
    assert form_of("text/csv", "coco") == "coco"
    for wrong in (("text/plain", None), ("text/csv", "xml")):
        with pytest.raises(InvalidRequest):
            form_of(*wrong)


async def test_gold_is_checked_by_the_project_listed_and_its_history_read(site: Server) -> None:
    where = "/v1/projects/golden/gold"
    is_problem(await site.client.post(where, json={"items": []}), 404, "unknown_project")
    await site.client.put("/v1/projects/golden", json={"labels": ["Cat", "dog"]})
    is_problem(await site.client.post(where, json={"items": []}), 422, "no_items")
    body = "item,label\na,cat\nb,dgo\nc,dog\n"
    answer = (await site.client.post(where, content=body, headers={"Content-Type": "text/csv"})).json()
    assert (answer["added"], [one["item"] for one in answer["errors"]]) == (2, ["b"])
    assert "did you mean 'dog'?" in answer["errors"][0]["detail"]
    other = (await site.client.post(where, json={"items": [{"item": "d", "truth": {"text": "x"}}]})).json()
    assert "classification" in other["errors"][0]["detail"]
    page = (await site.client.get(where, params={"limit": 1})).json()
    assert ([one["truth"] for one in page["gold"]], page["next"]) == ([{"label": "Cat"}], "a")
    rest = (await site.client.get(where, params={"after": "a"})).json()
    assert ([one["item"] for one in rest["gold"]], rest["next"]) == (["c"], None)
    await site.client.post(where, params={"format": "jsonl"}, content='{"item": "a", "truth": {"label": "dog"}}')
    history = (await site.client.get(f"{where}/history", params={"item": "a"})).json()["history"]
    assert [(one["revision"], one["truth"], one["by"]) for one in history] == [(2, {"label": "dog"}, "none"), (1, {"label": "Cat"}, "none")]
    is_problem(await site.client.get(f"{where}/history", params={"item": "z"}), 404, "not_found")
    is_problem(await site.client.delete(where, params={"item": "z"}), 404, "not_found")


async def test_exports_hold_the_final_labels_with_what_they_come_of(site: Server, namer: Manifest) -> None:
    plain, hidden, golden, pot = (drafted(namer, name, "out") for name in ("a", "b", "c", "d"))
    await save(site.services.store, plain, hidden, golden, pot, drew(hidden, "withheld"), drew(golden, gold=True), drew(pot, "honeypot"))
    await site.client.put("/v1/projects/out", json={})
    await Gold(site.services.store).put(OPERATOR, "out", {"c": {"label": "cat"}})
    entries = [reviewed(one, guideline_version="7") for one in (plain, hidden, golden, pot)]
    entries += [reviewed(plain, "dog", "later", 1, reviewer="ben"), reviewed(hidden, event="no", minute=5, skipped=True, labels=...)]
    assert (await site.client.post("/v1/reviews", json={"reviews": entries})).status_code == 200
    answer = await site.client.get("/v1/projects/out/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [(one["item"], one["final"]["label"]) for one in found] == [("a", "dog"), ("b", "cat"), ("c", "cat")]
    assert [(one["provenance"]["arm"], one["provenance"]["gold"]) for one in found] == [
        ("assisted", False),
        ("withheld", False),
        ("assisted", True),
    ]
    first, second = found[0]["provenance"], found[1]["provenance"]
    assert (first["verdict"], first["model_version"], second["guideline_version"]) == ("corrected", namer.version, "7")
    assert first["reviewer"] != second["reviewer"] == found[2]["provenance"]["reviewer"]
    assert "ann" not in answer.text
    every = (await site.client.get("/v1/projects/out/export", params={"every": True})).text
    assert len(every.splitlines()) == 4
    is_problem(await site.client.get("/v1/projects/out/export", params={"format": "coco"}), 422, "invalid_request")
    is_problem(await site.client.get("/v1/projects/none/export"), 404, "unknown_project")


async def test_coco_holds_boxes_images_without_any_and_labels_of_people(site: Server) -> None:
    await site.client.put("/v1/projects/coco", json={})
    made = await site.drafts([image("a"), image("b")], project="coco")
    labels = made[0]["labels"][:1]
    entries = [reviewed(made[0]["id"], labels=labels), reviewed(made[1]["id"], labels=[])]
    taken = (await site.client.post("/v1/reviews", json={"reviews": entries})).json()["reviews"]
    assert [one["verdict"] for one in taken] == ["corrected", "rejected"]
    found = (await site.client.get("/v1/projects/coco/export", params={"format": "coco"})).json()
    assert [(one["id"], one["file_name"], [one["width"], one["height"]]) for one in found["images"]] == [
        (1, "a", made[0]["image_size"]),
        (2, "b", made[1]["image_size"]),
    ]
    (box,), (category,) = found["annotations"], found["categories"]
    left, top, right, bottom = labels[0]["xyxy"]
    assert (box["image_id"], box["bbox"], category["name"]) == (
        1,
        pytest.approx([left, top, right - left, bottom - top]),
        labels[0]["label"],
    )
    assert box["category_id"] == category["id"]
    assert found["images"][0]["candor"]["draft"] == made[0]["id"]
    back = read_gold(json.dumps(found).encode(), "coco").truths  # what goes out comes in again
    assert back["b"] == {"boxes": []}
    await site.client.put("/v1/projects/empty", json={})
    assert (await site.client.get("/v1/projects/empty/export", params={"format": "coco"})).json()["images"] == []


async def test_a_pseudonym_needs_the_key() -> None:
    assert pseudonym(b"k" * 32, "ann") == pseudonym(b"k" * 32, "ann") != pseudonym(b"j" * 32, "ann")


async def test_what_people_keep_fixing_is_told_by_label(site: Server, namer: Manifest) -> None:
    drafts = [drafted(namer, f"f{n}", "fixed") for n in range(6)]
    await save(site.services.store, *drafts, drew(drafts[4], "honeypot"), drew(drafts[5], "withheld"))
    await site.client.put("/v1/projects/fixed", json={})
    said = ["cat", "dog", "dog", None, "dog", "dog"]
    entries = [reviewed(one, label) for one, label in zip(drafts, said, strict=True)]
    assert (await site.client.post("/v1/reviews", json={"reviews": entries})).status_code == 200
    answer = (await site.client.get("/v1/projects/fixed/corrections")).json()
    assert answer == {
        "reviews": 4,
        "verdicts": {"accepted": 1, "corrected": 2, "rejected": 1},
        "labels": [
            {
                "label": "cat",
                "drafted": 4,
                "fixed": 3,
                "edits": {"deleted": 1, "kept": 1, "relabelled": 2},
                "into": [{"label": "dog", "count": 2}],
            }
        ],
        "more": 0,
    }
    is_problem(await site.client.get("/v1/projects/none/corrections"), 404, "unknown_project")


async def test_what_was_added_counts_under_its_own_label() -> None:
    edits = [
        {"kind": "added", "before": None, "after": "dog"},
        {"kind": "moved", "before": "cat", "after": "cat"},
        {"kind": "inserted", "before": None, "after": "dog"},
    ]
    told = counted([review(edits=edits, verdict="corrected"), review(edits=None)])
    assert [(one["label"], one["drafted"], one["fixed"]) for one in told["labels"]] == [("dog", 0, 2), ("cat", 1, 1)]
    assert counted([])["labels"] == []
