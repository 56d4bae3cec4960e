"""Boxes of a real model, corrected in a browser; a real server between that is killed, and loses nothing."""

from __future__ import annotations

import json
from collections import Counter
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.tools.browser import Browser
from tests.tools.label_studio import USER, LabelStudioSite, until
from tests.tools.served_site import ServedSite, annotation_of, connected, opened, photo, review

LABELS = "".join(f'<Label value="{label}"/>' for label in ("person", "bus", "cup", "tie"))
PHOTOS = f'<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">{LABELS}</RectangleLabels></View>'
REGION, SCORE = ".lsf-outliner-item", ".lsf-outliner-item__control_type_score"


def test_drafts_are_seen_corrected_and_skipped_in_a_browser(
    served: ServedSite, label_studio: LabelStudioSite, page: Browser, candor: Any
) -> None:
    project = label_studio.project(PHOTOS, title="Photos")
    where = ("--url", label_studio.url, "--token", label_studio.token, "--server", served.url, "--key", served.key)
    done = candor("label-studio", "connect", *where, "--project", project, "--as", "photos")
    assert done.returncode == 0, done.stdout + done.stderr
    street, coffee = label_studio.upload(project, [(name, photo(name)) for name in ("bus.jpg", "coffee.png")])

    shown = opened(label_studio, project, street)
    page.goto(f"{label_studio.url}/projects/{project}/data?labeling=1")
    page.see(SCORE)
    draft = served.api("GET", f"/v1/drafts/{shown['result'][0]['meta']['candor']['draft']}")
    assert [one["confidence"] for one in draft["labels"]] == pytest.approx([region["score"] for region in shown["result"]], abs=1e-4)
    assert draft["confidence_status"] != "uncalibrated"
    listed = [text.split("\n") for text in page.texts(REGION)]
    assert [(label, score) for _, label, score in listed] == [(one["label"], f"{one['confidence']:.2f}") for one in draft["labels"]]
    assert Counter(label for _, label, _ in listed) == {"person": 5, "bus": 1}

    page.click(f"{REGION}:has-text('bus')")
    page.press("4")  # it is a tie now
    page.see(f"{REGION}:has-text('tie')")
    page.press("Escape")
    page.click(f"{REGION}:has-text('person')")
    page.press("Backspace")
    page.until(f"document.querySelectorAll('{REGION}').length === 5")
    page.click("button:has-text('Submit')")
    annotation = annotation_of(label_studio, street)
    opened(label_studio, project, coffee)
    one = review(served, "photos", f"{project}:{street}")
    assert (one["verdict"], one["reviewer"]) == ("corrected", USER)
    assert (one["draft"], one["arm"], one["skipped"]) == (draft["id"], "assisted", 0)
    assert Counter(edit["kind"] for edit in json.loads(one["edits"])) == {"kept": 4, "relabelled": 1, "deleted": 1}
    assert one["seconds"] == pytest.approx(annotation["lead_time"], abs=0.002)

    page.see(f"{REGION}:has-text('cup')")  # the next of the stream
    page.click("button:has-text('Skip')")
    one = review(served, "photos", f"{project}:{coffee}")
    assert (one["skipped"], one["verdict"]) == (1, None)


def test_an_update_adds_its_seconds_and_what_is_deleted_is_taken_back(
    served: ServedSite, label_studio: LabelStudioSite, page: Browser
) -> None:
    project = label_studio.project(PHOTOS, title="Portraits")
    name = connected(served, label_studio, project)
    (portrait,) = label_studio.upload(project, [("grace_hopper.jpg", photo("grace_hopper.jpg"))])
    item = f"{project}:{portrait}"
    opened(label_studio, project, portrait)
    page.goto(f"{label_studio.url}/projects/{project}/data?labeling=1")
    page.see(f"{REGION}:has-text('tie')")
    page.click("button:has-text('Submit')")
    first = annotation_of(label_studio, portrait)
    one = review(served, name, item)
    assert (one["verdict"], one["seconds"]) == ("accepted", pytest.approx(first["lead_time"], abs=0.002))

    page.goto(f"{label_studio.url}/projects/{project}/data?task={portrait}")
    page.click(f"{REGION}:has-text('tie')")
    page.press("Backspace")
    page.until(f"document.querySelectorAll('{REGION}').length === 0")
    page.click("button:has-text('Update')")
    one = review(served, name, item, lambda row: row["verdict"] != "accepted")
    updated = annotation_of(label_studio, portrait)
    assert updated["lead_time"] > first["lead_time"]
    assert (one["verdict"], one["seconds"]) == ("rejected", pytest.approx(updated["lead_time"], abs=0.002))  # both times together

    label_studio.api("DELETE", f"/api/annotations/{updated['id']}/")
    review(served, name, item, lambda row: row["deleted"])


def crops(number: int) -> list[tuple[str, bytes]]:
    """Parts of a photo, no two alike."""
    with Image.open(BytesIO(photo("bus.jpg"))) as whole:
        found = []
        for n in range(number):
            left, top = 23 * n % 490, 17 * n % 760
            part = BytesIO()
            whole.crop((left, top, left + 320, top + 320)).save(part, "JPEG", quality=80)
            found.append((f"{n:03}.jpg", part.getvalue()))
    return found


def test_of_300_selected_tasks_none_is_lost_where_the_server_is_killed_and_no_review_either(
    served: ServedSite, label_studio: LabelStudioSite
) -> None:
    project = label_studio.project(PHOTOS, title="Three hundred")
    tasks = label_studio.upload(project, crops(300))
    assert len(tasks) == 300
    name = connected(served, label_studio, project, predict_seconds=3, poll_seconds=5)
    (connection,) = served.api("GET", f"/v1/projects/{name}/connections")["connections"]
    path = f"/v1/projects/{name}/connections/{connection['id']}/tasks"

    def counts() -> dict[str, int]:
        found: dict[str, int] = served.api("GET", path, params={"limit": 1})["counts"]
        return found

    assert label_studio.retrieve(project, tasks)["detail"] == "Retrieved 300 predictions"
    answered = counts()["done"]
    assert 0 < answered < 300
    second, first = [one for one in label_studio.predictions(project) if one["result"]][:2]
    edited = label_studio.annotate(second["task"], second["result"], seconds=4.0, parent_prediction=second["id"])
    review(served, name, f"{project}:{second['task']}", lambda row: row["seconds"] == 4.0)
    until(lambda: answered < counts()["done"] < 300, 60, served.log)
    served.kill()
    label_studio.annotate(first["task"], first["result"], seconds=7.5, parent_prediction=first["id"])
    served.start()
    until(lambda: counts() == {"done": 300}, 200, lambda: f"{counts()} {served.log()}")
    found = Counter(one["task"] for one in label_studio.predictions(project))
    assert sorted(found) == tasks
    assert set(found.values()) == {1}
    assert any(one["result"] for one in label_studio.predictions(project))
    one = review(served, name, f"{project}:{first['task']}")
    assert (one["verdict"], one["seconds"], one["reviewer"]) == ("accepted", 7.5, USER)
    label_studio.api("PATCH", f"/api/annotations/{edited}/", json={"result": [], "lead_time": 9.0})
    one = review(served, name, f"{project}:{second['task']}", lambda row: row["seconds"] == 9.0)
    assert (one["verdict"], one["deleted"]) == ("rejected", 0)
    again = label_studio.retrieve(project, tasks)  # nothing is drafted anew, and nothing comes twice
    assert again["detail"] == "Retrieved 300 predictions"
    assert {one["task"] for one in label_studio.predictions(project)} == set(tasks)
    assert len(label_studio.predictions(project)) == 300
