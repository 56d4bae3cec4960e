"""Speech in segments, and choices: of real models, corrected in a browser."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.tools.browser import Browser
from tests.tools.label_studio import SEGMENTS, USER, LabelStudioSite
from tests.tools.served_site import ServedSite, annotation_of, connected, opened, photo, review

KINDS = (
    '<View><Image name="image" value="$image"/><Choices name="kind" toName="image"><Choice value="cat" predicted_values="tabby,tiger cat,'
    'Egyptian cat"/><Choice value="drink" predicted_values="espresso,cup,coffee mug"/></Choices></View>'
)
REGION, SCORE = ".lsf-outliner-item", ".lsf-outliner-item__control_type_score"
TICKED = "input[type=checkbox]"


def test_segments_are_shown_and_their_text_is_put_right(served: ServedSite, label_studio: LabelStudioSite, page: Browser) -> None:
    project = label_studio.project(SEGMENTS, title="Speech")
    name = connected(served, label_studio, project)
    (speech,) = label_studio.upload(project, [("jfk.wav", photo("jfk.wav"))])
    shown = opened(label_studio, project, speech)
    page.goto(f"{label_studio.url}/projects/{project}/data?labeling=1")
    page.see(SCORE)
    segments = [region for region in shown["result"] if region["type"] == "labels"]
    assert page.texts(SCORE) == [f"{region['score']:.2f}" for region in segments]
    draft = served.api("GET", f"/v1/drafts/{shown['result'][0]['meta']['candor']['draft']}")
    words = [word["confidence"] for segment in draft["segments"] for word in segment["words"]]
    assert shown["score"] == pytest.approx(sum(words) / len(words), abs=1e-3)

    page.click(REGION)
    page.see("[data-testid=htx-textbox-content]:has-text('ask not what your country')")
    page.click("[data-testid=htx-textbox-edit-button]")
    text = "And so my fellow Americans ask now what your country can do for you"
    page.fill("[data-testid=htx-textbox-input]", text)
    page.press("Enter")
    page.see(f"[data-testid=htx-textbox-content]:has-text('{text}')")
    page.click("button:has-text('Submit')")
    one = review(served, name, f"{project}:{speech}")
    assert (one["verdict"], one["reviewer"], one["draft"]) == ("corrected", USER, draft["id"])
    edits = [edit for edit in json.loads(one["edits"]) if edit["kind"] != "kept"]
    assert [(edit["before"], edit["after"]) for edit in edits] == [("not", "now")]
    assert one["seconds"] == pytest.approx(annotation_of(label_studio, speech)["lead_time"], abs=0.002)


def test_choices_are_ticked_and_another_is_taken(served: ServedSite, label_studio: LabelStudioSite, page: Browser) -> None:
    project = label_studio.project(KINDS, title="Kinds")
    name = connected(served, label_studio, project)
    cat, coffee = label_studio.upload(project, [("chelsea.png", photo("chelsea.png")), ("coffee.png", photo("coffee.png"))])
    for task in (cat, coffee):
        opened(label_studio, project, task)
    page.goto(f"{label_studio.url}/projects/{project}/data?labeling=1")
    for expected in ("cat", "drink"):
        page.see(f"label:has({TICKED}:checked):has-text('{expected}')")
        if expected == "drink":
            page.click("label:has-text('cat')")
            page.see(f"label:has({TICKED}:checked):has-text('cat')")
        page.click("button:has-text('Submit')")
    ends = [review(served, name, f"{project}:{task}") for task in (cat, coffee)]
    assert [one["verdict"] for one in ends] == ["accepted", "corrected"]
    assert [json.loads(one["final"]) for one in ends] == [{"label": "cat"}, {"label": "cat"}]
    found = label_studio.predictions(project)
    assert Counter(one["task"] for one in found) == {cat: 1, coffee: 1}
    assert all(0.9 < one["score"] <= 1 for one in found)  # of three kinds of cats together
