"""The manifest that people send with a model that they register: what it is and how it is to be run.

It is checked here, field by field, without looking at the model's file; the file is looked at by the family, in a process of its own.
The version's own manifest (`candor.manifest`) is made from both. `json_schema` is published as docs/reference/manifest.schema.json.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, Field, ValidationError, WithJsonSchema

from candor.errors import InvalidRequest
from candor.families import family_names
from candor.manifest import canonical_json
from candor.predictions import Task
from models.requested_options import FAMILIES, KEEPS_NULL, Part

NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
LABEL_SETS = ("coco80", "imagenet1k", "from-model")
MAX_LABELS = 100_000
_MAX_LABEL = 200
_MAX_FREE_BYTES = 64 * 1024
_MAX_DEPTH = 32
_SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
_LABELS_SCHEMA = {
    "anyOf": [
        {"enum": [*LABEL_SETS]},
        {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": _MAX_LABEL},
            "minItems": 1,
            "maxItems": MAX_LABELS,
            "uniqueItems": True,
        },
    ],
}


def _labels(value: Any) -> Any:
    if isinstance(value, str):
        if value in LABEL_SETS:
            return value
        near = difflib.get_close_matches(value, LABEL_SETS, n=1, cutoff=0.3)
        raise ValueError(f"{value[:40]!r} is no known label set ({', '.join(LABEL_SETS)}){_meant(near)}; or give a list of strings")
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        raise ValueError(f"give a list of strings or the name of a label set: {', '.join(LABEL_SETS)}")
    if not 1 <= len(value) <= MAX_LABELS:
        raise ValueError(f"has {len(value)} labels: give 1 to {MAX_LABELS:,}")
    if wrong := [index for index, label in enumerate(value) if not label.strip() or len(label) > _MAX_LABEL]:
        raise ValueError(f"label {wrong[0]} is empty or longer than {_MAX_LABEL} characters")
    if len(set(value)) < len(value):
        seen: set[str] = set()
        twice = next(label for label in value if label in seen or seen.add(label))  # type: ignore[func-returns-value]
        raise ValueError(f"labels must be distinct, and {twice[:40]!r} is there more than once")
    return value


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if (size := len(canonical_json(value))) > _MAX_FREE_BYTES:
        raise ValueError(f"is {size:,} bytes of JSON: at most {_MAX_FREE_BYTES:,}")
    return value


_Labels: TypeAlias = Annotated[Any, AfterValidator(_labels), WithJsonSchema(_LABELS_SCHEMA)]
_Free: TypeAlias = Annotated[dict[str, Any], AfterValidator(_small)]


class _Document(Part):
    """The manifest of a registration: what the model is, and how its family is to run it."""

    schema_: Literal[1] = Field(1, alias="schema", description="Version of this format.")
    family: str = Field(
        min_length=1, max_length=100, description="The code that runs it: a built-in family, or one that the operator installed."
    )
    task: Task = Field(description="What it is for.")
    labels: _Labels = Field(
        "from-model", description="Its classes in the order of its outputs: a list, a well-known label set, or those that the file names."
    )
    input: _Free = Field(default_factory=dict, description="How an item becomes the network's input, in the family's own words.")
    output: _Free = Field(default_factory=dict, description="What the network's outputs mean, in the family's own words.")
    options: _Free = Field(
        default_factory=dict, description="All other options of the family; those of `input` and `output` may stand here, too."
    )
    display_threshold: float | None = Field(
        None, ge=0, lt=1, description="Detection: boxes that score less are not shown. A calibration holds for one threshold. Default 0.25."
    )
    licence: str | None = Field(
        None, min_length=1, max_length=200, description="Licence of the weights, such as `Apache-2.0` or `proprietary`."
    )
    notes: str = Field("", max_length=4000, description="Anything that its users should know.")
    metadata: _Free = Field(default_factory=dict, description="Free: what its owner wants to remember of it. At most 64 KiB of JSON.")


@dataclass(frozen=True, slots=True)
class Requested:
    """A checked manifest of a registration. `settings` are the options of its parts, taken together."""

    family: str
    task: Task
    labels: tuple[str, ...] | str = "from-model"  # or one of LABEL_SETS
    settings: Mapping[str, Any] = field(default_factory=dict)
    display_threshold: float | None = None
    licence: str | None = None  # None: what the family learns of it
    notes: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def as_request(self) -> dict[str, Any]:
        """Return what the registry keeps of it, as JSON values."""
        return {
            "family": self.family,
            "task": self.task,
            "labels": self.labels if isinstance(self.labels, str) else list(self.labels),
            "options": dict(self.settings),
            "display_threshold": self.display_threshold,
            "licence": self.licence,
            "notes": self.notes,
            "metadata": dict(self.metadata),
        }

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Requested:
        """Return what `as_request` was made from; further keys are left alone."""
        labels = request["labels"]
        return cls(
            family=request["family"],
            task=request["task"],
            labels=labels if isinstance(labels, str) else tuple(labels),
            settings=dict(request["options"]),
            display_threshold=request["display_threshold"],
            licence=request["licence"],
            notes=request["notes"],
            metadata=dict(request["metadata"]),
        )

    def options(self) -> dict[str, Any]:
        """Return what the family's `adopt` takes."""
        found = dict(self.settings)
        if self.labels != "from-model":
            found["labels"] = self.labels if isinstance(self.labels, str) else list(self.labels)
        if self.display_threshold is not None:
            found["display_threshold"] = self.display_threshold
        return found


