"""Which control of a labeling config takes a task's labels, and what they are called there."""

from __future__ import annotations

import pytest

from candor.errors import InvalidRequest
from serving.protocols.label_studio.config import layout, read
from serving.protocols.label_studio.labels import own_labels, span_label
from tests.unit.serving.protocols.label_studio import BOXES, ONE, SEGMENTS, SEVERAL, WHOLE


def test_boxes_go_to_the_rectangle_labels_of_the_image() -> None:
    found = layout(read(BOXES))
    assert (found.task, found.control.name, found.control.result_type, found.object_name) == ("detection", "box", "rectanglelabels", "img")
    assert (found.data_key, found.labels, found.text_control) == ("image", ("cat", "Bird", "Hund"), None)


def test_choices_say_whether_several_may_be_ticked() -> None:
    assert [layout(read(config)).control.multiple for config in (ONE, SEVERAL)] == [False, True]
    assert layout(read(ONE)).task == "classification"


def test_a_transcript_goes_by_segments_where_there_are_spans_for_them_and_else_as_a_whole() -> None:
    by_segments, whole = layout(read(SEGMENTS)), layout(read(WHOLE))
    assert by_segments.text_control is not None
    assert (by_segments.control.name, by_segments.text_control.name, span_label(by_segments)) == ("who", "said", "Speech")
    assert (whole.control.name, whole.text_control, whole.data_key) == ("said", None, "audio")
    assert layout(read(SEGMENTS.replace("Speech", "Music"))).task == "transcription"
    assert span_label(layout(read(SEGMENTS.replace("Speech", "Music")))) == "Noise"


def test_the_task_that_is_asked_for_is_looked_for() -> None:
    both = f"<View>{BOXES}{ONE.replace('img', 'other').replace('$image', '${photo}')}</View>"
    found = layout(read(both), "classification")
    assert (found.control.name, found.object_name, found.data_key) == ("kind", "other", "photo")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (BOXES.replace("<RectangleLabels", '<RectangleLabels model_skip="true"'), "model_skip"),
        (BOXES.replace("RectangleLabels", "PolygonLabels"), "<PolygonLabels name='box'>"),
        (BOXES.replace("$image", "https://x.org/a.png"), "RectangleLabels"),
        (BOXES.replace('toName="img"', 'toName="sound"'), "RectangleLabels"),
        ('<View><Image name="i" value="$a"/><RectangleLabels name="b" toName="i"/></View>', "no labels of its own"),
        ("<View/>", "none"),
    ],
)
def test_where_nothing_fits_it_is_said_what_there_is_and_what_would(config: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        layout(read(config), "detection")
    assert told in raised.value.detail
    assert "a <RectangleLabels> of an <Image>" in raised.value.detail


def test_choices_of_regions_and_nested_ones_are_not_for_whole_images() -> None:
    for config in (
        ONE.replace("<Choices", '<Choices perRegion="true"'),
        ONE.replace("<Choices", '<Choices perItem="true"'),
        ONE.replace('<Choice value="cat"/>', '<Choice value="cat"><Choice value="a"/></Choice>'),
    ):
        with pytest.raises(InvalidRequest):
            layout(read(config))


@pytest.mark.parametrize("config", ["", "<View>", '<!DOCTYPE a [<!ENTITY b "c">]><View/>', "<View>" + " " * 2_000_000])
def test_what_is_no_config_is_refused(config: str) -> None:
    with pytest.raises(InvalidRequest):
        read(config)


def test_labels_match_exactly_then_by_the_config_then_without_case() -> None:
    found = layout(read(BOXES))
    assert own_labels(["cat", "bird", "dog", "PUPPY", "other"], found) == {"cat": "cat", "bird": "Bird", "dog": "Hund", "PUPPY": "Hund"}
    own = BOXES.replace('"Bird"', '"dog"')  # the label of that name, not the one that asks for it
    assert own_labels(["dog"], layout(read(own))) == {"dog": "dog"}
    alias = BOXES.replace('<Label value="cat"/>', '<Label value="cat" alias="mieze"/>')
    assert own_labels(["cat", "mieze"], layout(read(alias))) == {"cat": "mieze", "mieze": "mieze"}
