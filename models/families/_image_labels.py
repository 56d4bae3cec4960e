"""Label sets of image models: a well-known one by name, a file with one label a line, or a list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from candor.errors import InvalidRequest

_LONGEST = 200
_WAYS = "`coco80`, `imagenet1k`, a file with one label a line, or a list"
COCO = tuple(
    """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,bench,bird,cat,dog,
    horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,
    baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,
    orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,
    cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush""".replace(
        "\n", ""
    ).split(",")
)


def labels_of(option: Any, classes: int | None, named: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the labels of a model of so many classes.

    Args:
        option: `coco80` (also `coco`), `imagenet1k`, the path of a text file with one label a line, a list, or None or `from-model`
            for those that the model names.
        classes: how many figures the model gives; None where it does not say.
        named: labels that the model's own file carries.

    Raises:
        InvalidRequest: there are none, or not as many as the model has classes, or two are the same.
    """
    labels = known_labels(option, named)
    if not labels:
        raise InvalidRequest(f"the model's file names no labels: set options.labels to {_WAYS}")
    if classes is not None and len(labels) != classes:
        raise InvalidRequest(
            f"the model has {classes} classes and {'its file' if labels is named else 'options.labels'} gives {len(labels)}"
        )
    if strange := [index for index, label in enumerate(labels) if not label.strip() or len(label) > _LONGEST or not plain(label)]:
        raise InvalidRequest(f"label {strange[0]} is empty, is longer than {_LONGEST} characters, or has a NUL in it: give the labels")
    if len(set(labels)) != len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise InvalidRequest(f"labels must be distinct; given more than once: {', '.join(twice[:5])}")
    return labels


def plain(text: str) -> bool:
    """Whether a text that stands in somebody's file can stand in a database, too: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def names_in(value: Any) -> tuple[str, ...]:
    """Return the labels that a model's own file carries: a mapping from index to name, or a list; none where it is something else.

    The file is not trusted: a text there is never taken for the name of a label set or a path.
    """
    if isinstance(value, Mapping) and all(isinstance(key, int) for key in value):
        return tuple(str(value[key]) for key in sorted(value))
    return tuple(str(name) for name in value) if isinstance(value, list | tuple) else ()


def known_labels(option: Any, named: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the labels that an option stands for, before the model is known; none where they are to come from it and it names none.

    Raises:
        InvalidRequest: the option is no label set.
    """
    return named if option is None or option == "from-model" else _read(option)


def _read(option: Any) -> tuple[str, ...]:
    if option in ("coco", "coco80"):
        return tuple(name.strip() for name in COCO)
    if option == "imagenet1k":
        from models.families._efficientnet_lite0 import labels  # noqa: PLC0415 - imports timm, which has the names

        return labels()
    if isinstance(option, str):
        try:
            lines = Path(option).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(
                f"options.labels {option!r} is neither a known label set (`coco80`, `imagenet1k`) nor a readable text file: {error}"
            ) from error
        return tuple(line.strip() for line in lines if line.strip())
    if isinstance(option, list | tuple) and all(isinstance(label, str) for label in option):
        return tuple(option)
    raise InvalidRequest("options.labels is the name of a label set, a path, or a list of strings")