def check_name(name: str) -> str:
    """Return the name of a model that is to be registered.

    Raises:
        InvalidRequest: it can't be one.
    """
    if not re.fullmatch(NAME, name):
        raise InvalidRequest(
            f"a model's name is up to 100 letters, digits and . _ + -, beginning with a letter or digit: {name[:120]!r} is not one"
        )
    return name


def parse(value: Any, families: Sequence[str] | None = None) -> Requested:
    """Check a manifest.

    Args:
        value: the JSON value that was sent.
        families: names of the installed families, where they are not to be looked up.

    Raises:
        InvalidRequest: the detail names every wrong field, and the nearest known one where a field is unknown.
    """
    if not isinstance(value, Mapping):
        raise InvalidRequest("the manifest is not a JSON object")
    _check_plain(value)
    found, wrong = _validated(_Document, value, "")
    family = value.get("family")
    if isinstance(family, str):
        known = families if families is not None else family_names()
        wrong += _family_problems(family, value, known)
    if wrong or found is None:
        raise InvalidRequest(f"the manifest is not valid: {'; '.join(wrong)}")
    return Requested(
        family=found.family,
        task=found.task,
        labels=found.labels if isinstance(found.labels, str) else tuple(found.labels),
        settings=_settings(found),
        display_threshold=found.display_threshold,
        licence=found.licence,
        notes=found.notes,
        metadata=found.metadata,
    )


def _settings(found: _Document) -> dict[str, Any]:
    given = {**found.options, **found.input, **found.output}
    if found.family not in FAMILIES:
        return given
    return {key: value for key, value in given.items() if value is not None or key in KEEPS_NULL}


def _validated(model: type[Part], value: Mapping[str, Any], prefix: str) -> tuple[Any, list[str]]:
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        known = [name.rstrip("_") for name in model.model_fields]
        wrong = [
            _problem(one["loc"], one["type"], one["msg"], known, prefix) for one in error.errors(include_url=False, include_input=False)
        ]
        return None, list(dict.fromkeys(wrong))


