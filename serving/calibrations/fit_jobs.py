"""Fits of calibrations as jobs: what can't be fitted is refused before there is a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.calibrations.manifests import Manifests
from serving.jobs.kinds import CALIBRATION_FIT
from serving.jobs.runner import JobRunner
from store import Store
from store.jobs import Job


class FitJobs:
    """Starts fits."""

    def __init__(self, runner: JobRunner, store: Store, models: Manifests) -> None:
        self._runner = runner
        self._store = store
        self._models = models

    async def start(self, model: str, source: Mapping[str, Any], promote: str, team: str = "default") -> Job:
        """Queue a fit and return its job.

        Args:
            model: Name, name@version or name@alias.
            source: {"outcomes": {"streams": […], "after": …}} or {"upload": …, "name": …, "caveat": …, "split": …}.
            promote: `never` or `if_better`.
            team: Whose job it is, and whose upload may be taken.

        Raises:
            UnknownModel, UnknownAlias, ModelUnavailable, UnknownUpload: what it needs is not here.
        """
        manifest = await self._models.manifest(model, team)
        if "upload" in source:
            await self._store.upload_sha256(source["upload"], team)
        return await self._runner.start(CALIBRATION_FIT, {"model": manifest.version, "from": dict(source), "promote": promote}, team)
