"""Read a labeling config of Label Studio: which control takes the labels of a task, and where an item's address is in a task's data."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from xml.etree import ElementTree as ET

from candor.errors import InvalidRequest
from candor.predictions import TASKS, Task

Medium: TypeAlias = Literal["image", "audio"]

_MOST_CHARACTERS = 2_000_000
_OBJECTS: dict[str, Medium] = {"Image": "image", "Audio": "audio", "AudioPlus": "audio"}
_OPTIONS = ("Label", "Choice")
_KEY = re.compile(r"\$\{?([^{}]+)\}?")
_FITTING: dict[Task, str] = {
    "detection": "a <RectangleLabels> of an <Image>",
    "classification": "a <Choices> of a whole <Image>",
    "transcription": 'a <TextArea> of an <Audio>: of the whole of it, or with perRegion="true" beside a <Labels>',
}


@dataclass(frozen=True, slots=True)
class Option:
    """One label or choice. `name` is what results hold; `predicted` are the models' names for it that the config gives."""

    name: str
    value: str
    predicted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Control:
    """One control that takes labels. `kind` is its tag, `objects` are the names of what it labels."""

    name: str
    kind: str
    objects: tuple[str, ...]
    options: tuple[Option, ...] = ()
    multiple: bool = False
    per_region: bool = False
    why_not: str = ""  # it is not used, for this reason

    @property
    def result_type(self) -> str:
        """The `type` of its results."""
        return self.kind.lower()


@dataclass(frozen=True, slots=True)
class MediaObject:
    """One object that is labelled, and the key of its address in a task's data."""

    name: str
    medium: Medium
    data_key: str


@dataclass(frozen=True, slots=True)
class LabelingConfig:
    """What a labeling config holds, in its order: objects that can be drafted, and all controls that are named."""

    objects: tuple[MediaObject, ...]
    controls: tuple[Control, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the labels of one task go. With a `text_control` a transcript goes there by segments, and `control` holds their spans."""

    task: Task
    control: Control
    object_name: str
    data_key: str
    text_control: Control | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the control knows."""
        return tuple(option.name for option in self.control.options)


def read(xml: str) -> LabelingConfig:
    """Read a labeling config.

    Raises:
        InvalidRequest: it is no XML, is too long, or has a DOCTYPE.
    """
    if len(xml) > _MOST_CHARACTERS:
        raise InvalidRequest(f"the labeling config has {len(xml):,} characters; at most {_MOST_CHARACTERS:,} are read")
    if "<!doctype" in xml.lower():
        raise InvalidRequest("the labeling config has a DOCTYPE, which is not read: leave it out")
    try:
        root = ET.fromstring(xml)  # noqa: S314 - without a DOCTYPE there are no entities to expand
    except ET.ParseError as error:
        raise InvalidRequest(f"the labeling config is not valid XML: {error}") from error
    objects = [made for node in root.iter() if (made := _object(node)) is not None]
    controls = [_control(node) for node in root.iter() if node.get("name") and node.get("toName")]
    return LabelingConfig(tuple(objects), tuple(controls))


def layout(config: LabelingConfig, task: Task | None = None) -> Layout:
    """Return where the labels of a task go, or of the first task that the config has a place for. The first control that fits is it.

    Raises:
        InvalidRequest: there is no such place; the detail says which controls there are, and what would fit.
    """
    for one in TASKS if task is None else (task,):
        for media in config.objects:
            if found := _PLACES[one](config, media):
                return found
    wanted = _FITTING[task] if task else "; or ".join(_FITTING.values())
    there = ", ".join(f"<{one.kind} name={one.name[:40]!r}>{one.why_not and f' ({one.why_not})'}" for one in config.controls[:20]) or "none"
    raise InvalidRequest(f"the labeling config has no control for {task or 'any task of Candor'}. It needs {wanted}. Its controls: {there}")


def _object(node: ET.Element) -> MediaObject | None:
    medium = _OBJECTS.get(node.tag)
    matched = _KEY.fullmatch((node.get("value") or "").strip())
    if medium is None or matched is None or not node.get("name"):
        return None
    return MediaObject(node.attrib["name"], medium, matched[1])


def _control(node: ET.Element) -> Control:
    objects = tuple(one.strip() for one in node.attrib["toName"].split(","))
    options = tuple(made for one in node.iter() if one.tag in _OPTIONS and (made := _option(one)) is not None)
    return Control(
        node.attrib["name"],
        node.tag,
        objects,
        options,
        multiple=node.get("choice") == "multiple",
        per_region=_says(node, "perRegion"),
        why_not=_why_not(node, options),
    )


def _why_not(node: ET.Element, options: Sequence[Option]) -> str:
    if _says(node, "model_skip"):
        return "it says model_skip"
    if _says(node, "perItem"):
        return "it is per item"
    if node.tag == "Choices" and (_says(node, "allowNested") or any(inner.tag == "Choice" for one in node.iter("Choice") for inner in one)):
        return "its choices are nested"
    if node.tag in ("RectangleLabels", "Labels", "Choices") and not options:
        return "it names no labels of its own"
    return ""


def _option(node: ET.Element) -> Option | None:
    value = node.get("value") or ""
    name = node.get("alias") or value
    if not name:
        return None
    predicted = (one.strip() for one in (node.get("predicted_values") or "").split(","))
    return Option(name, value, tuple(one for one in predicted if one))


def _says(node: ET.Element, attribute: str) -> bool:
    return any(name.lower() == attribute.lower() and value.strip().lower() == "true" for name, value in node.attrib.items())


def _first(config: LabelingConfig, media: MediaObject, kind: str, *, per_region: bool = False) -> Control | None:
    fitting = (one for one in config.controls if one.kind == kind and media.name in one.objects and one.per_region == per_region)
    return next((one for one in fitting if not one.why_not), None)


def _boxes(config: LabelingConfig, media: MediaObject) -> Layout | None:
    control = _first(config, media, "RectangleLabels") if media.medium == "image" else None
    return Layout("detection", control, media.name, media.data_key) if control else None


def _choices(config: LabelingConfig, media: MediaObject) -> Layout | None:
    control = _first(config, media, "Choices") if media.medium == "image" else None
    return Layout("classification", control, media.name, media.data_key) if control else None


def _text(config: LabelingConfig, media: MediaObject) -> Layout | None:
    if media.medium != "audio":
        return None
    spans, of_spans = _first(config, media, "Labels"), _first(config, media, "TextArea", per_region=True)
    if spans and of_spans:
        return Layout("transcription", spans, media.name, media.data_key, of_spans)
    whole = _first(config, media, "TextArea")
    return Layout("transcription", whole, media.name, media.data_key) if whole else None


_PLACES: dict[Task, Callable[[LabelingConfig, MediaObject], Layout | None]] = {
    "detection": _boxes,
    "classification": _choices,
    "transcription": _text,
}
