"""How models are shown in a list: those of the configuration, and those that a team registered."""

from __future__ import annotations

from candor.manifest import Manifest
from models.catalog import ModelEntry
from serving.calibrations.book import InForce
from serving.requests import ModelStatus, Split
from serving.resolving import RegisteredModel
from serving.versions import State


def configured(
    entry: ModelEntry, manifest: Manifest | None, calibration: InForce, state: State, detail: str, *, default: bool
) -> ModelStatus:
    """Return how a model of the configuration stands; its manifest is None where it is not installed."""
    return ModelStatus(
        name=entry.name,
        version=manifest.version if manifest else "",
        task=entry.task,
        family=entry.family,
        aliases=entry.aliases,
        confidence_status=calibration.status,
        calibration=calibration.calibration,
        state=state,
        detail=detail,
        default=default,
        licence=manifest.licence if manifest else "unknown",
        labels=len(manifest.labels) if manifest else 0,
    )


def registered(model: RegisteredModel, calibration: InForce, state: State, detail: str) -> ModelStatus:
    """Return how a registered model stands."""
    manifest = model.manifest
    splits = [Split(one.alias, one.version, one.canary, one.share) for one in model.aliases if one.canary is not None]
    return ModelStatus(
        name=model.name,
        version=manifest.version if manifest else "",
        task=model.task,
        family=manifest.family if manifest else "",
        aliases=tuple(one.alias for one in model.aliases),
        confidence_status=calibration.status,
        calibration=calibration.calibration,
        state=state,
        detail=detail,
        licence=manifest.licence if manifest else "unknown",
        labels=len(manifest.labels) if manifest else 0,
        registered=True,
        splits=tuple(splits),
    )


def without_version(model: RegisteredModel) -> tuple[State, str]:
    """Where a registered model stands that has no version which may draft."""
    if model.state == "validating":
        return "loading", "it is being validated"
    return "failed", f"its newest version is {model.state}: GET /v1/models/{model.name}/versions tells why"
