"""Match labels to those of a labeling config."""

from __future__ import annotations

from collections.abc import Iterable

from serving.protocols.label_studio.config import Layout

_SPEECH = "speech"


def own_labels(vocabulary: Iterable[str], layout: Layout) -> dict[str, str]:
    """Return what the control calls each label of a vocabulary; one that it has no name for is not in the answer.

    First the same name counts, then the models' names that the config gives (`predicted_values`), then both without regard to case.
    """
    options = layout.control.options
    exact = {option.value: option.name for option in reversed(options)} | {option.name: option.name for option in reversed(options)}
    given = {name: option.name for option in reversed(options) for name in option.predicted}
    known = given | exact
    folded = {name.strip().casefold(): own for name, own in known.items()}
    found = ((label, known.get(label) or folded.get(label.strip().casefold())) for label in vocabulary)
    return {label: own for label, own in found if own is not None}


def span_label(layout: Layout) -> str:
    """Return the label that a segment of a transcript gets: the one for speech, else the control's first."""
    return own_labels([_SPEECH], layout).get(_SPEECH) or layout.labels[0]