def _problem(place: tuple[int | str, ...], kind: str, message: str, known: Sequence[str], prefix: str) -> str:
    # Pydantic names the members of a union after the field: `size.list[…]`, `size.constrained-int`
    steps = [str(step) for step in place if isinstance(step, int) or re.fullmatch(r"\w{1,60}", step)]
    name = prefix + ".".join(steps or [str(place[0])[:60]])
    if kind == "extra_forbidden":
        last = str(place[-1])
        near = difflib.get_close_matches(last, known, n=1, cutoff=0.5)
        return f"`{prefix}{last[:60]}` is an unknown field{_meant(near) or _have(known)}"
    if kind == "missing":
        return f"`{name}` is missing"
    return f"`{name}`: {message.removeprefix('Value error, ')}"


def _meant(near: Sequence[str]) -> str:
    return f". Did you mean `{near[0]}`?" if near else ""


def _have(known: Sequence[str]) -> str:
    return f" (known: {', '.join(sorted(known))})" if known else " (there are none here)"


def _family_problems(family: str, value: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    if family not in known:
        near = difflib.get_close_matches(family, known, n=1, cutoff=0.5)
        return [f"`family`: no family {family[:60]!r} is installed{_meant(near) or _have(known)}"]
    wrong = _given_twice(value)
    rules = FAMILIES.get(family)
    if rules is None:  # a family of somebody's own checks its options itself
        return wrong
    task = value.get("task")
    if isinstance(task, str) and task not in rules.tasks:
        wrong.append(f"`task`: the family {family} has models for {' and '.join(rules.tasks)} only, not for {task[:40]}")
    if "transcription" in rules.tasks and value.get("labels", "from-model") != "from-model":
        wrong.append("`labels`: a model for transcription has none; leave them out")
    if value.get("display_threshold") is not None and (task in ("classification", "transcription") or "detection" not in rules.tasks):
        wrong.append("`display_threshold`: only models for detection have one; leave it out")
    for name, part in rules.parts.items():
        if isinstance(given := value.get(name), Mapping):
            wrong += _validated(part, given, f"{name}.")[1]
    return wrong


def _given_twice(value: Mapping[str, Any]) -> list[str]:
    parts = {name: given for name in ("input", "output", "options") if isinstance(given := value.get(name), Mapping)}
    places: dict[str, list[str]] = {}
    for name, given in parts.items():
        for key in given:
            places.setdefault(str(key), []).append(name)
    wrong = [f"`{key[:60]}` is given in {' and in '.join(where)}: give it once" for key, where in places.items() if len(where) > 1]
    beside = [key for key in ("labels", "display_threshold") if key in places]
    return wrong + [f"`{places[key][0]}.{key}`: give `{key}` beside `family` and `task`, not in there" for key in beside]


def _check_plain(value: Any) -> None:
    """Refuse what no database and no digest could hold.

    Raises:
        InvalidRequest: it is too deep, or holds NaN, half a surrogate pair or a NUL.
    """
    for text in _strings(value, 0):
        if "\0" in text:
            raise InvalidRequest(f"the manifest holds a NUL character, in {text[:40]!r}: leave it out")
    try:
        canonical_json(value)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"the manifest holds what is not JSON: {str(error)[:200]}") from error


def _strings(value: Any, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise InvalidRequest(f"the manifest is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _strings(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner, depth + 1)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the manifest, with the options of each built-in family."""
    schema: dict[str, Any] = _Document.model_json_schema(by_alias=True)
    schema.update({"$schema": _SCHEMA_ID, "title": "Manifest of a model that is registered with Candor"})
    rules = []
    for family, options in FAMILIES.items():
        parts = {name: _plain_schema(part) for name, part in options.parts.items()}
        then = {"properties": {"task": {"enum": [*options.tasks]}, **parts}}
        rules.append({"if": {"properties": {"family": {"const": family}}, "required": ["family"]}, "then": then})
    return {**schema, "allOf": rules}


def _plain_schema(part: type[BaseModel]) -> dict[str, Any]:
    schema: dict[str, Any] = part.model_json_schema()
    for name in schema.get("properties", {}).values():
        name.pop("title", None)
        name.pop("default", None)
    return schema
