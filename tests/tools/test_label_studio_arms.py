"""Arms in a real Label Studio: a draft that is withheld looks like one that found nothing, and a planted error like the model's."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from tests.tools.browser import Browser
from tests.tools.candor_site import CandorSite
from tests.tools.label_studio import LabelStudioSite
from tests.tools.served_site import connected, review

CATS = '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels></View>'
REGION = ".lsf-outliner-item"
OFTEN = {"control": 0.3, "honeypot": 0.3, "raised": 0.3}
OWN = ("id", "task", "created_at", "updated_at", "created_ago")  # of each prediction


def test_arms_can_not_be_told_apart_and_a_planted_error_is_caught_or_missed(
    candor_server: CandorSite, label_studio: LabelStudioSite, page: Browser
) -> None:
    project = label_studio.project(CATS, title="Arms")
    name = f"label-studio-{project}"
    candor_server.api("PUT", f"/v1/projects/{name}", json={"labels": ["cat"], "review": OFTEN})
    connected(candor_server, label_studio, project)
    natural: dict[str, dict[str, Any]] = {}
    of_arm: dict[str, list[str]] = {}
    for _ in range(8):  # errors are planted with what earlier drafts of the project are like
        natural |= asked_for(candor_server, label_studio, project, len(natural))
        of_arm = arms(candor_server, name)
        made = {f"{project}:{one['task']}": one for one in label_studio.predictions(project)}
        traps = [item for item in of_arm.get("honeypot", ()) if made[item]["result"]]
        if len(traps) >= 2:
            break
    assert sorted(made) == sorted(natural) == sorted(item for items in of_arm.values() for item in items)
    empty = [item for item in of_arm["assisted"] if not natural[item]["labels"]]
    told = [{field: value for field, value in made[item].items() if field not in OWN} for item in (*empty, *of_arm["withheld"])]
    assert len(empty) > 2
    assert len(of_arm["withheld"]) > 2
    assert all(one == told[0] for one in told)
    assert told[0]["result"] == []
    assert shapes([made[item] for item in traps]) <= shapes([made[item] for item in of_arm["assisted"]])
    assert {one["model_version"] for one in made.values()} == {told[0]["model_version"]}

    page.goto(f"{label_studio.url}/projects/{project}/data?task={of_arm['withheld'][0].partition(':')[2]}")
    page.see("button:has-text('Submit')")
    page.see("text=Labeled regions will appear here")
    assert page.texts(REGION) == []

    passed_on, put_right = traps[:2]
    annotate(label_studio, made[passed_on], made[passed_on]["result"])
    size, boxes = natural[put_right]["image_size"], natural[put_right]["labels"]
    annotate(label_studio, made[put_right], [drawn(box["xyxy"], size) for box in boxes])
    assert [review(candor_server, name, item)["caught"] for item in (passed_on, put_right)] == ["missed", "caught"]


def asked_for(candor: CandorSite, site: LabelStudioSite, project: int, after: int) -> dict[str, dict[str, Any]]:
    """Import tasks and retrieve their predictions; return what the model itself says of them, by item: it is gold where there is a cat."""
    data = [base64.b64encode(f"image {after + n}".encode()).decode() for n in range(40)]
    tasks = site.import_tasks(project, [{"image": f"data:image/png;base64,{one}"} for one in data])
    items = [{"id": f"{project}:{task}", "image": {"base64": one}} for task, one in zip(tasks, data, strict=True)]
    found = {one["item"]: one for one in candor.api("POST", "/v1/detection/drafts", json={"items": items})["drafts"]}
    for one in found.values():
        one["labels"] = [label for label in one["labels"] if label["label"] == "cat"]
    cats = {item: [{"label": "cat", "xyxy": label["xyxy"]} for label in one["labels"]] for item, one in found.items() if one["labels"]}
    gold = {"items": [{"item": item, "truth": {"boxes": boxes}} for item, boxes in cats.items()]}
    assert candor.api("POST", f"/v1/projects/label-studio-{project}/gold", json=gold)["errors"] == []
    site.retrieve(project, tasks)
    return found


def arms(candor: CandorSite, name: str) -> dict[str, list[str]]:
    """Return which items drew each arm."""
    found: dict[str, list[str]] = {}
    for one in candor.api("GET", f"/v1/projects/{name}/arms?limit=1000")["arms"]:
        found.setdefault(one["arm"], []).append(one["item"])
    return found


def shapes(predictions: list[dict[str, Any]]) -> set[Any]:
    """Return which fields there are, in predictions and their regions."""
    found: set[Any] = set()
    for one in predictions:
        found.add((tuple(sorted(one)), one["score"] is None))
        found |= {(tuple(sorted(region)), tuple(region["meta"]), tuple(region["meta"]["raw"])) for region in one["result"]}
    return found


def drawn(xyxy: list[float], size: list[float]) -> dict[str, Any]:
    """Return a box as somebody draws it."""
    (left, top, right, bottom), (wide, high) = xyxy, size
    value = {"x": 100 * left / wide, "y": 100 * top / high, "width": 100 * (right - left) / wide, "height": 100 * (bottom - top) / high}
    named = {"from_name": "box", "to_name": "image", "type": "rectanglelabels", "original_width": wide, "original_height": high}
    return {**named, "value": {**value, "rotation": 0, "rectanglelabels": ["cat"]}}


def annotate(site: LabelStudioSite, prediction: Mapping[str, Any], result: list[dict[str, Any]]) -> None:
    site.annotate(prediction["task"], result, parent_prediction=prediction["id"])
