"""Whether a labeling config has a place for what a project's model drafts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from candor.errors import InvalidRequest, ModelUnavailable, UnknownAlias, UnknownModel, WrongTask
from candor.manifest import Manifest
from candor.predictions import TASKS, Task
from serving.api.services import Services
from serving.protocols.label_studio.config import LabelingConfig, Layout, layout, read
from serving.protocols.label_studio.connected import Choices
from serving.protocols.label_studio.findings import Finding
from serving.protocols.label_studio.labels import own_labels
from store.connections import Connection
from store.projects import Project

_SHOWN = 8  # labels that a message names


@dataclass(frozen=True, slots=True)
class Fit:
    """What is drafted into a labeling config."""

    task: Task
    findings: tuple[Finding, ...]


async def fitted(
    services: Services, team: str, project: Project | None, choices: Choices, xml: str, connection: Connection | None = None
) -> Fit:
    """Return the task whose labels have a place in a labeling config: the one that is chosen, else the project's, else the model's, else
    the first of the server's that fits.

    Raises:
        InvalidRequest: there is no place for it, no model for it, or none of its labels is there; the detail says what would fit.
    """
    body = {} if project is None else project.body
    model = choices.model or body.get("model")
    try:
        if model is not None:
            await services.resolver.refresh(model, team)
        task = choices.task or body.get("task") or (services.resolver.task(model, team) if model else None)
        place = _place(services, read(xml), task)
        model = model or services.settings.tasks[place.task].model
        await services.resolver.refresh(model, team)
        manifest = services.resolver.resolve(model, place.task, team).manifest
    except (UnknownModel, UnknownAlias, WrongTask) as error:
        raise InvalidRequest(f"model: {error.detail}") from error
    except ModelUnavailable as error:
        return Fit(place.task, (Finding("model", False, error.detail),))
    return Fit(place.task, (Finding("labels", *_labels_told(_own(project, connection), manifest, place)),))


def _place(services: Services, config: LabelingConfig, task: Task | None) -> Layout:
    if task is not None:
        return layout(config, task)
    served = [one for one in TASKS if one in services.settings.tasks]
    for one in served:
        with suppress(InvalidRequest):
            return layout(config, one)
    found = layout(config)  # or it says what would fit
    raise InvalidRequest(f"the labeling config has a place for {found.task}, and this server drafts {', '.join(served)} alone")


def _own(project: Project | None, connection: Connection | None) -> Sequence[str]:
    """Return the labels that a team chose for its project; what was taken from the labeling config follows it."""
    labels = [] if project is None else project.body.get("labels") or sorted(set((project.body.get("label_map") or {}).values()))
    taken = connection.state.get("labels") if connection is not None else None
    return [] if labels == taken else labels


def _labels_told(own: Sequence[str], manifest: Manifest, place: Layout) -> tuple[bool, str]:
    """Return whether all labels that the project may draft have a control, and what to say of it."""
    control = f"<{place.control.kind} name={place.control.name[:40]!r}>"
    if place.task == "transcription":
        return True, f"transcripts go into {control}" + (f" and {place.text_control.name[:40]!r}" if place.text_control else "")
    drafted, whose = (own, "the project's labels") if own else (manifest.labels, f"the classes of {manifest.name}")
    if not drafted:
        return True, f"{place.task} goes into {control}"
    matched = own_labels(drafted, place)
    if not matched:
        raise InvalidRequest(
            f"none of {whose} ({_some(drafted)}) is a label of {control} ({_some(place.labels)}), so that all drafts would be empty: name "
            'them alike, or give the labels in the config predicted_values="…" with the names that the model uses'
        )
    missing = [label for label in drafted if label not in matched]
    if own and missing:
        return False, f"{control} has no label for {_some(missing)} of the project: they are drafted for nobody"
    unused = [label for label in place.labels if label not in matched.values()]
    return True, f"{len(matched)} of {whose} go into {control}" + (f"; never drafted: {_some(unused)}" if unused else "")


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return ", ".join(label[:40] for label in labels[:_SHOWN]) + more
